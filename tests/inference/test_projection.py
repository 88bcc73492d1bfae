"""Projection: it finds what a generator can generate, each image by itself; its latents reproduce the images."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import perceptual_params

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.gan.losses import Distance
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.inference.projection import Objective, project
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models import lpips
from fastgan_jax.utils.images import rgb, rgb_of_units, to_uint8, to_unit

SETTINGS = ProjectionOptions(updates=50, starts=8, batch_size=2, noise_seed=5)


@dataclass(frozen=True)
class Linear:
    """A generator that compiles in no time: a matrix; class 1 has the colors of class 0 inverted."""

    num_classes: int = 0
    resolution: int = 64
    channels: int = 3
    noise_sides = (8,)

    def apply(self, variables, z, noise, labels, *, train):
        images = jnp.tanh(z @ variables["matrix"]).reshape(-1, 64, 64, 3)
        return (images * (1 - 2 * labels[:, None, None, None]) if self.num_classes else images), None


def linear_sampler(**fields) -> Sampler:
    matrix = np.float32(np.random.RandomState(0).normal(0, 0.2, (8, 64 * 64 * 3)))
    return Sampler(Linear(**fields), {"matrix": matrix}, z_dim=8)


@pytest.fixture(scope="module")
def sampler(smoke_run) -> Sampler:
    """The smoke run's generator with a weight on every noise map, so that a mistake with noise shows."""
    loaded = fastgan_jax.load(smoke_run)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.1 if path[-1].key == "noise_weight" else leaf, loaded.variables["params"]
    )
    return Sampler(loaded.generator, loaded.variables | {"params": params}, z_dim=loaded.z_dim, config=loaded.config)


@pytest.fixture(scope="module")
def targets(sampler) -> np.ndarray:
    """Three images that the generator makes of latents where no search begins."""
    return sampler.generate(sampler.latents(3, seed=9), noise_seed=SETTINGS.noise_seed)


@pytest.fixture(scope="module")
def found(sampler, targets):
    return project(sampler, targets, None, options=SETTINGS)


@pytest.fixture(scope="module")
def squeeze() -> dict:
    return perceptual_params("squeeze")


def test_the_generators_own_images_are_found(found):
    assert (found.distances < 0.1 * found.start_distances).all()
    assert (found.losses.min(0) < 0.2 * found.losses[0]).all()  # with the distance from the prior


@pytest.mark.slow
def test_by_a_perceptual_distance_too(sampler, targets, squeeze):
    few = replace(SETTINGS, batch_size=1, updates=15)
    result = project(sampler, targets[:1], "squeeze_caffe", squeeze, few)
    assert (result.distances < 0.6 * result.start_distances).all()
    expected = jax.jit(
        lambda *pair: lpips.compare(squeeze, *(lpips.embed("squeeze", squeeze, to_unit(x)) for x in pair))
    )(targets[:1], result.images)
    np.testing.assert_allclose(result.distances, expected, rtol=1e-4)
    assert "cosine" in result.measure


def test_the_best_latent_counts_not_the_last():
    generator = linear_sampler()
    own = generator.generate(generator.latents(1, seed=9))
    found = project(generator, own, None, options=replace(SETTINGS, learning_rate=2.0, updates=4))  # overshoots
    assert found.losses.min() < 0.5 * found.losses[-1]
    np.testing.assert_allclose(found.losses.min(0), loss_of(found), rtol=0.1)


def test_latents_give_the_images_again(sampler, found):
    np.testing.assert_array_equal(found.images, sampler.generate(found.z, noise_seed=found.noise_seed))
    assert not np.array_equal(found.images, sampler.generate(found.z, noise_seed=found.noise_seed + 1))


def test_losses_are_those_of_the_latents(found, targets):
    """The least of the recorded losses is that of the result: its distance, and that of its length from the prior."""
    assert found.losses.shape == (SETTINGS.updates + 1, 3)
    np.testing.assert_allclose(found.losses.min(0), loss_of(found), rtol=0.1)  # images are rounded to uint8
    differences = np.square(targets / 127.5 - found.images / 127.5).mean((1, 2, 3))
    np.testing.assert_allclose(found.distances, differences, rtol=1e-3)


def loss_of(found) -> np.ndarray:
    deviation = (np.square(found.z).sum(1) - 8) / np.sqrt(2 * 8)  # in standard deviations
    return found.distances + 0.01 * np.square(deviation)


def test_a_search_does_not_depend_on_its_companions(sampler, targets, found):
    others = np.stack([targets[0], 255 - targets[1]])
    np.testing.assert_array_equal(project(sampler, others, None, options=SETTINGS).z[0], found.z[0])
    alone = project(sampler, targets[2:], None, options=SETTINGS)  # the third had padding for company before, too
    swapped = project(sampler, targets[[1, 2]], None, options=SETTINGS)
    np.testing.assert_array_equal(alone.z[0], found.z[2])
    np.testing.assert_allclose(swapped.z[1], found.z[2], atol=1e-3)


def test_equal_seeds_equal_results(sampler, targets, found):
    again = project(sampler, targets, None, options=SETTINGS)
    np.testing.assert_array_equal(again.z, found.z)
    np.testing.assert_array_equal(again.losses, found.losses)
    other = project(sampler, targets, None, options=replace(SETTINGS, seed=1))
    assert not np.array_equal(other.losses[0], found.losses[0])


