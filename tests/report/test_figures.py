"""Charts as inline SVG: what is drawn, in the colors of the page, and nothing that the page does not need."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from fastgan_jax.report.figures import COLORS, embedded_image, line_chart
from fastgan_jax.utils.grids import save_png


def curves(chart: str) -> list[list[tuple[float, float]]]:
    """The points of every curve, in the SVG's coordinates."""
    svg = ElementTree.fromstring(chart.split("<p ")[0])
    drawn = [path for path in svg.iter("path") if any(color in path.get("style", "") for color in COLORS)]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.get("d"))]
        for path in drawn
        if "stroke-width: 2" in path.get("style")
    ]


def labels(chart: str, anchor: str) -> list[str]:
    """The texts below the horizontal axis (anchor "middle") or beside the vertical one ("end")."""
    return re.findall(rf"<text[^>]*text-anchor: {anchor}[^>]*>([^<]+)</text>", chart)


def test_values_that_are_not_finite_are_left_out_and_the_best_gets_a_ring():
    chart = line_chart("x", {"a": [(0, 1.0), (1, None), (2, float("nan")), (3, 2.0)]}, mark=(3, 2.0))
    ((first, last),) = curves(chart)
    assert first[0] < last[0] and first[1] > last[1]  # upward
    (ring,) = re.findall(r'<use href="#\w+" x="(\S+)" y="(\S+)"', chart)
    assert tuple(map(float, ring)) == last
    assert line_chart("x", {"a": [(0, None)]}) == ""


def test_a_single_point_is_a_dot():
    for value in (0.0, 0.3):
        chart = line_chart("x", {"a": [(5, value)]})
        assert chart.count("<use ") == 1 and "NaN" not in chart


def test_charts_take_the_colors_of_the_page_and_need_nothing_else():
    chart = line_chart("<a & b>", {"<a>": [(0, 1.0), (1, 2.0)], "b": [(0, 1.0)]}, mark=(0, 1.0))
    assert "#000000" not in chart and "currentColor" in chart and 'aria-label="&lt;a &amp; b&gt;"' in chart
    assert not re.search(r"https?:|url\(|@import|<style|font-family", chart)
    assert chart.count("<span") == 2 and "&lt;a&gt;" in chart
    assert all(f"border-color:{color}" in chart for color in COLORS[:2])


def test_long_charts_are_thinned_and_keep_their_end():
    chart = line_chart("x", {"a": [(i, float(i % 7)) for i in range(10_000)], "b": [(0, 1.0), (9_999, 2.0)]})
    first, second = curves(chart)
    assert len(first) <= 402 and first[-1][0] == second[-1][0]


@pytest.mark.parametrize("last", [1, 7, 20_000, 1_000_000])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1000.25, 1000.75), (3e-9, 4e-9), (-2e9, 5e20), (0.4, 0.4)])
def test_axes_have_a_few_different_labels_and_whole_iterations(low, high, last):
    chart = line_chart("x", {"a": [(0, low), (last, high)]})
    iterations = [int(label.replace(",", "")) for label in labels(chart, "middle")]
    assert 2 <= len(iterations) <= 6 and iterations == sorted(set(iterations)) and iterations[-1] <= last
    up = labels(chart, "end")
    assert 2 <= len(up) <= 7 and len(set(up)) == len(up)
    assert max(map(len, up)) < 12


def test_large_images_are_reduced(tmp_path):
    save_png(tmp_path / "x.png", np.full((30, 4000, 3), 200, np.uint8))
    assert 'width="1000" height="8"' in embedded_image(tmp_path / "x.png", "a")


def test_figures_of_our_own_may_be_larger_than_pillows_limit(tmp_path, monkeypatch, recwarn):
    save_png(tmp_path / "a.png", np.zeros((100, 100, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert 'width="100"' in embedded_image(tmp_path / "a.png", "a") and not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_charts_need_nothing_of_a_notebooks_setting():
    program = (
        "from fastgan_jax.report.figures import line_chart; print(line_chart('a', {'b': [(0, 1.0), (1, 2.0)]})[:4])"
    )
    environment = os.environ | {"MPLBACKEND": "one-that-is-not-installed"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout == "<svg\n"
