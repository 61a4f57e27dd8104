"""Figures of Betti matching in volumes: a view in space, three linked planes, a list of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go

from lab.datasets.orientation import Plane, axis_labels, planes
from lab.topology.images.barcodes import NAMES, Bar
from lab.topology.images.matching import Matching
from lab.topology.images.volume_cycles import Curve, Surface, drawings, mesh
from lab.wording import counted
from widgets.figures.theme import colours, figure

KINDS = ("matched", "unmatched in prediction", "unmatched in label")
SHORT = dict(zip(KINDS, ("matched", "prediction only", "label only")))
CONTEXT = 64  # blocks an axis of the translucent surface behind the features


@dataclass(frozen=True, eq=False)
class Feature:
    """A drawn feature: ``number`` counts from 1, the longest bar first; ``partner`` is the other bar of a matched pair."""

    number: int
    kind: str
    bar: Bar
    shape: Curve | Surface
    partner: Bar | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """What one matching shows under one choice: ``features`` are drawn, ``totals`` counts all that were asked for, by
    (kind, dimension)."""

    found: Matching
    features: tuple[Feature, ...]
    totals: dict[tuple[str, int], int]
    spacing: tuple[float, ...]
    affine: object = None

    def named(self, number: int) -> Feature | None:
        """The feature with this number; ``None`` for 0.

        Raises:
            ValueError: there are fewer.
        """
        if number == 0:
            return None
        if number > len(self.features):
            raise ValueError(
                f"feature must be at most {len(self.features)}, the number of features drawn; got {number}"
            )
        return self.features[number - 1]


def scene(
    found: Matching,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    affine=None,
    dimensions: Sequence[int] = (0, 1, 2),
    kinds: Sequence[str] = KINDS,
    min_length: float = 0.2,
    most: int = 60,
) -> Scene:
    """The features of a matching that are to be drawn, longest bars first, at most ``most`` of a kind and dimension.

    Bars of equal length, as those of masks, follow by size: components and cavities of many voxels and long loops first,
    among the ``4 * most`` that are measured.
    """
    chosen, totals = [], {}
    for kind in kinds:
        for d in dimensions:
            pairs = _bars(found, kind, d, min_length)
            pairs.sort(key=lambda pair: -pair[0].length)
            measured = pairs[: 4 * most]
            shapes = drawings(found, [bar for bar, _ in measured], spacing=spacing, most=CONTEXT)
            ranked = sorted(
                zip(measured, shapes), key=lambda item: (-round(item[0][0].length, 9), -len(item[1].voxels))
            )
            chosen += [Feature(0, kind, bar, shape, partner) for (bar, partner), shape in ranked[:most]]
            totals[kind, d] = len(pairs)
    chosen.sort(
        key=lambda feature: (feature.kind == KINDS[0], -round(feature.bar.length, 9), -len(feature.shape.voxels))
    )
    numbered = tuple(replace(feature, number=k) for k, feature in enumerate(chosen, start=1))
    return Scene(found, numbered, totals, tuple(float(s) for s in spacing), affine)


def _bars(found, kind, d, min_length):
    """(bar, partner or ``None``) of the bars that are at least so long; noise has thousands that are not."""
    matched = kind == KINDS[0]
    side = found.unmatched_prediction if kind == KINDS[1] else found.unmatched_label
    bars = found.matched[d].prediction if matched else side[d]
    long = np.flatnonzero(abs(bars.birth.detach().double() - bars.death.detach().double()).cpu().numpy() >= min_length)
    return [(bars[int(k)], found.matched[d].label[int(k)] if matched else None) for k in long]


def colour_of(kind: str, c) -> str:
    """The meaning of colours in this room."""
    return dict(zip(KINDS, (c.matched, c.prediction, c.label)))[kind]


def view(
    shown: Scene, *, highlight: int = 0, threshold: float = 0.5, unit: str = "voxels", theme: str = "light"
) -> go.Figure:
    """The features in space: components and cavities as surfaces, loops as closed lines, the label translucent behind.

    Marks carry the feature's number as ``customdata``. The surface of the label is made of blocks where it is large, for
    display only.
    """
    c = colours(theme)
    found = shown.found
    label = found.label > 0 if found.filtration == "superlevel" else found.label < threshold
    order = [axis for axis, _ in _directions(shown)]
    vertices, faces, step = mesh(label, spacing=shown.spacing, most=CONTEXT)
    glass = (0.16 if theme == "light" else 0.22) / (2 if highlight else 1)
    traces = [_mesh(order, vertices, faces, c.muted, "label", opacity=glass)] if len(faces) else []
    marked = shown.named(highlight)
    fade = 1.0 if marked is None else 0.3
    for kind in KINDS:
        for d in found.dimensions:
            chosen = [f for f in shown.features if f.kind == kind and f.bar.dimension == d]
            if chosen:
                traces += _drawn(order, chosen, colour_of(kind, c), f"{SHORT[kind]}: {NAMES[d]} ({len(chosen)})", fade)
    if marked is not None:
        traces += _drawn(order, [marked], c.series[0], f"feature {marked.number}", 1.0, wide=True)
    title = _counted(shown)
    notes = []
    hidden = sum(shown.totals.values()) - len(shown.features)
    if hidden:
        notes.append(f"{counted(hidden, 'smaller feature')} not shown")
    coarse = max([step, *(getattr(f.shape, "step", 1) for f in shown.features)])
    if coarse > 1:
        notes.append(f"surfaces in blocks of {coarse} voxels, for display only")
    fig = figure(*traces, theme=theme, title=title, height=460)
    axes, names = {}, axis_labels(shown.affine)
    for name, (axis, reverse) in zip("xyz", _directions(shown)):
        ends = [-shown.spacing[axis], found.shape[axis] * shown.spacing[axis]]
        axes[f"{name}axis"] = {
            "title": {"text": f"{names[axis]} ({unit})", "font": {"size": 11}},
            "tickfont": {"size": 10},
            "nticks": 5,
            "range": ends[::-1] if reverse else ends,
            "showspikes": False,
            "color": c.muted,
            "gridcolor": c.grid,
            "backgroundcolor": c.background,
        }
    camera = {"eye": {"x": 1.35, "y": -1.35, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.1}}
    fig.update_layout(
        scene={**axes, "aspectmode": "data", "camera": camera, "uirevision": "view"},
        uirevision="view",
        margin={"l": 8, "r": 8, "b": 62},
        legend={"itemsizing": "constant", "font": {"size": 11}},
    )
    if notes:
        fig.add_annotation(
            text="<br>".join(notes),
            align="left",
            x=0.01,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            showarrow=False,
            font={"size": 11, "color": c.muted},
        )
    return fig


def plane(
    shown: Scene,
    image,
    which: Plane,
    at: Sequence[int],
    *,
    highlight: int = 0,
    threshold: float = 0.5,
    unit: str = "voxels",
    theme: str = "light",
) -> go.Figure:
    """One plane through the volume at the voxel ``at``: the image, the outlines, the drawn features that it cuts, and the
    lines of the other two planes."""
    c = colours(theme)
    found, spacing, shape = shown.found, shown.spacing, shown.found.shape
    k, h, v = which.axis, which.across, which.up
    cut = lambda x: _slice(x, k, at[k], h, v)  # noqa: E731
    grey = cut(image)
    low, high = float(np.min(np.asarray(image))), float(np.max(np.asarray(image)))
    shade = np.uint8(np.round(255 * (grey - low) / (high - low or 1.0)))
    x, y = spacing[h] * np.arange(shape[h]), spacing[v] * np.arange(shape[v])
    traces = [
        go.Heatmap(
            x=x,
            y=y,
            z=shade,
            zmin=0,
            zmax=255,
            colorscale="Greys_r",
            showscale=False,
            opacity=0.85,
            name="image",
            hovertemplate="%{x:.4g}, %{y:.4g}<extra></extra>",
        )
    ]
    label, prediction = cut(found.label), cut(found.prediction)
    traces += _outline(label > 0, spacing[h], spacing[v], c.label, "label", 2.0)
    traces += _outline(prediction >= threshold, spacing[h], spacing[v], c.prediction, "prediction", 1.3)
    passing = 0
    for kind in KINDS:
        places = [_in_plane(f, shape, k, at[k]) for f in shown.features if f.kind == kind]
        passing += sum(kind != KINDS[0] and len(found_here) > 0 for found_here in places)
        traces += _squares(places, spacing, h, v, colour_of(kind, c), kind, 4)
    if highlight:
        marked = shown.named(highlight)
        traces += _squares(
            [_in_plane(marked, shape, k, at[k])], spacing, h, v, c.series[0], f"feature {marked.number}", 6
        )
    words = f"{passing} unmatched feature{'s' * (passing != 1)}"
    title = f"{which.name.capitalize()} plane {at[k] + 1} of {shape[k]}: {words}"
    fig = figure(
        *traces,
        theme=theme,
        title=title,
        x=f"{which.across_label} ({unit})",
        y=f"{which.up_label} ({unit})",
        height=460,
    )
    for axis, lengths, reverse, update, cross in (
        (h, x, which.across_reversed, fig.update_xaxes, fig.add_vline),
        (v, y, which.up_reversed, fig.update_yaxes, fig.add_hline),
    ):
        ends = [lengths[0] - spacing[axis] / 2, lengths[-1] + spacing[axis] / 2]
        update(range=ends[::-1] if reverse else ends, constrain="domain", showgrid=False, zeroline=False)
        cross(float(lengths[at[axis]]), line={"color": c.series[0], "width": 1, "dash": "dot"})
    fig.update_yaxes(scaleanchor="x")
    others = {other.axis: other.name for other in planes(shown.affine)}
    fig.update_layout(meta={"planes": [(others[axis], spacing[axis] * (shape[axis] - 1)) for axis in (h, v)]})
    return fig.update_layout(showlegend=False, margin={"l": 48, "r": 8, "b": 44})


def by_dimension(prediction, label, *, threshold: float = 0.5):
    """One row a dimension of the mask at the threshold: features, matched and unmatched ones, and both errors."""
    import pandas as pd

    from lab.topology.images.metric import matching_error

    found = matching_error(prediction, label, threshold=threshold)
    columns = {
        "in the mask": found.betti_prediction,
        "in the label": found.betti_label,
        "matched": found.matched,
        "unmatched in prediction": found.unmatched_prediction,
        "unmatched in label": found.unmatched_label,
        "error": found.error,
        "Betti number error": found.betti_number_error,
    }
    return pd.DataFrame(columns, index=pd.Index(NAMES[: len(found.matched)], name="features"))


def errors(table, dice: float, *, theme: str = "light") -> go.Figure:
    """Unmatched features by dimension, and the Betti number error (rows of :func:`by_dimension`)."""
    c = colours(theme)
    names = list(table.index)
    traces = [
        go.Bar(x=names, y=table[kind], name=kind, marker_color=colour_of(kind, c), offsetgroup=0) for kind in KINDS[1:]
    ]
    traces.append(
        go.Bar(
            x=names,
            y=table["Betti number error"],
            name="Betti number error (counting)",
            marker_color=c.muted,
            offsetgroup=1,
        )
    )
    lone, difference = int(table.error.sum()), int(table["Betti number error"].sum())
    title = f"At Dice {dice:.2f}, {counted(lone, 'unmatched feature')}; the Betti number error counts {difference}"
    return figure(
        *traces, theme=theme, title=title, x="dimension", y="features", height=400, barmode="stack", bargap=0.3
    )


def by_arm(frame, *, theme: str = "light") -> go.Figure:
    """Matching error by dimension and arm of a training study: means over seeds."""
    c = colours(theme)
    arms = list(dict.fromkeys(frame.arm))
    shades = {"dice": c.reference, "betti": c.matched}
    traces = []
    for k, arm in enumerate(arms):
        part, colour = frame[frame.arm == arm], shades.get(arm, c.series[k % len(c.series)])
        traces.append(
            go.Bar(x=list(NAMES), y=[part[name].mean() for name in NAMES], name=arm, marker_color=colour, offsetgroup=k)
        )
    means = frame.groupby("arm")[list(NAMES)].mean()
    title = "Matching error by dimension"
    if {"dice", "betti"} <= set(arms):
        words = ", ".join(f"{name} {means.loc['betti', name] - means.loc['dice', name]:+.2f}" for name in NAMES)
        title = f"Effect of the Betti matching loss, in features per volume: {words}".replace("-", "\u2212")
    return figure(
        *traces, theme=theme, title=title, x="dimension", y="matching error (features per volume)", height=400
    )


def listing(shown: Scene, *, most: int = 12) -> list[dict]:
    """The first features as rows: number, what and where, from when to when, how large."""
    rows = []
    for f in shown.features[:most]:
        middle = np.array(np.unravel_index(middle_of(f, shown.found.shape), shown.found.shape))
        curve = isinstance(f.shape, Curve)
        rows.append(
            {
                "feature": f.number,
                "kind": f"{NAMES[f.bar.dimension]}, {f.kind}",
                "birth": f.bar.birth,
                "death": f.bar.death,
                "persistence": f.bar.length,
                "size": f"{f.shape.length:.4g} long" if curve else f"{len(f.shape.voxels):,} voxels",
                "near voxel": ", ".join(map(str, middle)),
            }
        )
    return rows


def place_of(feature: Feature | None, shape) -> tuple[int, int, int]:
    """The voxel in the middle of a feature, or of the volume where there is none."""
    if feature is None:
        return tuple(length // 2 for length in shape)
    return tuple(int(k) for k in np.unravel_index(middle_of(feature, shape), tuple(shape)))


def middle_of(feature: Feature, shape) -> int:
    """The feature's own voxel that is nearest to its middle, as a flat index."""
    places = np.stack(np.unravel_index(feature.shape.voxels.numpy(), tuple(shape)), axis=1)
    return int(feature.shape.voxels[np.linalg.norm(places - places.mean(0), axis=1).argmin()])


