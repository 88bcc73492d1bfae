"""Line charts as SVG that fits the page it stands in: no fixed colours of text, no fixed width."""

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 12, 26  # margins
TICKS = 4
MOST_POINTS = 400
COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#9467bd")

Points = Sequence[tuple[float, float | None]]


def line_chart(title: str, series: dict[str, Points], mark: tuple[float, float] | None = None) -> str:
    """An SVG element.

    Args:
        title: what is drawn, for those who do not see it.
        series: {name: (x, y) in order of x}; a y that is None or not finite is left out.
        mark: a point that gets a ring.

    Returns:
        The element, or "" if no series has a point.
    """
    kept = {
        name: _thinned([(x, y) for x, y in points if y is not None and math.isfinite(y)])
        for name, points in series.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    everything = [point for points in kept.values() for point in points]
    x_low, x_high = _range([x for x, _ in everything])
    y_low, y_high = _range([y for _, y in everything])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for index in range(TICKS + 1):
        x, y = (low + (high - low) * index / TICKS for low, high in ((x_low, x_high), (y_low, y_high)))
        left, top = place(x, y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">{_tick(y)}</text>')
        anchor = "end" if index == TICKS else "middle"
        parts.append(f'<text x="{left:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{x:,.0f}</text>')
    for colour, points in zip(COLOURS * len(kept), kept.values(), strict=False):
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in (place(*point) for point in points))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        if len(points) == 1:
            parts.append('<circle r="3" fill="{}" cx="{:.1f}" cy="{:.1f}"/>'.format(colour, *place(*points[0])))
    if mark is not None:
        parts.append('<circle class="mark" r="6" cx="{:.1f}" cy="{:.1f}"/>'.format(*place(*mark)))
    legend = ""
    if len(kept) > 1:
        names = zip(COLOURS * len(kept), kept, strict=False)
        entries = (f'<span style="border-color:{colour}">{escape(name)}</span>' for colour, name in names)
        legend = f'<p class="legend">{"".join(entries)}</p>'
    return "".join(parts) + "</svg>" + legend


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about MOST_POINTS of the points, the last one among them."""
    stride = math.ceil(len(points) / MOST_POINTS) or 1
    return points[::stride] + (points[-1:] if (len(points) - 1) % stride else [])


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        pad = abs(low) / 10 or 1.0
        return low - pad, high + pad
    return low, high
