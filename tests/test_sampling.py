"""Sampling: an image depends on checkpoint, seed and index only; style mixing; interpolation; statistics."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan_jax.errors import UserError
from fastgan_jax.inference import sampler as sampling
from fastgan_jax.inference.interpolation import interpolate
from fastgan_jax.inference.sampler import CHUNK, Sampler, noise_keys
from fastgan_jax.inference.standing_statistics import standing_statistics


@pytest.fixture(scope="module")
def variables(small):
    g = small.state.generator
    # Noise is weighted 0 at first; give it a weight so that a mistake with noise shows.
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.5 if path[-1].key == "noise_weight" else leaf, g.params
    )
    return standing_statistics(
        small.spec.generator, params, g.batch_stats, g.spectral, jax.random.key(0), latent_size=8, batches=4
    )


@pytest.fixture(scope="module")
def sampler(small, variables):
    return Sampler(small.spec.generator, variables, z_dim=8, step=7)


def test_a_image_does_not_depend_on_what_else_is_sampled(sampler):
    many = sampler.sample(CHUNK + 3, seed=5)
    np.testing.assert_array_equal(many[:2], sampler.sample(2, seed=5))
    np.testing.assert_array_equal(many[3:], sampler.sample(CHUNK, seed=5, first=3))
    np.testing.assert_array_equal(many, sampler.generate(sampler.latents(CHUNK + 3, seed=5)))
    assert many.shape == (CHUNK + 3, 64, 64, 3) and many.dtype == np.uint8


def test_images_differ_between_indices_and_seeds(sampler):
    images = np.concatenate([sampler.sample(3, seed=0), sampler.sample(3, seed=1)])
    assert len({image.tobytes() for image in images}) == 6


def test_latents_are_frozen(sampler):
    expected = [0.16052169604673305, -0.2562697777239108, -0.6050752216221972]  # of seed 9, index 1; may never change
    np.testing.assert_allclose(sampler.latents(1, 9, first=1)[0, :3], expected, rtol=1e-6)


def test_truncation_scales_the_latents(sampler):
    np.testing.assert_allclose(sampler.latents(2, 3, truncation=0.5), 0.5 * sampler.latents(2, 3))


def test_no_images_is_an_empty_array(sampler):
    assert sampler.sample(0).shape == (0, 64, 64, 3)


def test_noise_belongs_to_the_latent_unless_a_seed_is_given(sampler):
    z = sampler.latents(2)
    keys = noise_keys(z)
    assert not np.array_equal(keys[0], keys[1])
    np.testing.assert_array_equal(keys[:1], noise_keys(z[:1]))
    shared = noise_keys(z, 4)
    np.testing.assert_array_equal(shared[0], shared[1])
    assert not np.array_equal(sampler.generate(z, noise_seed=4), sampler.generate(z, noise_seed=5))


def test_standing_statistics_are_those_of_the_pooled_batches(small, variables, monkeypatch):
    """By hand on two made-up batches: the mean of the variances plus the variance of the means."""
    batches = [
        {"norm": {"mean": np.float32([0.0, 1.0]), "var": np.float32([1.0, 2.0])}},
        {"norm": {"mean": np.float32([2.0, 1.0]), "var": np.float32([3.0, 4.0])}},
    ]
    pooled = sampling._pool_statistics(batches)
    np.testing.assert_allclose(pooled["norm"]["mean"], [1.0, 1.0])
    np.testing.assert_allclose(pooled["norm"]["var"], [2.0 + 1.0, 3.0])


def test_standing_statistics_normalize_the_generators_own_images(small, variables):
    """In evaluation mode the first layer's output must be standard normal, up to the scatter of 32 latents."""
    generator = small.spec.generator
    z = np.random.RandomState(0).standard_normal((256, 8)).astype(np.float32)
    kernel = np.asarray(variables["params"]["initial"]["conv"]["kernel"])
    u, v = (np.asarray(variables["spectral"]["initial"]["conv"][name]) for name in "uv")
    sigma = v @ kernel.reshape(-1, kernel.shape[-1]) @ u
    x = np.einsum("bn,hwnc->bhwc", z, kernel / sigma)
    stats = variables["batch_stats"]["initial"]["norm"]
    normalized = (x - np.asarray(stats["mean"])) / np.sqrt(np.asarray(stats["var"]))
    assert abs(normalized.mean()) < 0.1
    assert normalized.var() == pytest.approx(1, abs=0.25)
    assert generator.resolution == 64
    top = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2)
    assert sigma == pytest.approx(top, rel=0.03), "the spectral vectors must be settled"


