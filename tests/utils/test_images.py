"""Value range, resizes and quadrants of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan_jax.utils import images as image_ops
from fastgan_jax.utils.images import map_batches, padded_batches, rgb


def numbered(height: int, width: int) -> jax.Array:
    """An image [1, height, width, 1] whose pixels hold their own index."""
    return jnp.arange(height * width).reshape(1, height, width, 1)


def test_every_uint8_value_survives_the_round_trip():
    values = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(image_ops.to_uint8(image_ops.to_unit(values)), values)


def test_the_ends_of_the_range_are_minus_one_and_one():
    units = image_ops.to_unit(jnp.array([0, 255], jnp.uint8))
    np.testing.assert_array_equal(units, [-1.0, 1.0])
    assert units.dtype == jnp.float32


def test_to_uint8_rounds_to_the_nearest_and_clips():
    levels = np.array([10.4, 10.6, -3.0, 300.0])
    np.testing.assert_array_equal(image_ops.to_uint8(jnp.asarray(levels / 127.5 - 1)), [10, 11, 0, 255])


def test_nearest_halving_takes_the_top_left_pixel_of_each_block():
    image = numbered(8, 8)
    np.testing.assert_array_equal(image_ops.resize_nearest(image, 4), image[:, ::2, ::2])


def test_nearest_doubling_repeats_pixels():
    image = numbered(3, 3)
    np.testing.assert_array_equal(
        image_ops.resize_nearest(image, 6), np.repeat(np.repeat(np.asarray(image), 2, 1), 2, 2)
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_nearest_reads_the_floor_of_the_scaled_position(height, width, side):
    resized = image_ops.resize_nearest(numbered(height, width), side)[0, :, :, 0]
    rows, columns = np.arange(side) * height // side, np.arange(side) * width // side
    np.testing.assert_array_equal(resized, rows[:, None] * width + columns)


@pytest.mark.parametrize(("before", "after"), [(256, 128), (512, 128), (1024, 128), (64, 128), (96, 32), (50, 33)])
def test_nearest_equals_pytorch(before, after):
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    image = np.random.default_rng(0).standard_normal((1, before, before, 2)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(image).permute(0, 3, 1, 2), size=after)
    np.testing.assert_array_equal(image_ops.resize_nearest(image, after), expected.permute(0, 2, 3, 1).numpy())


def test_antialias_averages_what_nearest_aliases():
    stripes = jnp.tile(jnp.array([1.0, -1.0]), 16)[None, None, :, None] * jnp.ones((1, 32, 1, 1))
    np.testing.assert_array_equal(image_ops.resize_nearest(stripes, 16), np.ones((1, 16, 16, 1)))
    smooth = image_ops.resize_antialias(stripes, 16)
    assert smooth.shape == (1, 16, 16, 1)
    # Away from the border, where the filter is cut, the stripes cancel.
    np.testing.assert_allclose(smooth[:, :, 2:-2], 0, atol=1e-6)


@pytest.mark.parametrize("resize", image_ops.RESIZES.values(), ids=image_ops.RESIZES.keys())
def test_resizes_keep_a_constant_image(resize):
    np.testing.assert_allclose(resize(jnp.full((2, 24, 16, 3), 0.25), 8), np.full((2, 8, 8, 3), 0.25), rtol=1e-6)


def test_quadrants_are_numbered_row_by_row():
    image = numbered(6, 4)
    crop = jax.jit(image_ops.crop_cell)  # the number is a traced value in training
    expected = [image[:, :3, :2], image[:, :3, 2:], image[:, 3:, :2], image[:, 3:, 2:]]
    for quadrant in range(4):
        np.testing.assert_array_equal(crop(image, quadrant), expected[quadrant])


def test_cells_of_eight_divisions():
    image = numbered(16, 8)
    for cell in (0, 7, 8, 63):
        row, column = divmod(cell, 8)
        expected = image[:, 2 * row : 2 * row + 2, column : column + 1]
        np.testing.assert_array_equal(image_ops.crop_cell(image, cell, 8), expected)


def test_rgb_repeats_gray_and_lays_transparency_on_white():
    gray = np.full((2, 1, 1, 1), 7, np.uint8)
    np.testing.assert_array_equal(rgb(gray), np.full((2, 1, 1, 3), 7))
    colors = np.uint8([[[[10, 20, 30, alpha]]] for alpha in (0, 255, 51)])
    np.testing.assert_array_equal(rgb(colors)[:, 0, 0], [[255, 255, 255], [10, 20, 30], [206, 208, 210]])
    np.testing.assert_array_equal(rgb(colors[..., :3]), colors[..., :3])


def test_batches_are_padded_to_one_size():
    batches = [(x.tolist(), rows) for (x,), rows in padded_batches(3, np.arange(1, 5))]
    assert batches == [([1, 2, 3], 3), ([4, 0, 0], 1)]
    assert [(x.tolist(), rows) for (x,), rows in padded_batches(2, np.zeros(0, int))] == [([0, 0], 0)]


@given(st.integers(0, 9), st.integers(1, 4))
def test_a_function_of_batches_is_applied_to_every_row(count, size):
    x, y = np.arange(count), np.arange(count) ** 2
    result = map_batches(lambda a, b: {"sum": a + b, "pair": (a, b)}, size, x, y)
    np.testing.assert_array_equal(result["sum"], x + y)
    np.testing.assert_array_equal(result["pair"][1], y)
