"""Standing statistics: those of the pooled batches, by converged spectral vectors."""

import jax
import numpy as np
import pytest

from fastgan_jax.inference import standing_statistics as standing
from fastgan_jax.inference.standing_statistics import standing_statistics
from fastgan_jax.models.init import initial_variables


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


def test_standing_statistics_are_those_of_the_pooled_batches():
    """By hand on two made-up batches: the mean of the variances plus the variance of the means."""
    batches = [
        {"norm": {"mean": np.float32([0.0, 1.0]), "var": np.float32([1.0, 2.0])}},
        {"norm": {"mean": np.float32([2.0, 1.0]), "var": np.float32([3.0, 4.0])}},
    ]
    pooled = standing._pool_statistics(batches)
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


def test_classes_are_drawn_in_the_proportions_of_the_training_images(small):
    generator = small.spec.generator.clone(num_classes=3)
    latents, _ = generator.call_shapes(8)
    variables = initial_variables(jax.random.key(0), generator, *latents, train=False)
    of = (variables["params"], variables["batch_stats"], variables["spectral"], jax.random.key(1))
    options = {"latent_size": 8, "batches": 2, "batch_size": 8}
    one = standing_statistics(generator, *of, **options, labels=np.int32([2]))
    same = standing_statistics(generator, *of, **options, labels=np.int32([2, 2, 2]))
    each, equal = (standing_statistics(generator, *of, **options, labels=x) for x in (None, np.int32([0, 1, 2])))
    means = [np.asarray(own["batch_stats"]["initial"]["norm"]["mean"]) for own in (one, same, each, equal)]
    np.testing.assert_array_equal(means[0], means[1])
    np.testing.assert_array_equal(means[2], means[3])
    assert np.abs(means[0] - means[2]).max() > 1e-4
