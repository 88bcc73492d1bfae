"""Image grids, captions and PNG files."""

import numpy as np
import pytest
from PIL import Image

from fastgan_jax.utils.grids import captioned, image_grid, save_png


def test_grid_places_images_row_by_row():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    grid = image_grid(images, columns=2)
    assert grid.shape == (3 * 4 - 2, 2 * 5 - 2, 3)
    assert grid[0, 0, 0] == 0 and grid[0, 5, 0] == 1 and grid[4, 0, 0] == 2 and grid[8, 0, 0] == 4
    assert grid[2, 0, 0] == 255 and grid[8, 5, 0] == 255
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


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_caption_stands_below_the_image(channels):
    image = np.full((20, 90, channels), 40, np.uint8)
    high = {
        captioned(np.zeros((64, 66, 3), np.uint8), f"iteration {step}", "iteration 1000").shape
        for step in (7, 800, 1000)
    }
    assert len(high) == 1, "frames of a video"
    shown = captioned(image, "iteration 7")
    np.testing.assert_array_equal(shown[:20], image)
    below = shown[20:]
    assert len(below) >= 8 and below.shape[1:] == (90, channels)
    assert below[..., 0].min() < 100 and (below[0, 0, :] == 255).all()
    if channels == 4:
        assert (below[..., 3] == 255).all()
