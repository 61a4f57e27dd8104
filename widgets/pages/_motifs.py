"""A quiet drawing for a study that has no run yet: one motif a room, varied by the study's id."""

from __future__ import annotations

import hashlib
import math

_INK = 'stroke="currentColor" fill="none" stroke-width="2" stroke-linecap="round" opacity=".32"'


def of(method) -> str:
    """The motif of a method as SVG, the same at every call."""
    draw = _ROOMS.get(method.room, _curves)
    numbers = hashlib.sha256(method.id.encode()).digest()
    return f'<svg viewBox="0 0 320 180" aria-hidden="true">{draw([number / 255 for number in numbers])}</svg>'


def _rings(u) -> str:
    circles = []
    for i in range(6):
        x, y, radius = 40 + 240 * u[3 * i], 35 + 110 * u[3 * i + 1], 12 + 34 * u[3 * i + 2]
        circles.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.0f}" {_INK}/>')
    return "".join(circles)


def _tangent(u) -> str:
    slope, bend = 0.5 - u[0], 30 + 40 * u[1]
    points = [(x, 90 + bend * math.sin((x - 40) / 52 + 6 * u[2])) for x in range(24, 300, 6)]
    path = "M" + "L".join(f"{x} {y:.1f}" for x, y in points)
    x, y = points[20]
    rise = bend / 52 * math.cos((x - 40) / 52 + 6 * u[2])
    line = f"M{x - 70} {y - 70 * rise:.1f}L{x + 70} {y + 70 * rise:.1f}"
    point = f'<circle cx="{x}" cy="{y:.1f}" r="{5 + slope:.1f}" fill="currentColor" opacity=".5"/>'
    return f'<path d="{path}" {_INK}/><path d="{line}" {_INK} stroke-dasharray="6 5"/>{point}'


def _bits(u) -> str:
    squares = []
    for row in range(6):
        for column in range(12):
            on = u[(7 * row + column) % len(u)] > 0.2 + 0.06 * column
            fill = 'fill="currentColor" opacity=".32"' if on else 'fill="currentColor" opacity=".07"'
            squares.append(f'<rect x="{28 + 22 * column}" y="{25 + 22 * row}" width="17" height="17" rx="3" {fill}/>')
    return "".join(squares)


def _bars(u) -> str:
    return "".join(
        f'<rect x="36" y="{28 + 18 * i}" width="{40 + 210 * u[i] * (0.4 + 0.09 * (7 - i)):.0f}" height="9" rx="4.500" '
        f'fill="currentColor" opacity="{0.14 + 0.05 * (i % 4):.2f}"/>'
        for i in range(7)
    )


def _curves(u) -> str:
    paths = []
    for k in range(3):
        rate, floor = 0.008 + 0.02 * u[k], 110 + 35 * u[k + 3]
        points = [(x, floor - (floor - 30) * math.exp(-rate * (x - 24))) for x in range(24, 300, 6)]
        points = [(x, 180 - y + 10) for x, y in points]
        paths.append('<path d="M' + "L".join(f"{x} {180 - y:.1f}" for x, y in points) + f'" {_INK}/>')
    return "".join(paths)


def _graph(u) -> str:
    nodes = [(34 + 252 * u[2 * i], 26 + 128 * u[2 * i + 1]) for i in range(9)]
    edges = [
        f'<path d="M{a[0]:.0f} {a[1]:.0f}L{b[0]:.0f} {b[1]:.0f}" {_INK}/>'
        for i, a in enumerate(nodes) for b in nodes[i + 1 :] if math.dist(a, b) < 95
    ]  # fmt: skip
    dots = [f'<circle cx="{x:.0f}" cy="{y:.0f}" r="5" fill="currentColor" opacity=".4"/>' for x, y in nodes]
    return "".join(edges + dots)


def _cloud(u) -> str:
    return "".join(
        f'<circle cx="{160 + 120 * math.cos(2.4 * i) * math.sqrt(i / 60) * (0.7 + 0.5 * u[i % 32]):.0f}" '
        f'cy="{90 + 66 * math.sin(2.4 * i) * math.sqrt(i / 60) * (0.7 + 0.5 * u[(i + 9) % 32]):.0f}" r="3.500" '
        'fill="currentColor" opacity=".3"/>'
        for i in range(60)
    )


_ROOMS = {
    "topology": _rings, "explain": _tangent, "inductive_bias": _bits, "kernels": _bars, "losses": _curves,
    "generalization": _curves, "search": _graph, "compression": _bars, "generative": _cloud, "physics": _tangent, "online": _curves,
}  # fmt: skip
