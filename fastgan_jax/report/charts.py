"""Figures within an HTML page: line charts as SVG, in the page's own color of text and width, and images."""

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 420, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 10, 12, 26  # margins; the left one grows with its labels
MARGIN, LETTER = 8, 7.5  # beside labels, and the width of one of their letters at most
TICKS = 5  # of an axis, about
MOST_POINTS = 400
LARGEST_SIDE = 1000  # pixels of an embedded image
COLORS = ("#2b8ad6", "#d9661f", "#2fa04a", "#9a6fd0")  # readable on white and on black

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

    marks = _ticks(y_low, y_high)
    margin = max(LEFT, MARGIN + round(LETTER * max(len(label) for _, label in marks)))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            margin + (x - x_low) / (x_high - x_low) * (WIDTH - margin - RIGHT),
            HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for y, label in marks:
        _, top = place(x_low, y)
        parts.append(f'<line class="grid" x1="{margin}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>')
        parts.append(f'<text x="{margin - 6}" y="{top + 4:.1f}" text-anchor="end">{label}</text>')
    for x, label in _ticks(x_low, x_high, least=1):
        left, _ = place(x, y_low)
        anchor = "end" if left > WIDTH - 3 * RIGHT else "middle"
        parts.append(f'<text x="{left:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{label}</text>')
    for color, points in zip(COLORS * len(kept), kept.values(), strict=False):
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in (place(*point) for point in points))
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{path}"/>')
        if len(points) == 1:
            parts.append('<circle r="3" fill="{}" cx="{:.1f}" cy="{:.1f}"/>'.format(color, *place(*points[0])))
    if mark is not None:
        parts.append('<circle class="mark" r="6" cx="{:.1f}" cy="{:.1f}"/>'.format(*place(*mark)))
    legend = ""
    if len(kept) > 1:
        names = zip(COLORS * len(kept), kept, strict=False)
        entries = (f'<span style="border-color:{color}">{escape(name)}</span>' for color, name in names)
        legend = f'<p class="legend">{"".join(entries)}</p>'
    return "".join(parts) + "</svg>" + legend


def embedded_image(path: Path, text: str) -> str:
    """An img element that holds an image file as WebP, reduced if it is large.

    Args:
        path: of the file.
        text: what is shown, for those who do not see it.

    Raises:
        OSError: if it is no image or cannot be read.
    """
    from PIL import Image

    with Image.open(path) as file:
        image = file.convert("RGBA" if file.has_transparency_data else "RGB")
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img alt="{escape(text)}" {size} src="data:image/webp;base64,{data}">'


def _ticks(low: float, high: float, least: float = 0.0) -> list[tuple[float, str]]:
    """About TICKS round numbers within a range and their labels; 1, 2 or 5 times a power of ten, or `least`, apart."""
    rough = max((high - low) / TICKS, least)
    exponent = math.floor(math.log10(rough))
    step = next(factor * 10.0**exponent for factor in (1, 2, 5, 10) if factor * 10.0**exponent >= rough * 0.999)
    values = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    decimals = max(-exponent, 0)
    return [(value, f"{value:,.{decimals}f}" if decimals < 5 else f"{value:.4g}") for value in values]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about MOST_POINTS of the points, the last one among them."""
    stride = math.ceil(len(points) / MOST_POINTS) or 1
    return points[::stride] + (points[-1:] if (len(points) - 1) % stride else [])


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high == 0:
        return 0.0, 1.0
    if low == high:
        pad = abs(low) / 10 or 1.0
        return low - pad, high + pad
    return low, high
