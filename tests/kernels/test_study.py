"""The study of the kernels: forms side by side, claims that fail when the kernel is broken, figures, page, explorer."""

import math
from dataclasses import replace

import pytest
import torch

import lab.kernels as kernels
from lab import claims
from lab.kernels import bench
from lab.kernels.rowloss import reference
from lab.kernels.studies import kernels as study
from widgets import pages
from widgets.figures import kernels as figures


@pytest.fixture(scope="module", autouse=True)
def quick_clock():
    """Timing is not what these tests are about: one call a side."""
    patch = pytest.MonkeyPatch()
    patch.setattr(bench, "clock", lambda function, device, **options: (function(), 1e-3)[1])
    patch.setattr(study, "_KNOWN", {"cpu": bench.Ceilings(1e10, 1e11, 1e9)})
    yield
    patch.undo()


@pytest.mark.parametrize("op", sorted(kernels.specs()))
def test_forms_that_cannot_run_here_are_not_measured_and_say_why(op):
    found = study.compare_forms(op)
    for form in found.forms:
        if form.form == "triton" and not torch.cuda.is_available():
            assert math.isnan(form.milliseconds)
            assert "no CUDA device" in form.reason
        else:
            assert form.error <= form.allowed
    text = figures.forms(found).to_json()
    asked = any(form.form == "triton" for form in found.forms) and not torch.cuda.is_available()
    assert ("no CUDA device" in text) == asked


def test_figures_say_it_when_a_form_is_wrong():
    found = study.compare_forms("rowloss")
    assert "stay within" in figures.errors(found).layout.title.text.replace("<br>", " ")
    broken = replace(found, forms=tuple(replace(form, error=1.0) for form in found.forms))
    assert "exceeds the allowed" in figures.errors(broken).layout.title.text.replace("<br>", " ")


def test_bad_settings_are_refused():
    for change in ({"op": "rowlos"}, {"dtype": "int8"}, {"size": 0}, {"size": 1000}, {"size": float("nan")}):
        with pytest.raises((ValueError, TypeError), match=next(iter(change))):
            study.compare_forms(**{"op": "rowloss", **change})
    with pytest.raises(ValueError, match="name"):
        study.table_of("nothing")


def test_best_network_of_a_search_is_replayed():
    found = study.search(count=3000)
    assert found.replayed == pytest.approx(float(found.errors.min()))
    title = figures.search(found).layout.title.text.replace("<br>", " ")
    assert f"{found.best:,}" in title or "misclassifies" in title


def test_claims_hold_and_fail_when_the_kernel_is_broken(monkeypatch):
    for name in ("exact", "extreme", "replay"):
        assert claims.measure(f"kernels.{name}", seeds=1, budget="smoke").holds, name
    with monkeypatch.context() as patch:
        value = reference.value
        patch.setattr(reference, "value", lambda *arguments: value(*arguments) * (1 + 1e-4))
        assert not claims.measure("kernels.extreme", budget="smoke").holds
    with monkeypatch.context() as patch:
        evaluate = kernels.RandomNetwork.evaluate
        patch.setattr(
            kernels.RandomNetwork, "evaluate", lambda self, x, seed, index: evaluate(self, x, seed, index + 1)
        )
        assert not claims.measure("kernels.replay", seeds=1, budget="smoke").holds
    with monkeypatch.context() as patch:
        from lab.kernels.pairwise import op

        right = op.reduce
        patch.setattr(
            op, "reduce", lambda *arguments: right(*arguments) * 1.001 if arguments[4] == "sum" else right(*arguments)
        )
        assert not claims.measure("kernels.exact", seeds=1, budget="smoke").holds


def test_a_failing_operation_is_not_timed(monkeypatch):
    from lab.kernels.pairwise import op

    right = op.reduce
    monkeypatch.setattr(op, "reduce", lambda *arguments: right(*arguments) * 1.001)
    said = []
    rows = bench.run(quick=True, device="cpu", ops=["pairwise", "rowloss"], compiled=False, progress=said.append)
    assert [row.op for row in rows] == ["rowloss"]
    assert any("nothing was timed" in str(line) for line in said)


def test_roofline_draws_every_operation_once():
    found = study.roofline()
    assert {row.op for row in found.rows} == set(kernels.specs())
    drawn = figures.roofline(found)
    assert set(drawn.data[1].text) == set(kernels.specs())


def test_committed_tables_are_drawn_and_absent_ones_say_so():
    rows = study.table_of("gate")
    assert "pass the compile gate" in figures.gate(rows).layout.title.text.replace("<br>", " ")
    broken = [{**rows[0], "failures": "80 bytes of local memory"}, *rows[1:]]
    assert f"{len(rows) - 1} of {len(rows)}" in figures.gate(broken).layout.title.text.replace("<br>", " ")
    assert "No compile-gate table" in figures.gate([]).layout.title.text.replace("<br>", " ")
    assert "reach their required speed-up" in figures.benchmark(study.table_of("kernels")).layout.title.text.replace(
        "<br>", " "
    )
    assert "No table" in figures.benchmark([]).layout.title.text.replace("<br>", " ")


def test_whole_computations_lead_to_their_goal():
    assert study.label_maps(steps=30) < study.label_maps(steps=1) / 2
    assert study.embedding(steps=30) < study.embedding(steps=1) / 2
    ended = study.EndToEnd("a", 0.5, 2.0)
    assert ended.ratio == 4.0
    assert "4.0 times" in figures.end_to_end([ended]).layout.title.text.replace("<br>", " ").replace("<br>", " ")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_draws_both_themes_and_refuses_unknown_operations(theme):
    from widgets.pages import kernels as page

    times, errors, gate, numbers = page.draw("pairwise", 1, "float32", theme)
    assert len(times.data[0].x) == 3
    assert numbers["implementation used"].startswith("cpu")
    assert pages.find("kernels").route == "kernels"
    with pytest.raises(ValueError, match="op"):
        page.build({"op": "rowlos"})


def test_explorer_follows_its_controls():
    from widgets.jupyter import KernelExplorer

    explorer = KernelExplorer(op="rowloss", size=1)
    before = explorer.figures[0].layout.title.text.replace("<br>", " ")
    explorer.controls["op"].value = "pairwise"
    assert explorer.figures[0].layout.title.text.replace("<br>", " ") != before