def test_style_mix_with_itself_is_the_image_itself(sampler):
    z = sampler.latents(2, seed=1)
    mixed = sampler.style_mix(z, z)
    assert mixed.shape == (2, 2, 64, 64, 3)
    own = sampler.generate(z)
    for index in range(2):
        np.testing.assert_array_equal(mixed[index, index], own[index])
    assert not np.array_equal(mixed[0, 1], own[0])
    np.testing.assert_array_equal(sampler.style_mix(z, z, resolutions=())[0, 1], own[0])


def test_a_style_mix_of_given_noise_is_that_of_images_with_this_noise(sampler):
    z = sampler.latents(2, seed=1)
    mixed, own = sampler.style_mix(z, z, noise_seed=4), sampler.generate(z, noise_seed=4)
    for index in range(2):
        np.testing.assert_array_equal(mixed[index, index], own[index])
    assert not np.array_equal(own, sampler.generate(z))


def test_interpolation_passes_its_latents_with_one_noise(sampler):
    z = sampler.latents(3, seed=1)
    closed, opened = sampler.interpolate(z, 4), sampler.interpolate(z, 4, closed=False, noise_seed=2)
    assert closed.shape == (12, 64, 64, 3) and opened.shape == (9, 64, 64, 3)
    np.testing.assert_array_equal(closed[::4], sampler.generate(z, noise_seed=0))
    np.testing.assert_array_equal(opened[::4], sampler.generate(z, noise_seed=2))


def test_bad_arguments_are_named(sampler):
    with pytest.raises(UserError, match=r"shape \[2, 5\].*\[N, 8\]"):
        sampler.generate(np.zeros((2, 5)))
    with pytest.raises(UserError, match="unconditional"):
        sampler.sample(2, labels=[0, 1])
    with pytest.raises(UserError, match=r"128 is not in this model.*64"):
        sampler.style_mix(np.zeros((1, 8)), np.zeros((1, 8)), resolutions=(64, 128))
    for options, message in (
        ({"easing": "fast"}, r"easing='fast': allowed is linear \| smooth"),
        ({"frames": 0}, "0 frames between 1 stations"),
        ({"stations": np.zeros((0, 8))}, "4 frames between 0 stations"),
        ({"labels": 1}, "unconditional"),
    ):
        with pytest.raises(UserError, match=message):
            sampler.interpolate(**{"stations": np.zeros((1, 8)), "frames": 4} | options)


def test_labels_of_a_conditional_generator_are_checked(small, variables):
    conditional = Sampler(small.spec.generator.clone(num_classes=2), variables, z_dim=8)
    with pytest.raises(UserError, match="pass 3 labels from 0 to 1"):
        conditional.generate(np.zeros((3, 8)))
    with pytest.raises(UserError, match=r"labels \[0, 2\] do not fit"):
        conditional.generate(np.zeros((2, 8)), labels=[0, 2])


vectors = st.integers(0, 2**31).map(lambda seed: np.random.RandomState(seed).standard_normal(6))


@settings(max_examples=30, deadline=None)
@given(vectors, vectors, st.booleans())
def test_interpolation_meets_its_ends_and_keeps_its_length(start, end, spherical):
    shares = np.linspace(0, 1, 5)
    path = interpolate(start, end, shares, spherical=spherical)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-5)
    if spherical:
        expected = (1 - shares) * np.linalg.norm(start) + shares * np.linalg.norm(end)
        np.testing.assert_allclose(np.linalg.norm(path, axis=1), expected, rtol=1e-4)
    else:
        np.testing.assert_allclose(path[2], (start + end) / 2, atol=1e-5)


@pytest.mark.parametrize("end", [np.ones(4), -np.ones(4), np.zeros(4)], ids=["equal", "opposite", "zero"])
def test_interpolation_without_a_great_circle_is_straight(end):
    path = interpolate(np.ones(4), end, np.linspace(0, 1, 3))
    np.testing.assert_allclose(path, [np.ones(4), (1 + end) / 2, end])
