"""Directions of a network: residuals over iterations, their maps and spectra, iterations by case, a plume."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.physics._square import square as _square
from widgets.figures.theme import colours, figure, lines, template

_NAMES = {"symmetric": "network f + f^T", "plain": "network f", "CG": "conjugate gradients", "DCDM": "network f + f^T"}


def residual_curves(
    curves: Mapping[str, torch.Tensor], *, mark: int | None = None, tolerance: float = 1e-4, theme: str = "light"
) -> go.Figure:
    """|r|/|b| over the iterations, one line a method."""
    c = colours(theme)
    tones = {"symmetric": c.matched, "DCDM": c.matched, "plain": c.series[0], "CG": c.extrapolated}
    traces = [
        go.Scatter(x=list(range(len(r))), y=r.clamp_min(1e-16).tolist(), name=_NAMES.get(name, name), mode="lines",
                   line={"color": tones.get(name, c.series[1]), "width": 2})
        for name, r in curves.items()
    ]  # fmt: skip
    count = {name: next((k for k, v in enumerate(r.tolist()) if v <= tolerance), None) for name, r in curves.items()}
    told = ", ".join(f"{_NAMES.get(name, name)} {'more' if k is None else k}" for name, k in count.items())
    title = f"Iterations to a residual of {tolerance:g}: {told}"
    fig = figure(*traces, theme=theme, title=title, x="iteration", y="relative residual")  # fmt: skip
    fig.add_hline(tolerance, line={"color": c.muted, "dash": "dash"})
    if mark is not None:
        fig.add_vline(mark, line={"color": c.prediction, "dash": "dot"})
    return fig.update_yaxes(type="log", exponentformat="power")


def residual_maps(
    maps: Mapping[str, torch.Tensor], solid: torch.Tensor, iteration: int, *, theme: str = "light"
) -> go.Figure:
    """Residuals (n, n) of several methods at one iteration, each in units of its largest entry; obstacles stay empty."""
    names = list(maps)
    sizes = {name: float(r.abs().max()) for name, r in maps.items()}
    fig = make_subplots(
        1, len(names), subplot_titles=[_NAMES.get(name, name) for name in names], horizontal_spacing=0.04
    )
    for k, name in enumerate(names):
        shown = (maps[name] / max(sizes[name], 1e-300)).masked_fill(solid, torch.nan)
        values = [[None if v != v else v for v in row] for row in shown.tolist()]
        fig.add_trace(
            go.Heatmap(z=values, zmin=-1, zmax=1, colorscale="RdBu", showscale=False, hoverongaps=False), 1, k + 1
        )
    told = ", ".join(f"{_NAMES.get(name, name)} {size:.1e}" for name, size in sizes.items())
    fig.update_layout(
        template=template(theme),
        title_text=lines(f"After {iteration} iterations the largest residual is: {told}"),
        margin={"t": 96},
    )
    return _square(fig)  # fmt: skip


def spectra(
    wave: torch.Tensor, power: Mapping[str, torch.Tensor], iteration: int, *, theme: str = "light"
) -> go.Figure:
    """Root mean square of the residual in each band of wave numbers, relative to the right-hand side, one line a method."""
    c = colours(theme)
    tones = {"right-hand side": c.reference, "DCDM": c.matched, "CG": c.extrapolated}
    traces = [
        go.Scatter(x=wave.tolist(), y=p.clamp_min(1e-16).tolist(), name=_NAMES.get(name, name), mode="lines",
                   line={"color": tones.get(name, c.series[0]), "width": 2})
        for name, p in power.items()
    ]  # fmt: skip
    low = {name: float(p[: max(1, len(p) // 8)].mean()) for name, p in power.items() if name != "right-hand side"}
    ahead = min(low, key=low.__getitem__)
    title = (
        f"In the slow modes the residual of {_NAMES.get(ahead, ahead)} is the smaller one after {iteration} iterations"
    )
    fig = figure(*traces, theme=theme, title=title, x="half waves across the box", y="size of the residual")  # fmt: skip
    return fig.update_yaxes(type="log", exponentformat="power")


def iterations(result, *, theme: str = "light") -> go.Figure:
    """Mean iterations of every arm by case, with a dot a seed."""
    c = colours(theme)
    cases = list(dict.fromkeys(case for _, case in result.iterations))
    tones = {"symmetric": c.matched, "plain": c.series[0], "CG": c.extrapolated}
    bars = [
        go.Bar(x=cases, y=[float(result.iterations[arm, case].double().mean()) for case in cases], name=_NAMES[arm],
               marker={"color": tone})
        for arm, tone in tones.items()
    ]  # fmt: skip
    largest = cases[-2]
    ours, plain = (float(result.iterations[arm, largest].double().mean()) for arm in ("symmetric", "CG"))
    title = f"Trained on {cases[0]} cells a side, at {largest} it needs {ours:.0f} iterations instead of {plain:.0f}"
    fig = figure(*bars, theme=theme, title=title, x="cells a side", y="iterations", barmode="group")  # fmt: skip
    return fig.update_yaxes(type="log").update_xaxes(type="category")


def smoke(frames: torch.Tensor, solid: torch.Tensor, *, theme: str = "light") -> go.Figure:
    """Four frames (n, n) of a plume from start to end; the obstacle stays empty."""
    chosen = torch.linspace(0, len(frames) - 1, min(4, len(frames))).round().long().tolist()
    fig = make_subplots(1, len(chosen), subplot_titles=[f"frame {k + 1}" for k in chosen], horizontal_spacing=0.02)
    for place, k in enumerate(chosen, 1):
        shown = frames[k].masked_fill(solid, torch.nan)
        values = [[None if v != v else v for v in row] for row in shown.tolist()]
        fig.add_trace(
            go.Heatmap(z=values, zmin=0, zmax=1, colorscale="Greys", showscale=False, hoverongaps=False), 1, place
        )
    height = float((frames[-1] > 0.1).any(1).double().cumsum(0).argmax()) / frames.shape[1]
    fig.update_layout(
        template=template(theme), title_text=lines(f"The smoke has risen to {height:.0%} of the box"), margin={"t": 80}
    )
    return _square(fig)


def solves(ours: torch.Tensor, plain: torch.Tensor, *, theme: str = "light") -> go.Figure:
    """Iterations of every pressure solve, the network beside conjugate gradients."""
    c = colours(theme)
    x = list(range(1, len(ours) + 1))
    traces = [
        go.Scatter(x=x, y=values.tolist(), name=name, mode="lines+markers", line={"color": tone})
        for name, values, tone in (("network f + f^T", ours, c.matched), ("conjugate gradients", plain, c.extrapolated))
    ]
    title = f"{len(ours)} pressure solves: {float(ours.mean()):.0f} iterations instead of {float(plain.mean()):.0f}"
    fig = figure(*traces, theme=theme, title=title, x="pressure solve", y="iterations")  # fmt: skip
    return fig.update_yaxes(type="log")


def seconds(found: Mapping[str, float], *, theme: str = "light") -> go.Figure:
    """CPU time of one solve by every method, set-up included; the label tells its iterations."""
    c = colours(theme)
    names = [name for name in found if not name.endswith("iterations")]
    bars = go.Bar(x=names, y=[1e3 * found[name] for name in names], showlegend=False,
                  text=[f"{found[f'{name} iterations']} iterations" for name in names],
                  marker={"color": [c.matched if name == "DCDM" else c.extrapolated for name in names]})  # fmt: skip
    best = min(names, key=found.__getitem__)
    title = f"Fewest iterations are not least time: on a CPU the fastest is {best} with {1e3 * found[best]:.0f} ms"
    return figure(bars, theme=theme, title=title, x="method", y="CPU time (ms)")