def test_it_begins_at_the_nearest_sampled_latent(sampler, targets, found):
    candidates = sampler.generate(sampler.latents(SETTINGS.starts), noise_seed=SETTINGS.noise_seed)
    distances = np.square(targets[:, None] / 127.5 - candidates[None] / 127.5).mean((2, 3, 4))
    np.testing.assert_allclose(found.start_distances, distances.min(1), rtol=1e-3)


@pytest.mark.parametrize(("prior_weight", "least", "most"), [(0.1, 0, 1.5), (0.0, 2.5, np.inf)])
def test_latents_stay_near_the_prior(prior_weight, least, most):
    """For a target that only far too long latents could give."""
    generator = linear_sampler()
    far = generator.generate(3 * generator.latents(1, seed=9))
    z = project(generator, far, None, options=replace(SETTINGS, prior_weight=prior_weight)).z
    deviation = (np.square(z).sum(1) - 8) / np.sqrt(2 * 8)  # in standard deviations
    assert least <= deviation <= most


def test_progress_counts_every_update(targets):
    calls = []
    project(linear_sampler(), targets, None, options=replace(SETTINGS, updates=2), on_progress=calls.append)
    assert sum(calls) == 2 * 2  # two chunks


def test_the_update_is_compiled_once(targets, caplog):
    generator = linear_sampler()
    generator.variables = jax.device_put(generator.variables, jax.local_devices()[0])  # as a checkpoint's are
    with jax.log_compiles(), caplog.at_level("WARNING"):
        project(generator, targets, None, options=replace(SETTINGS, updates=3, mse_weight=0.3))
    compiled = [record.getMessage() for record in caplog.records if "Finished XLA compilation" in record.getMessage()]
    assert sum("update" in message for message in compiled) == 1


@pytest.mark.parametrize(("side", "seen"), [(64, 64), (128, 64), (256, 128)])
def test_large_images_are_pooled(side, seen, monkeypatch):
    shapes = []
    monkeypatch.setattr(
        Distance, "lpips", lambda backbone: Distance(lambda params, x: shapes.append(x.shape) or x, None)
    )
    images = jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32))
    features = Objective(None, "squeeze", 0, 0, 0).distance.embed(None, images)
    assert shapes == [(1, seen, seen, 3)]
    corner = images[0, : side // seen, : side // seen].mean((0, 1))
    np.testing.assert_allclose(features[0, 0, 0], corner, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_seen_as_rgb(channels):
    images = np.random.RandomState(0).randint(0, 256, (2, 4, 4, channels)).astype(np.uint8)
    seen = to_uint8(rgb_of_units(to_unit(jnp.asarray(images))))
    assert np.abs(np.int32(seen) - rgb(images)).max() <= 1  # rounding


def test_classes():
    """Of a conditional generator, each search begins at and stays with images of its own class."""
    conditional = linear_sampler(num_classes=2)
    wanted = conditional.generate(conditional.latents(2, seed=9), labels=[1, 0])
    result = project(conditional, wanted, None, labels=[1, 0], options=SETTINGS)
    for label, own, start in zip([1, 0], wanted, result.start_distances, strict=True):
        starts = conditional.generate(conditional.latents(SETTINGS.starts), labels=[label] * SETTINGS.starts)
        np.testing.assert_allclose(start, np.square(own / 127.5 - starts / 127.5).mean((1, 2, 3)).min(), rtol=1e-3)
    assert (result.distances < 0.1 * result.start_distances).all()
    np.testing.assert_array_equal(result.images, conditional.generate(result.z, labels=result.labels))
    with pytest.raises(UserError, match=r"labels have shape \[1\] for 2 image\(s\): pass one class"):
        project(conditional, wanted, None, labels=[1], options=SETTINGS)
    with pytest.raises(UserError, match="conditional: pass"):
        project(conditional, wanted, None, options=SETTINGS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates": 0}, "updates=0: must be at least 1"),
        ({"starts": 0}, "starts=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate=0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"mse_weight": -1.0}, "mse_weight=-1"),
        ({"prior_weight": float("inf")}, "prior_weight=inf"),
        ({"seed": -1}, "seed=-1: must be from 0 to 4294967295"),
        ({"noise_seed": 2**32}, "noise_seed=4294967296"),
        ({"network": "alex"}, "network='alex': must be one of vgg, squeeze"),
        ({"targets": np.zeros((1, 32, 32, 3), np.uint8)}, r"uint8 of shape \[1, 32, 32, 3\]: .* \[N, 64, 64, 3\]"),
        ({"targets": np.zeros((1, 64, 64, 3), np.float32)}, "float32 of shape"),
        ({"targets": np.zeros((0, 64, 64, 3), np.uint8)}, "0 targets"),
        ({"labels": [0, 0, 0]}, "unconditional"),
    ],
)
def test_bad_arguments(sampler, targets, options, message):
    own = {name: options.pop(name) for name in ("network", "labels") if name in options}
    given, network = options.pop("targets", targets), own.pop("network", None)
    with pytest.raises(UserError, match=message):
        project(sampler, given, network, options=replace(SETTINGS, **options), **own)
