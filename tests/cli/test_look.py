"""fastgan look: what it prints and shows of a set, and what it measures."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_modules import pixels, run

from fastgan_jax.data.demo import draw_demo_image
from fastgan_jax.report.sheet import MARGIN, PADDING, TILE, WIDTH

SMALL = ["--preset", "smoke", "--config.model.resolution=64"]


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    """Ten images, of which two are the same and one is 2 wide to 1 high; a broken one; and a text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    for index in range(8):
        Image.fromarray(draw_demo_image(0, index, 96)).save(folder / f"{index}.png")
    Image.fromarray(draw_demo_image(0, 2, 90)).save(folder / "again.png")
    Image.fromarray(draw_demo_image(0, 8, 96)).resize((192, 96)).save(folder / "wide.png")
    (folder / "broken.png").write_bytes(b"no")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_the_sheet_shows_the_set_and_the_text_counts_it(images, tmp_path, capsys, caplog):
    out = tmp_path / "sheet.png"
    assert run("look", images, *SMALL, "--out", out, "--no-timing") == 0
    printed, log = capsys.readouterr().out, caplog.text
    assert "10 decoded to 64x64x3, 1 skipped, 1 left out" in log and "skipped broken.png" in log
    assert "shapes: 90 % square, 10 % landscape, 0 % portrait" in printed
    assert "near-duplicates: 1 of 10 images" in printed and "    2.png, again.png" in printed
    assert "GB" not in printed and printed.splitlines()[-1] == str(out)
    sheet = pixels(out)
    assert sheet.shape[1:] == (WIDTH + 2 * MARGIN, 3) and sheet.dtype == np.uint8
    # The first image of the set, enlarged by pixels, stands at the left border, below the text.
    first = np.asarray(Image.fromarray(draw_demo_image(0, 0, 96)).resize((64, 64), Image.Resampling.LANCZOS))
    expected = first.repeat(2, axis=0).repeat(2, axis=1).astype(int)
    column = sheet[:, MARGIN : MARGIN + TILE].astype(int)
    tops = [y for y in range(len(sheet) - TILE) if np.array_equal(column[y : y + TILE], expected)]
    assert len(tops) >= 2, "in the set, and as the first that is augmented"
    gray = (np.abs(sheet[tops[1] + TILE + PADDING :].astype(int) - 128) <= 1).all(-1)
    assert gray.sum() > 5 * TILE**2, "holes of cutout and borders of translation are gray, the networks' zero"


def test_what_exists_is_kept_and_bad_input_is_one_line(images, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    out.write_bytes(b"mine")
    for words, message in (
        ([images, *SMALL, "--out", out], "exists already"),
        (["--out", tmp_path / "new.png"], "nothing to look at"),
        ([images, "--out", images / "sheets" / "new.png"], "lies among the images"),
        ([images, "--out", tmp_path / "new.jpg"], "must be a .png file"),
        ([images / "no", "--out", tmp_path / "new.png"], "no such folder or zip of images"),
    ):
        assert run("look", *words) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert out.read_bytes() == b"mine"


@pytest.mark.slow
def test_time_and_memory_are_measured(images, tmp_path, capsys):
    assert run("look", images, *SMALL, "--config.train.iterations=3000", "--out", tmp_path / "sheet.png") == 0
    text = capsys.readouterr().out
    found = re.search(r"1,000 iterations take ([\d.]+) (\w+) here, all 3,000 ([\d.]+) (\w+)", text)
    units = {"seconds": 1, "minutes": 60, "hours": 3600}
    one, all_of_them = (float(found[i]) * units[found[i + 1]] for i in (1, 3))
    assert 0.1 < one < 3600 and all_of_them == pytest.approx(3 * one, rel=0.1)
    memory = float(re.search(r"needs ([\d.]+) GB of memory", text)[1])
    assert 0 <= memory < 1
