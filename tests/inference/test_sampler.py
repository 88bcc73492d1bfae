"""Sampling: an image depends on checkpoint, seed and index only; style mixing; interpolation."""

import pickle

import jax
import numpy as np
import pytest

from fastgan_jax.errors import UserError
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


def test_an_image_does_not_depend_on_what_else_is_sampled(sampler):
    many = sampler.sample(CHUNK + 3, seed=5)
    np.testing.assert_array_equal(many[:2], sampler.sample(2, seed=5))
    np.testing.assert_array_equal(many[3:], sampler.sample(CHUNK, seed=5, first=3))
    np.testing.assert_array_equal(many, sampler.generate(sampler.latents(CHUNK + 3, seed=5)))
    assert many.shape == (CHUNK + 3, 64, 64, 3) and many.dtype == np.uint8


def test_whole_numbers_may_be_floats(sampler):
    z = sampler.latents(np.float64(2), 3.0, first=1.0)
    np.testing.assert_array_equal(z, sampler.latents(2, 3, first=1))
    np.testing.assert_array_equal(sampler.sample(2.0, 3.0, first=1.0), sampler.sample(2, 3, first=1))
    np.testing.assert_array_equal(sampler.interpolate(z, 2.0), sampler.interpolate(z, 2))


def test_images_differ_between_indices_and_seeds(sampler):
    images = np.concatenate([sampler.sample(3, seed=0), sampler.sample(3, seed=1)])
    assert len({image.tobytes() for image in images}) == 6


def test_latents_are_frozen(sampler):
    expected = [0.16052169604673305, -0.2562697777239108, -0.6050752216221972]  # of seed 9, index 1; may never change
    np.testing.assert_allclose(sampler.latents(1, 9, first=1)[0, :3], expected, rtol=1e-6)


@pytest.mark.parametrize("truncation", [0.75, 0.5, 0.1])
def test_truncation_resamples_large_values_and_keeps_the_length(sampler, truncation):
    free, truncated = sampler.latents(200, 3), sampler.latents(200, 3, truncation=truncation)
    np.testing.assert_allclose(np.linalg.norm(truncated, axis=1), np.linalg.norm(free, axis=1), rtol=1e-6)
    factors, kept = truncated / free, np.abs(free) <= 2 * truncation
    for factor, own, row in zip(factors, kept, truncated, strict=True):
        if own.any():  # values that are small enough have only been scaled, all of a latent alike
            np.testing.assert_allclose(factor[own], factor[own][0], rtol=1e-5)
            assert np.abs(row).max() <= 2 * truncation * factor[own][0] * 1.00001
    np.testing.assert_array_equal(sampler.latents(1, 3, first=7, truncation=truncation), truncated[7:8])


@pytest.mark.parametrize("truncation", [0, 1.5, float("nan")])
def test_truncation_out_of_range(sampler, truncation):
    with pytest.raises(UserError, match="must be a number from 0.01 to 1"):
        sampler.latents(1, truncation=truncation)


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


def test_style_mix_with_itself_is_the_image_itself(sampler, caplog):
    z = sampler.latents(2, seed=1)
    mixed = sampler.style_mix(z, z)
    assert mixed.shape == (2, 2, 64, 64, 3)
    own = sampler.generate(z)
    for index in range(2):
        np.testing.assert_array_equal(mixed[index, index], own[index])
    assert not np.array_equal(mixed[0, 1], own[0])
    np.testing.assert_array_equal(sampler.style_mix(z, z, resolutions=())[0, 1], own[0])
    np.testing.assert_array_equal(sampler.style_mix(z, z, resolutions=(64, 128, 256)), mixed)
    assert "128 is left out: only larger models have it, this one has 64" in caplog.text and "256" in caplog.text


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
    np.testing.assert_array_equal(sampler.interpolate(stations=z, frames=4), closed)  # the former name


