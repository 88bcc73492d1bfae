"""Grids, images, metrics and progress."""

import json
import logging
import sys

import numpy as np
import pytest
from PIL import Image

from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import MetricsWriter
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.grids import image_grid, save_png


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock():
        yield folder


def lines_of(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_grid_places_images_row_by_row():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    grid = image_grid(images, columns=2, padding=1)
    assert grid.shape == (3 * 3 - 1, 2 * 4 - 1, 3)
    assert grid[0, 0, 0] == 0 and grid[0, 4, 0] == 1 and grid[3, 0, 0] == 2 and grid[6, 0, 0] == 4
    assert grid[2, 0, 0] == 255 and grid[6, 4, 0] == 255
    assert image_grid(images).shape[1] == 3 * 5 - 2
    assert image_grid(images[:1], columns=8).shape == (2, 3, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_pixels_and_metadata(tmp_path, channels):
    image = np.random.RandomState(0).randint(0, 256, (5, 7, channels), np.uint8)
    save_png(tmp_path / "x.png", image, {"seed": "3"})
    with Image.open(tmp_path / "x.png") as file:
        np.testing.assert_array_equal(np.asarray(file).reshape(image.shape), image)
        assert file.text == {"seed": "3"}
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_resuming_drops_later_and_damaged_lines(run, caplog):
    with MetricsWriter(run, 0) as writer:
        for step in (1, 2, 3):
            writer.scalars(step, {"loss/d": step / 2})
    with open(run.metrics, "a") as file:
        file.write('{"step": 4, "lo')
    with MetricsWriter(run, 2) as writer:
        writer.scalars(3, {"loss/d": 7.0})
    assert [(line["step"], line["loss/d"]) for line in lines_of(run)] == [(1, 0.5), (2, 1.0), (3, 7.0)]
    assert "dropped a damaged line" in caplog.text


def test_numbers_that_are_not_finite_are_valid_json(run):
    with MetricsWriter(run, 0) as writer:
        writer.scalars(1, {"a": float("nan"), "b": float("inf"), "c": 1.5})
    (line,) = lines_of(run)
    assert (line["a"], line["b"], line["c"]) == (None, None, 1.5)
    assert line["wall_time"] > 0


def test_progress_without_a_terminal_is_a_plain_line(caplog, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO), Progress(10, 0, 4) as progress:
        progress.update(5)  # too soon for a line
        progress.losses({"loss/d": 1.25, "loss/g": 2.0, "other": 3.0})
        progress.update(10)
    assert len(caplog.records) == 1
    assert "iteration 10/10" in caplog.text and "loss/d 1.250 loss/g 2.000" in caplog.text


def test_progress_in_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(10, 2, 4) as progress:
        progress.losses({"loss/d": 1.25})
        progress.update(10)
    shown = capsys.readouterr().err
    assert "10/10" in shown and "images/s loss/d 1.250" in shown
