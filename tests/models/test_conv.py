"""Convolutions: the plain form against PyTorch, the faster equal variants against the plain one."""

import itertools
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import assert_close, to_nchw

from fastgan_jax.models import conv as convolution
from fastgan_jax.models.variants import VARIANTS


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (4, 1, 0), (1, 1, 0)])
def test_convolve_equals_pytorch(kernel_size, stride, padding):
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 9, 8, 6), normal(1, kernel_size, kernel_size, 6, 12)
        result = convolution.convolve(jnp.asarray(x), jnp.asarray(kernel), stride=stride, padding=padding)
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(to_nchw(x)),
            torch.from_numpy(np.transpose(kernel, (3, 2, 0, 1)).copy()),
            stride=stride,
            padding=padding,
        )
        # float64: sums of up to 96 terms of size one
        assert_close(to_nchw(result), expected.numpy(), rtol=1e-13)


def test_upsample_nearest_repeats_each_pixel():
    result = convolution.upsample_nearest(jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(result[0, :, :, 0], expected)


subpixels_everywhere = mock.patch.object(convolution, "FEWEST_FOR_SUBPIXELS", 1)  # on small maps too


@pytest.mark.parametrize("variant", VARIANTS["upsample"])
@subpixels_everywhere
def test_upsample_convolve_equals_pytorch(variant):
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 5, 4, 3), normal(1, 3, 3, 3, 6)
        result = convolution.upsample_convolve(jnp.asarray(x), jnp.asarray(kernel), variant=variant)
        upsampled = torch.nn.functional.interpolate(torch.from_numpy(to_nchw(x)), scale_factor=2, mode="nearest")
        weight = torch.from_numpy(np.transpose(kernel, (3, 2, 0, 1)).copy())
        assert_close(to_nchw(result), torch.nn.functional.conv2d(upsampled, weight, padding=1).numpy(), rtol=1e-13)


BFLOAT16_SHAPES = ((2, 16, 16, 16), (3, 3, 16, 16), (2, 16, 16, 16))


def values_and_gradients(function, x: np.ndarray, kernel: np.ndarray) -> dict[str, jax.Array]:
    """The result of function(x, kernel), and its gradients for a random cotangent."""
    cotangent = jnp.asarray(normal(2, *jax.eval_shape(function, x, kernel).shape))

    @jax.jit
    def both(x: jax.Array, kernel: jax.Array) -> dict[str, jax.Array]:
        value, pull_back = jax.vjp(function, x, kernel)
        return dict(zip(("value", "dx", "dkernel"), (value, *pull_back(cotangent)), strict=True))

    return both(jnp.asarray(x), jnp.asarray(kernel))


@pytest.mark.slow
@settings(deadline=None, max_examples=3)
@example(height=1, width=1)
@example(height=5, width=7)
@given(height=st.integers(1, 8), width=st.integers(1, 8))
@subpixels_everywhere
def test_upsampling_variants_equal_the_first(height, width):
    """Values and both gradients, odd sizes included; float64, so that only the order of summation may differ."""
    with jax.enable_x64(True):
        arrays = normal(10 * height + width, 2, height, width, 2), normal(1, 3, 3, 2, 3)
        plain, *fast = (
            values_and_gradients(partial(convolution.upsample_convolve, variant=variant), *arrays)
            for variant in VARIANTS["upsample"]
        )
        for name, one in itertools.product(plain, fast):
            assert_close(one[name], plain[name], rtol=1e-12, what=name)


@settings(deadline=None, max_examples=3)
@example(height=1, width=1)
@example(height=3, width=4)
@given(height=st.integers(1, 4), width=st.integers(1, 4))
def test_subpixel_gradient_equals_the_strided_one(height, width):
    with jax.enable_x64(True):
        arrays = normal(10 * height + width, 2, 2 * height, 2 * width, 3), normal(1, 4, 4, 3, 5)
        plain, fast = (
            values_and_gradients(partial(convolution.downsample_convolve, variant=variant), *arrays)
            for variant in VARIANTS["downsample"]
        )
        for name in plain:
            assert_close(fast[name], plain[name], rtol=1e-12, what=name)


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (1, 1, 0), (2, 1, ((1, 0), (0, 1))), (4, 1, 0), (3, 2, 0)]
)
@pytest.mark.parametrize(("kind", "strip"), [("large", 4096), ("large", 17), ("large", 1), ("product", 1)])
def test_products_give_the_convolution_and_its_gradients(size, stride, padding, kind, strip, monkeypatch):
    monkeypatch.setattr(convolution, "STRIP_POSITIONS", strip)
    monkeypatch.setattr(convolution, f"_is_{kind}", lambda *_: True)
    with jax.enable_x64(True):
        arrays = normal(0, 2, 9, 8, 3), normal(1, size, size, 3, 5)
        plain, fast = (
            values_and_gradients(partial(convolution.convolve, stride=stride, padding=padding, products=way), *arrays)
            for way in VARIANTS["products"]
        )
        for name in plain:
            assert_close(fast[name], plain[name], rtol=1e-12, what=name)


def test_products_are_chosen_by_size(monkeypatch):
    """Counts the matrix products in the gradients of a wide and of a narrow convolution."""

    def products(channels: int, side: int = 16, batch: int = 1, size: int = 3) -> int:
        x, kernel = jnp.zeros((batch, side, side, channels)), jnp.zeros((size, size, channels, channels))
        options = {"padding": size // 2, "products": "by_size"}
        gradient = jax.grad(lambda k: convolution.convolve(x, k, **options).sum())
        return str(jax.make_jaxpr(gradient)(kernel)).count("dot_general")

    assert products(16) == 9 and products(15) == 0
    assert products(16, side=15) == products(16, side=8, batch=32) == 0
    assert products(1, side=99, size=1) == 3  # the result, and both gradients
    monkeypatch.setattr(convolution, "LARGE_KERNEL", 9 * 16 * 16)
    assert products(16, side=8, batch=32) == 3
    assert products(15, side=8) == products(16, side=9) == 0


@pytest.mark.parametrize(("way", "kind"), [("never", "large"), ("by_size", "large"), ("by_size", "product")])
def test_the_kernels_gradient_of_bfloat16_is_rounded_once(way, kind, monkeypatch):
    """Sums of bfloat16 products are float32's, so that one rounding to bfloat16 (2^-8) is the difference."""
    monkeypatch.setattr(convolution, f"_is_{kind}", lambda *_: True)
    x, kernel, came = (jnp.asarray(normal(seed, *s), jnp.bfloat16) for seed, s in enumerate(BFLOAT16_SHAPES))

    def gradient(dtype: type, way: str) -> jax.Array:
        convolve = partial(convolution.convolve, padding=1, products=way)
        _, pull_back = jax.vjp(partial(convolve, x.astype(dtype)), kernel.astype(dtype))
        return pull_back(came.astype(dtype))[0]

    result = gradient(jnp.bfloat16, way)
    assert result.dtype == jnp.bfloat16
    assert_close(result.astype(jnp.float32), gradient(jnp.float32, "never"), rtol=2**-8, what=way)
