"""Every row of the ledger on the real code: it is measured, its control fails, and sabotage is noticed.

One file a room runs these tests (``test_rows_<room>.py``), so that rooms are tried side by side; see conftest.py.
"""

import ast
import inspect
import math
import sys
import textwrap

import pytest

from lab.claims import ledger, measure, measuring_function, methods
from lab.claims.sabotage import WAYS, Sabotaged, sabotage


def name(value):
    """The id of a row, method, function or module in the names of tests."""
    if isinstance(value, str):
        return value.removeprefix("lab.")
    return value.id if hasattr(value, "id") else f"{value.__module__.split('.')[-1]}.{value.__name__}"


def rows(room):
    """The testable rows of a room."""
    return [claim for claim in ledger(room) if claim.control and not claim.untestable]


def functions(room):
    """The measuring functions of a room."""
    return list(dict.fromkeys(measuring_function(claim.id) for claim in rows(room)))


def measured_methods(room):
    """The methods of a room with testable rows."""
    return [method for method in methods(room) if any(claim.control for claim in method.claims)]


def test_exact_claim_holds_and_its_control_does_not(exact_claim):
    claim = exact_claim
    found = measure(claim.id, budget="smoke")
    assert found.verdict == "holds", (found.value, found.details)
    control = measure(claim.id, budget="smoke", control=True)
    assert control.verdict != "holds", (control.value, control.details)


def test_sampled_claim_and_its_control_run_and_differ(sampled_claim):
    claim = sampled_claim
    found, control = measure(claim.id, budget="smoke"), measure(claim.id, budget="smoke", control=True)
    assert math.isfinite(found.value) and math.isfinite(control.value)
    assert found.values != control.values
    assert found.status == control.status == "works"


def test_measuring_function_leaves_the_verdict_to_the_row(function):
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    numbers = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(isinstance(sign, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for sign in node.ops)
        and any(
            isinstance(side, ast.Constant) and isinstance(side.value, float) for side in [node.left, *node.comparators]
        )
    ]
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }
    assert not numbers, [ast.unparse(node) for node in numbers]
    assert not words & {"holds", "margin", "region", "judge", "verdict"}


def test_claims_modules_draw_no_intervals(claims_module):
    text = inspect.getsource(sys.modules[claims_module])
    imported = {
        alias.name.split(".")[0] if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert not {
        one for one in imported if "statistics" in one or one.startswith("scipy.stats") or one == "scipy.stats"
    }, imported


def test_every_measured_method_names_its_entry(method):
    assert method.entry


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
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
