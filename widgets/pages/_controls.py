"""The controls of a page from the fields of its study's ``Setting``: one range, one default, one title for all of them."""

from __future__ import annotations

import panel as pn

_STEPS = 100  # of a slider over real numbers


def controls(setting: type, *names: str) -> dict[str, pn.widgets.Widget]:
    """A widget for each of the named fields of a :class:`lab.study.Setting`, labelled by the field's title.

    Integers and real numbers with both bounds become sliders (``json_schema_extra={"step": ...}`` of the field sets the step),
    choices a menu, booleans a checkbox.

    Raises:
        ValueError: an unknown field.
        TypeError: a field that no control fits.
    """
    return {name: _control(setting, name) for name in names}


def _control(setting, name):
    field = setting.field(name)
    label, value, kind = field.title or name.replace("_", " ").capitalize(), field.default, field.annotation
    if setting.choices(name):
        return pn.widgets.Select(label=label, options=list(setting.choices(name)), value=value)
    if kind is bool:
        return pn.widgets.Checkbox(label=label, value=value)
    low, high = setting.bounds(name)
    if kind not in (int, float) or low is None or high is None:
        raise TypeError(
            f"{name} must be a choice, a boolean or a number with both bounds to become a control, got {kind}"
        )
    step = (field.json_schema_extra or {}).get("step")
    if kind is int:
        return pn.widgets.IntSlider(label=label, start=low, end=high, step=step or 1, value=value)
    step = step or float(f"{(high - low) / _STEPS:.1g}")
    return pn.widgets.FloatSlider(label=label, start=low, end=high, step=step, value=value)