def _counted(shown) -> str:
    """The numbers of unmatched features in each requested dimension, and of matched ones."""
    asked = sorted({d for _, d in shown.totals})
    lone = {d: sum(n for (kind, e), n in shown.totals.items() if e == d and kind != KINDS[0]) for d in asked}
    matched = sum(n for (kind, _), n in shown.totals.items() if kind == KINDS[0])
    words = ", ".join(f"{n} {NAMES[d] if n != 1 else ('component', 'loop', 'cavity')[d]}" for d, n in lone.items())
    if {kind for kind, _ in shown.totals} == {KINDS[0]}:
        return counted(matched, "matched feature")
    return f"{words} unmatched" + (
        f", {counted(matched, 'matched feature')}" if any(k == KINDS[0] for k, _ in shown.totals) else ""
    )


def _directions(shown):
    """(axis, reversed) of the scene's x, y and z: to the right, to the back, upwards where the file says so."""
    axial, coronal, _ = planes(shown.affine)
    return (axial.across, axial.across_reversed), (axial.up, axial.up_reversed), (coronal.up, coronal.up_reversed)


def _drawn(order, features, colour, name, opacity, *, wide=False):
    """One trace of surfaces or of lines, and marks at the features that can be pointed at."""
    surfaces = [f.shape for f in features if isinstance(f.shape, Surface)]
    curves = [f.shape for f in features if isinstance(f.shape, Curve)]
    traces = []
    if surfaces:
        offsets = np.cumsum([0, *(len(s.vertices) for s in surfaces)])
        vertices = np.concatenate([s.vertices.numpy() for s in surfaces])
        faces = np.concatenate([s.faces.numpy() + low for s, low in zip(surfaces, offsets)])
        traces.append(_mesh(order, vertices, faces, colour, name, opacity=opacity, legend=True))
    if curves:
        points = np.concatenate([np.concatenate([line.points.numpy(), np.full((1, 3), np.nan)]) for line in curves])
        traces.append(
            go.Scatter3d(
                **_space(points, order),
                mode="lines",
                name=name,
                opacity=opacity,
                line={"color": colour, "width": 9 if wide else 5},
                hoverinfo="skip",
                connectgaps=False,
            )
        )
    anchors = np.array([_anchor(f) for f in features])
    words = [
        f"feature {f.number}: {name.rpartition(' (')[0] or name}<br>{f.bar.birth:.3f} to {f.bar.death:.3f}"
        for f in features
    ]
    traces.append(
        go.Scatter3d(
            **_space(anchors, order),
            mode="markers",
            name=name,
            showlegend=False,
            text=words,
            hoverinfo="text",
            customdata=[[f.number] for f in features],
            opacity=opacity,
            marker={"size": 5 if wide else 3, "color": colour},
        )
    )
    return traces


