"""Convolutions: the plain form against PyTorch, the faster equal forms against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import assert_close, to_nchw

from fastgan_jax.models import convolution


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "groups"),
    [(3, 1, 1, 1), (4, 2, 1, 1), (4, 1, 0, 1), (1, 1, 0, 1), (3, 1, 1, 6)],
)
def test_convolve_equals_pytorch(kernel_size, stride, padding, groups):
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 9, 8, 6), normal(1, kernel_size, kernel_size, 6 // groups, 12)
        result = convolution.convolve(
            jnp.asarray(x), jnp.asarray(kernel), stride=stride, padding=padding, groups=groups
        )
        expected = torch.nn.functional.conv2d(
            torch.from_numpy(to_nchw(x)),
            torch.from_numpy(np.transpose(kernel, (3, 2, 0, 1)).copy()),
            stride=stride,
            padding=padding,
            groups=groups,
        )
        # float64: sums of up to 96 terms of size one
        assert_close(to_nchw(result), expected.numpy(), rtol=1e-13)


def test_upsample_nearest_repeats_each_pixel():
    result = convolution.upsample_nearest(jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(result[0, :, :, 0], expected)


@pytest.mark.parametrize("form", convolution.UPSAMPLE_FORMS)
def test_upsample_convolve_equals_pytorch(form):
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    with jax.enable_x64(True):
        x, kernel = normal(0, 2, 5, 4, 3), normal(1, 3, 3, 3, 6)
        result = convolution.upsample_convolve(jnp.asarray(x), jnp.asarray(kernel), form=form)
        upsampled = torch.nn.functional.interpolate(torch.from_numpy(to_nchw(x)), scale_factor=2, mode="nearest")
        weight = torch.from_numpy(np.transpose(kernel, (3, 2, 0, 1)).copy())
        assert_close(to_nchw(result), torch.nn.functional.conv2d(upsampled, weight, padding=1).numpy(), rtol=1e-13)


@settings(deadline=None, max_examples=3)
@example(height=1, width=1)
@example(height=5, width=7)
@given(height=st.integers(1, 8), width=st.integers(1, 8))
def test_phase_form_equals_repeat_form(height, width):
    """Values and both gradients, odd sizes included; float64, so that only the order of summation may differ."""
    size_in, size_out, seed = 2, 3, 10 * height + width
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(normal(seed, 2, height, width, size_in)),
            jnp.asarray(normal(1, 3, 3, size_in, size_out)),
        )
        cotangent = jnp.asarray(normal(2, 2, 2 * height, 2 * width, size_out))
        results = {}
        for form in ("repeat", "phase"):
            value, pull_back = jax.vjp(
                lambda x, k, form=form: convolution.upsample_convolve(x, k, form=form), x, kernel
            )
            results[form] = (value, *pull_back(cotangent))
        for name, repeat, phase in zip(("value", "dx", "dkernel"), *results.values(), strict=True):
            assert_close(phase, repeat, rtol=1e-12, what=name)


def test_unknown_upsampling_form_is_refused():
    with pytest.raises(ValueError, match="upsampling form 'bilinear' is none of repeat, phase"):
        convolution.upsample_convolve(jnp.zeros((1, 2, 2, 1)), jnp.zeros((3, 3, 1, 1)), form="bilinear")
