"""The random numbers of an iteration: shapes, distributions, and that none depends on another."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from reference import quick_jit

from fastgan_jax.gan.randomness import StepDraws, draw_step
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator

POLICY = "color,translation"


def spec_of(*, shared: bool = False) -> SimpleNamespace:
    """The part of a specification that draws depend on."""
    return SimpleNamespace(
        generator=Generator(resolution=64),
        discriminator=Discriminator(resolution=64),
        latent_size=16,
        policy=POLICY,
        augment_shared=shared,
    )


@pytest.fixture(scope="module")
def many() -> StepDraws:
    """The draws of 400 iterations, each leaf with a leading axis."""
    keys = jax.random.split(jax.random.key(0), 400)
    return quick_jit(jax.vmap(lambda key: draw_step(key, spec_of(), 6)))(keys)


def test_shapes_follow_the_options():
    draws = draw_step(jax.random.key(0), spec_of(), 6)
    assert draws.z.shape == (6, 16)
    assert [noise.shape for noise in draws.noise] == [(6, side, side, 1) for side in (8, 8, 32, 32)]
    assert (draws.flip.shape, draws.flip.dtype) == ((6,), bool)
    assert draws.real_margins.shape == draws.fake_margins.shape == (6, 50)
    assert draws.augment_real["translation"].shape == (6, 2)


def test_latents_and_noise_are_standard_normal(many):
    # five standard errors of the mean and of the deviation
    for values in (many.z, *many.noise):
        values = np.asarray(values, np.float64)
        np.testing.assert_allclose(values.mean(), 0, atol=5 / np.sqrt(values.size))
        np.testing.assert_allclose(values.std(), 1, atol=5 / np.sqrt(2 * values.size))


def test_margins_and_augmentation_are_uniform(many):
    groups = (many.augment_real, many.augment_full, many.augment_small)
    for values in (many.real_margins, many.fake_margins, *(leaf for group in groups for leaf in group.values())):
        values = np.asarray(values, np.float64)
        assert values.min() >= 0 and values.max() < 1
        np.testing.assert_allclose(values.mean(), 0.5, atol=5 / np.sqrt(12 * values.size))
        np.testing.assert_allclose(values.var(), 1 / 12, rtol=0.1)


def test_half_are_flipped_and_every_quadrant_comes_up(many):
    np.testing.assert_allclose(np.mean(many.flip), 0.5, atol=5 * 0.5 / np.sqrt(many.flip.size))
    counts = np.bincount(np.asarray(many.cell), minlength=4)
    assert many.turns is None
    # binomial: 100 of 400 each, standard deviation 8.7
    assert len(counts) == 4 and np.abs(counts - 100).max() < 45


def test_no_two_draws_are_correlated(many):
    """One number of each kind over 400 iterations: a key used twice would show as a correlation of 1."""
    leaves = jax.tree.leaves(many)
    columns = np.stack([np.asarray(leaf, np.float64).reshape(400, -1)[:, 0] for leaf in leaves], 1)
    correlations = np.corrcoef(columns.T) - np.eye(len(leaves))
    # standard error 0.05; some 300 pairs
    assert np.abs(correlations).max() < 0.25


def test_shared_augmentation_gives_the_small_copies_the_large_ones_numbers():
    for shared in (True, False):
        draws = draw_step(jax.random.key(0), spec_of(shared=shared), 6)
        same = [np.array_equal(draws.augment_full[name], draws.augment_small[name]) for name in draws.augment_full]
        assert all(same) if shared else not any(same)
        assert not np.array_equal(draws.augment_real["brightness"], draws.augment_full["brightness"])


def test_the_key_alone_decides():
    first, again, other = (draw_step(jax.random.key(seed), spec_of(), 6) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.z, other.z)