def _anchor(feature):
    points = feature.shape.points if isinstance(feature.shape, Curve) else feature.shape.vertices
    return points[0].numpy()


def _space(points, order):
    return {name: _few(points[:, axis]) for name, axis in zip("xyz", order)}


def _mesh(order, vertices, faces, colour, name, *, opacity, legend=False):
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    return go.Mesh3d(
        **_space(vertices, order),
        i=faces[:, 0].astype(np.int32),
        j=faces[:, 1].astype(np.int32),
        k=faces[:, 2].astype(np.int32),
        color=colour,
        opacity=opacity,
        name=name,
        showlegend=legend,
        hoverinfo="skip",
        flatshading=False,
        lighting={"ambient": 0.7, "diffuse": 0.6, "specular": 0.15, "roughness": 0.8},
    )


def _few(values):
    """Numbers as float32, half the bytes on the wire."""
    return np.asarray(values, np.float32)


def _slice(x, axis, index, across, up):
    """The plane ``x[index]`` along ``axis`` with rows along ``up`` and columns along ``across``."""
    array = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
    cut = np.take(array, index, axis=axis)
    return cut.T if across < up else cut


def _in_plane(feature, shape, axis, index):
    places = np.stack(np.unravel_index(feature.shape.voxels.numpy(), tuple(shape)), axis=1)
    return places[places[:, axis] == index]


def _squares(places, spacing, across, up, colour, name, size):
    places = np.concatenate([np.empty((0, 3), int), *places])
    if not len(places):
        return []
    return [
        go.Scatter(
            x=_few(places[:, across] * spacing[across]),
            y=_few(places[:, up] * spacing[up]),
            mode="markers",
            name=name,
            hoverinfo="skip",
            marker={"symbol": "square", "size": size, "color": colour, "opacity": 0.85},
        )
    ]


def _outline(mask, across, up, colour, name, width):
    from skimage.measure import find_contours

    x, y = [], []
    for line in find_contours(np.pad(np.asarray(mask, float), 1), 0.5):
        x += [*((line[:, 1] - 1) * across), np.nan]
        y += [*((line[:, 0] - 1) * up), np.nan]
    if not x:
        return []
    return [
        go.Scatter(
            x=_few(x), y=_few(y), mode="lines", name=name, line={"color": colour, "width": width}, hoverinfo="skip"
        )
    ]
