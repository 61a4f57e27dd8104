"""Settings of studies: typed, frozen, refused in words; runs are remembered; notebooks and pages say the same."""

import threading
from typing import ClassVar, Literal

import pytest
from pydantic import Field

from lab import study


class Setting(study.Setting):
    bits: int = Field(4, ge=2, le=8, title="Bits per weight")
    rate: float = Field(0.1, ge=0, le=1, json_schema_extra={"step": 0.05})
    rule: Literal["nearest", "stochastic"] = "nearest"
    PROFILES: ClassVar = {"smoke": {"bits": 2}}


def test_a_profile_changes_what_it_names_and_changes_win():
    assert Setting.of("smoke") == Setting(bits=2)
    assert Setting.of("smoke", bits=3).bits == 3
    assert Setting.of("full") == Setting.of() == Setting()
    assert hash(Setting.of("smoke")) == hash(Setting(bits=2))


@pytest.mark.parametrize(
    "values, words",
    [
        ({"bits": 9}, "bits: input should be less than or equal to 8, got 9"),
        ({"bits": 2.5}, "bits: .*integer, got 2.5"),
        ({"bit": 3}, "no parameter 'bit'; did you mean 'bits'"),
        ({"rule": "up"}, "rule: input should be 'nearest' or 'stochastic', got 'up'"),
    ],
)
def test_bad_values_are_refused_in_words(values, words):
    with pytest.raises(ValueError, match=words):
        Setting.of("default", **values)


def test_bounds_and_choices_are_read_from_the_fields():
    assert Setting.bounds("bits") == (2, 8)
    assert Setting.bounds("rule") == (None, None)
    assert Setting.choices("rule") == ("nearest", "stochastic")
    assert Setting.choices("bits") == ()
    with pytest.raises(ValueError, match="no field 'bitts'; did you mean 'bits'"):
        Setting.bounds("bitts")


def counted(size=2):
    calls = []

    @study.remembered(size)
    def run(setting, *, seeds, data=None, control=False, progress=None):
        calls.append((setting, seeds, control))
        return len(calls)

    return run, calls


def test_a_run_is_remembered_by_setting_seeds_and_control():
    run, calls = counted()
    assert run(Setting(), seeds=[0, 1]) == run(Setting(), seeds=(0, 1)) == 1
    assert run(Setting(), seeds=(0, 1), control=True) == 2
    assert run(Setting(bits=3), seeds=(0, 1)) == 3  # the first is forgotten: two are kept
    assert run(Setting(), seeds=(0, 1)) == 4
    assert run(Setting(), seeds=(0, 1), data=object()) == 5 and run(Setting(), seeds=(0, 1), data=object()) == 6


def test_a_run_that_fails_is_tried_again():
    tries = []

    @study.remembered()
    def run(setting, *, seeds, data=None, control=False, progress=None):
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")
        return "good"

    with pytest.raises(ValueError, match="once"):
        run(Setting(), seeds=[0])
    assert run(Setting(), seeds=[0]) == "good"


def test_two_callers_wait_for_one_run():
    entered, leave, calls = threading.Event(), threading.Event(), []

    @study.remembered()
    def run(setting, *, seeds, data=None, control=False, progress=None):
        calls.append(1)
        entered.set()
        leave.wait(30)
        return 7

    found = []
    threads = [threading.Thread(target=lambda: found.append(run(Setting(), seeds=[0]))) for _ in range(2)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert found == [7, 7] and len(calls) == 1


def test_bad_seeds_and_settings_are_refused():
    run, _ = counted()
    with pytest.raises(ValueError, match="at least one seed"):
        run(Setting(), seeds=[])
    with pytest.raises(TypeError, match="seeds must be an integer"):
        run(Setting(), seeds=["a"])
    with pytest.raises(TypeError, match=r"setting must be a Setting.*got dict"):
        run({"bits": 3}, seeds=[0])


def test_controls_follow_the_fields():
    from widgets import pages

    made = pages.controls(Setting, "bits", "rate", "rule")
    assert (made["bits"].start, made["bits"].end, made["bits"].value, made["bits"].label) == (
        2,
        8,
        4,
        "Bits per weight",
    )
    assert made["rate"].step == 0.05 and made["rule"].options == ["nearest", "stochastic"]


def test_parameters_of_a_notebook_agree_with_its_setting():
    """A notebook parameter named as a field of its study's ``Setting`` has the field's default and stays within its bounds."""
    import importlib

    from lab import claims, source
    from lab.report.notebook.parameters import read_parameters

    for method in claims.methods():
        module = f"{method.module.rpartition('.')[0]}.studies.{method.id}"
        if source.path_of(module) is None or not method.notebook:
            continue
        setting = getattr(importlib.import_module(module), "Setting", None)
        if not (isinstance(setting, type) and issubclass(setting, study.Setting)):
            continue
        for name, parameter in read_parameters(source.project_root() / method.notebook).parameters.items():
            if name not in setting.model_fields:
                continue
            assert parameter.default == setting.field(name).default, (method.id, name)
            low, high = setting.bounds(name)
            assert low is None or parameter.low is None or parameter.low >= low, (method.id, name)
            assert high is None or parameter.high is None or parameter.high <= high, (method.id, name)


def test_sabotage_forgets_remembered_runs():
    run, calls = counted()
    run(Setting(), seeds=[0])
    run.cache_clear()
    run(Setting(), seeds=[0])
    assert len(calls) == 2