def test_other_variables_make_other_images_everywhere(sampler):
    other = Sampler(sampler.generator, sampler.variables, z_dim=8)
    z = other.latents(1)
    before = other.generate(z)
    other.variables = jax.tree.map(lambda leaf: 0 * leaf, sampler.variables)
    black, mixed = other.generate(z), other.style_mix(z, z)[0]
    assert not np.array_equal(black, before)
    np.testing.assert_array_equal(mixed, black)


def test_a_pickled_sampler_makes_the_same_images(sampler):
    image = sampler.sample(1)  # compiled by now
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sampler)).sample(1), image)


def test_it_says_what_it_is(sampler):
    assert repr(sampler) == "<Sampler of 64x64x3 images from latents [N, 8], iteration 7>"


def test_bad_arguments_are_named(sampler):
    with pytest.raises(UserError, match=r"shape \[2, 5\].*\[N, 8\]"):
        sampler.generate(np.zeros((2, 5)))
    with pytest.raises(UserError, match="unconditional"):
        sampler.sample(2, labels=[0, 1])
    with pytest.raises(UserError, match="unconditional"):
        sampler.sample(1, labels=[10**12])
    for sides in ((128,), (64, 100), (32,)):
        with pytest.raises(UserError, match=f"{sides[-1]}: must be one of 64"):
            sampler.style_mix(np.zeros((1, 8)), np.zeros((1, 8)), resolutions=sides)
    for call, message in (
        (lambda: sampler.sample(-3), "num=-3: must be at least 0"),
        (lambda: sampler.generate(np.full((1, 8), np.nan)), "latents hold numbers that are not finite"),
        (lambda: sampler.generate(np.zeros((1, 8)), noise_seed=-1), "noise_seed=-1: must be from 0"),
        (lambda: sampler.generate(np.zeros((1, 8)), noise_seed=1.9), "noise_seed=1.9: must be a whole number"),
        (lambda: sampler.sample(4.5), "num=4.5: must be a whole number"),
        (lambda: sampler.interpolate(np.zeros((2, 8)), 2.5), "frames=2.5: must be a whole number"),
    ):
        with pytest.raises(UserError, match=message):
            call()
    plain = Sampler(sampler.generator.clone(skip_excitation=False), sampler.variables, z_dim=8)
    with pytest.raises(UserError, match="no skip-layer excitation"):
        plain.style_mix(np.zeros((1, 8)), np.zeros((1, 8)))
    for options, message in (
        ({"easing": "fast"}, "easing='fast': must be one of linear, smooth"),
        ({"frames": 0}, "0 frames between 1 keyframes"),
        ({"keyframes": np.zeros((0, 8))}, "4 frames between 0 keyframes"),
        ({"keyframes": None}, "latents have shape"),
        ({"labels": 1}, "unconditional"),
    ):
        with pytest.raises(UserError, match=message):
            sampler.interpolate(**{"keyframes": np.zeros((1, 8)), "frames": 4} | options)


def test_labels_of_a_conditional_generator_are_checked(small, variables):
    conditional = Sampler(small.spec.generator.clone(num_classes=2), variables, z_dim=8)
    with pytest.raises(UserError, match="pass 3 labels from 0 to 1"):
        conditional.generate(np.zeros((3, 8)))
    with pytest.raises(UserError, match="label 2: must be a class, a whole number from 0 to 1"):
        conditional.generate(np.zeros((2, 8)), labels=[0, 2])
    with pytest.raises(UserError, match="label 0.5: must be a class"):
        conditional.interpolate(np.zeros((2, 8)), 2, labels=0.5)
    with pytest.raises(UserError, match=r"labels have shape \[3\] for 2 image\(s\)"):
        conditional.generate(np.zeros((2, 8)), labels=[0, 1, 1])
    with pytest.raises(UserError, match="num=0"):
        conditional.sample_by_class(0)
    np.testing.assert_array_equal(conditional.check_labels(1, 3), [1, 1, 1])
    np.testing.assert_array_equal(conditional.check_labels([1, 0], 2), [1, 0])
