"""Every row of the ledger on the real code: it is measured, its control fails, and sabotage is noticed."""

import ast
import inspect
import math
import textwrap

import pytest

from lab.claims import ledger, measure, measuring_function, methods
from lab.claims.sabotage import WAYS, Sabotaged, sabotage

ROWS = [claim for claim in ledger() if claim.control and not claim.untestable]
EXACT = [claim for claim in ROWS if claim.statistic == "exact"]
SAMPLED = [claim for claim in ROWS if claim.statistic != "exact"]
FUNCTIONS = list(dict.fromkeys(measuring_function(claim.id) for claim in ROWS))


def name(value):
    return value.id if hasattr(value, "id") else f"{value.__module__.split('.')[-1]}.{value.__name__}"


@pytest.mark.parametrize("claim", EXACT, ids=name)
def test_exact_claim_holds_and_its_control_does_not(claim):
    found = measure(claim.id, budget="smoke")
    assert found.verdict == "holds", (found.value, found.details)
    control = measure(claim.id, budget="smoke", control=True)
    assert control.verdict != "holds", (control.value, control.details)


@pytest.mark.parametrize("claim", SAMPLED, ids=name)
def test_sampled_claim_and_its_control_run_and_differ(claim):
    found, control = measure(claim.id, budget="smoke"), measure(claim.id, budget="smoke", control=True)
    assert math.isfinite(found.value) and math.isfinite(control.value)
    assert found.values != control.values
    assert found.status == control.status == "works"


@pytest.mark.parametrize("function", FUNCTIONS, ids=name)
def test_measuring_function_leaves_the_verdict_to_the_row(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    numbers = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(sign, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for sign in node.ops)
        and any(isinstance(side, ast.Constant) and isinstance(side.value, float) for side in [node.left, *node.comparators])
    ]
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }
    assert not numbers, [ast.unparse(node) for node in numbers]
    assert not words & {"holds", "margin", "region", "judge", "verdict"}


@pytest.mark.parametrize("module", sorted({function.__module__ for function in FUNCTIONS}))
def test_claims_modules_draw_no_intervals(module):
    text = inspect.getsource(__import__("sys").modules[module])
    imported = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert not {one for one in imported if "statistics" in one or one.startswith("scipy.stats") or one == "scipy.stats"}, imported


@pytest.mark.parametrize("method", [m for m in methods() if any(c.control for c in m.claims)], ids=name)
def test_every_measured_method_names_its_entry(method):
    assert method.entry


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("method", [m for m in methods() if m.entry and any(c.control for c in m.claims)], ids=name)
def test_no_claim_holds_on_a_sabotaged_method(method, how):
    holding = []
    for claim in method.claims:
        if claim.untestable or not claim.control:
            continue
        try:
            with sabotage(method.entry, how):
                found = measure(claim.id, budget="smoke")
        except (Sabotaged, ValueError, ArithmeticError, RuntimeError, LookupError, TypeError, AssertionError):
            continue
        if found.verdict == "holds":
            holding.append((claim.id, found.value))
    assert not holding
