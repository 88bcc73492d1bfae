"""Figures within an HTML page: line charts as inline SVG that takes the page's text color and width, and images."""

import base64
import io
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from fastgan_jax.data.memory import without_pixel_limit
from fastgan_jax.utils.plots import import_matplotlib

INCHES = (4.6, 2.2)  # of a chart; text is 12 pixels high where it is shown 331 pixels wide
MOST_POINTS = 400
LARGEST_SIDE = 1000  # pixels of an embedded image
COLORS = ("#2b8ad6", "#d9661f", "#2fa04a", "#9a6fd0")  # readable on white and on black
STEPS = [1, 2, 5, 10]  # of ticks, times a power of ten
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "chart", "font.size": 12}
# What matplotlib writes that a page around the SVG does not need, or has otherwise: the prologue, its style sheet,
# names of groups, fonts, and names of formats, which look like addresses.
UNWANTED = (
    r'^.*?(?=<svg)|<defs>\s*<style.*?</defs>|<!--.*?-->| id="[^"]*_[^"]*"|font-family:[^;]*; |\sxmlns[^=]*="[^"]*"'
)

Points = Sequence[tuple[float, float | None]]


def line_chart(title: str, series: dict[str, Points], mark: tuple[float, float] | None = None) -> str:
    """An SVG element, and below it a legend if there are several series; "" if no series has a point.

    Args:
        title: what is drawn, for screen readers.
        series: {name: (x, y) in order of x}; a y that is None or not finite is left out.
        mark: a point that gets a ring.
    """
    finite = {
        name: [(x, y) for x, y in points if y is not None and math.isfinite(y)] for name, points in series.items()
    }
    kept = {name: _thinned(points) for name, points in finite.items() if points}
    if not kept:
        return ""
    svg = _drawn(list(kept.values()), mark)
    svg = re.sub(UNWANTED, "", svg, flags=re.DOTALL).replace("xlink:href", "href").replace("#000000", "currentColor")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    if len(kept) == 1:
        return svg
    names = zip(COLORS * len(kept), kept, strict=False)
    entries = (f'<span style="border-color:{color}">{escape(name)}</span>' for color, name in names)
    return f'{svg}<p class="legend">{"".join(entries)}</p>'


def _drawn(curves: list[list[tuple[float, float]]], mark: tuple[float, float] | None) -> str:
    """The curves as a file in SVG, black where they have no color of their own."""
    import_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    buffer = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(INCHES, layout="constrained")
        axes = figure.subplots()
        for color, points in zip(COLORS * len(curves), curves, strict=False):
            axes.plot(*zip(*points, strict=True), color=color, linewidth=2, clip_on=False)
            if len(points) == 1:
                axes.plot(*points[0], "o", color=color, markersize=5, clip_on=False)
        if mark is not None:
            axes.plot(*mark, "o", color="black", fillstyle="none", markersize=10, markeredgewidth=2, clip_on=False)
        axes.grid(axis="y", color="black", alpha=0.15, clip_on=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.ticklabel_format(axis="y", scilimits=(-4, 7), useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        unstated = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=unstated)
    return buffer.getvalue()


def embedded_image(path: Path, text: str) -> str:
    """An img element that holds an image file as WebP, reduced if it is large; `text` is for screen readers.

    Raises:
        OSError: if it is not an image or cannot be read.
    """
    from PIL import Image

    with without_pixel_limit(), Image.open(path) as file:
        image = file.convert("RGBA" if file.has_transparency_data else "RGB")
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img alt="{escape(text)}" {size} src="data:image/webp;base64,{data}">'


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about MOST_POINTS of the points, the last one among them."""
    stride = math.ceil(len(points) / MOST_POINTS)
    return points[::stride] + (points[-1:] if (len(points) - 1) % stride else [])
