"""Resize conventions: `legacy` against PyTorch, `clean` against Pillow, and what both keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.resizing import cubic_weights, linear_weights, resize_for_network

SIZES = [(64, 64, 75), (256, 256, 75), (75, 75, 75), (33, 50, 40), (1, 7, 12), (130, 90, 31), (1024, 40, 299)]


def random_images(height: int, width: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width", "side"), SIZES)
def test_legacy_is_pytorchs_bilinear_without_antialiasing(height, width, side):
    torch = pytest.importorskip("torch", reason="needs PyTorch as an oracle (pip install torch)")
    images = random_images(height, width)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)).float() / 255
    x = torch.nn.functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    wanted = (2 * x - 1).numpy().transpose(0, 2, 3, 1)
    found = np.asarray(resize_for_network(images, side, "legacy"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=6e-7)


def pillow_clean(image: np.ndarray, side: int) -> np.ndarray:
    """Each channel by Pillow in floating point, clipped: the definition of the clean convention."""
    channels = [
        Image.fromarray(image[:, :, c].astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        for c in range(3)
    ]
    return (np.stack([np.asarray(channel) for channel in channels], -1).clip(0, 255) - 128) / 128


@pytest.mark.parametrize(("height", "width", "side"), SIZES)
def test_clean_is_pillows_bicubic_in_floating_point(height, width, side):
    images = random_images(height, width)
    wanted = np.stack([pillow_clean(image, side) for image in images])
    found = np.asarray(resize_for_network(images, side, "clean"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


def test_at_the_right_size_pixels_pass_unchanged():
    images = random_images(20, 20)
    # XLA multiplies by 1 / 255, so the last bit may differ
    np.testing.assert_allclose(
        resize_for_network(images, 20, "legacy"), 2 * (images / np.float32(255)) - 1, rtol=0, atol=2e-7
    )
    np.testing.assert_array_equal(resize_for_network(images, 20, "clean"), (images.astype(np.float32) - 128) / 128)


def test_only_clean_antialiases():
    """Fine stripes become even gray with antialiasing; bilinear sampling without it turns them into coarse ones."""
    stripes = np.zeros((1, 128, 128, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert np.asarray(resize_for_network(stripes, 40, "clean"))[0, 5:-5, 5:-5].std() < 0.05
    assert np.asarray(resize_for_network(stripes, 40, "legacy")).std() > 0.3


@settings(deadline=None, max_examples=50)
@given(size=st.integers(1, 2048), side=st.integers(1, 400), weights=st.sampled_from([linear_weights, cubic_weights]))
def test_weights_sum_to_one_and_mirror(size, side, weights):
    found = weights(size, side)
    assert found.shape == (side, size)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    # positions in float32 are known to 1e-4 pixels at this size
    np.testing.assert_allclose(found, found[::-1, ::-1], rtol=0, atol=5e-4)


def test_a_image_depends_on_itself_alone():
    images = random_images(48, 48, 5)
    for convention in ("legacy", "clean"):
        together = np.asarray(resize_for_network(images, 30, convention))
        apart = np.concatenate([resize_for_network(images[i : i + 1], 30, convention) for i in range(5)])
        np.testing.assert_allclose(together, apart, rtol=0, atol=5e-7)


def test_unknown_conventions_and_other_arrays_are_refused():
    with pytest.raises(UserError, match="'nearest' is unknown: must be one of legacy, clean"):
        resize_for_network(random_images(8, 8), 8, "nearest")
    for images in (random_images(8, 8).astype(np.float32), random_images(8, 8)[..., :1], random_images(8, 8)[0]):
        with pytest.raises(UserError, match=r"give uint8 \[B, H, W, 3\]"):
            resize_for_network(images, 8, "legacy")
