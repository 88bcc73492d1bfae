"""Interpolation: its ends, its speed, and latents between which no great circle is determined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan_jax.inference.interpolation import interpolate, interpolate_keyframes

vectors = st.integers(0, 2**31).map(lambda seed: np.random.RandomState(seed).standard_normal(6))


@settings(max_examples=30, deadline=None)
@given(vectors, vectors, st.booleans())
def test_interpolation_meets_its_ends_and_keeps_its_length(start, end, spherical):
    fractions = np.linspace(0, 1, 5)
    path = interpolate(start, end, fractions, spherical=spherical)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-5)
    if spherical:
        expected = (1 - fractions) * np.linalg.norm(start) + fractions * np.linalg.norm(end)
        np.testing.assert_allclose(np.linalg.norm(path, axis=1), expected, rtol=1e-4)
    else:
        np.testing.assert_allclose(path[2], (start + end) / 2, atol=1e-5)


@pytest.mark.parametrize("end", [np.ones(4), -np.ones(4), np.zeros(4)], ids=["equal", "opposite", "zero"])
def test_interpolation_without_a_great_circle_is_straight(end):
    path = interpolate(np.ones(4), end, np.linspace(0, 1, 3))
    np.testing.assert_allclose(path, [np.ones(4), (1 + end) / 2, end])


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_a_closed_interpolation_has_no_jump_and_no_pause(keyframes, frames, spherical, seed):
    z = np.random.RandomState(seed).normal(size=(keyframes, 32)).astype(np.float32)
    path = interpolate_keyframes(z, frames, closed=True, spherical=spherical)
    assert path.shape == (keyframes * frames, 32) and path.dtype == np.float32
    np.testing.assert_allclose(path[::frames], z, atol=1e-5)
    steps = np.linalg.norm(np.roll(path, -1, axis=0) - path, axis=1)
    whole = np.linalg.norm(np.roll(z, -1, axis=0) - z, axis=1).max()
    assert steps.min() > 0 and steps.max() <= 1.6 * whole / frames


def test_an_open_interpolation_ends_at_the_last_keyframe():
    z = np.random.RandomState(0).normal(size=(3, 8)).astype(np.float32)
    path = interpolate_keyframes(z, 4, closed=False)
    assert len(path) == 9
    np.testing.assert_allclose(path[[0, 4, 8]], z, atol=1e-6)


def test_smooth_easing_rests_at_the_keyframes():
    z = np.random.RandomState(0).normal(size=(2, 8)).astype(np.float32)
    linear, smooth = (
        interpolate_keyframes(z, 20, closed=False, spherical=False, easing=easing) for easing in ("linear", "smooth")
    )
    first, middle = (np.linalg.norm(path[1] - path[0]) for path in (linear, smooth))
    assert middle < 0.2 * first
    np.testing.assert_allclose(smooth[10], linear[10], atol=1e-6)
