"""What is found out about a set before it is decoded."""

import numpy as np
import pytest
from PIL import Image

from fastgan_jax.data.source import FolderSource, open_source
from fastgan_jax.data.survey import DECODED, MEASURED, survey


def photograph(index: int) -> Image.Image:
    """Soft noise, in which hardly a pixel equals its neighbor."""
    noise = np.random.RandomState(index).randint(0, 256, (40, 40, 3), np.uint8)
    return Image.fromarray(noise).resize((200, 300), Image.Resampling.BICUBIC)


def drawing(index: int) -> Image.Image:
    """A square on a transparent ground, whose hidden colors are noise."""
    pixels = np.random.RandomState(index).randint(0, 256, (200, 200, 4), np.uint8)
    pixels[..., 3] = 0
    pixels[50:150, 50:150] = (255, 200, index, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("draw", "least", "most"), [(photograph, 0, 0.1), (drawing, 0.8, 1)])
def test_drawings_are_told_from_photographs(draw, least, most, tmp_path):
    for index in range(3):
        draw(index).save(tmp_path / f"{index}.png")
    assert least <= survey(FolderSource(tmp_path)).flat <= most


def test_a_part_of_a_large_set_is_enough(tmp_path):
    for index in range(2 * MEASURED - 1):
        Image.new("L", (10, 20)).save(tmp_path / f"{index:03}.png")
    source = FolderSource(tmp_path)
    read, source.read = [], lambda index, own=source.read: (read.append(index), own(index))[1]
    found = survey(source)
    assert found.sizes == [(10, 20)] * MEASURED and len(read) == MEASURED + DECODED
    assert max(read) >= len(source.names) - 2 * MEASURED // DECODED, "the end of the set is looked at too"


def test_files_that_cannot_be_read_are_passed_over(folder, tmp_path):
    found = survey(FolderSource(folder))
    assert (20, 10) in found.sizes and 0 <= found.flat <= 1
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"no image")
    assert survey(FolderSource(broken)) == ([], 0)


def test_huge_images_count_and_nothing_is_printed(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    photograph(0).resize((40, 30)).save(tmp_path / "huge.png")
    assert survey(open_source(str(tmp_path))).sizes == [(40, 30)] and not recwarn.list
