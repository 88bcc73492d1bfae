"""The feature-extractor test: fresh decoders learn from a frozen discriminator's maps, but not held-out images."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgan_jax.errors import UserError
from fastgan_jax.gan.losses import RECONSTRUCTION
from fastgan_jax.inference import probe as probing
from fastgan_jax.inference.options import ProbeOptions
from fastgan_jax.inference.probe import Probe, blocks_to_channels, run_probe, split
from fastgan_jax.inference.restore import load_discriminator
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.utils.images import resize_nearest, to_unit

SETTINGS = ProbeOptions(iterations=20, batch_size=4, learning_rate=5e-3, held_out=0.25)
L1 = RECONSTRUCTION["l1"]("vgg", None)


@pytest.fixture(scope="module")
def probe(smoke_run_d) -> Probe:
    return Probe(smoke_run_d.discriminator, "nearest", L1, 5e-3)


@pytest.fixture(scope="module")
def result(smoke_run_d, smoke_run_images):
    return run_probe(smoke_run_d, L1, None, smoke_run_images, SETTINGS)


@pytest.mark.slow
def test_the_loss_falls(result):
    for name in probing.MAPS:
        losses = result.losses[name]
        assert losses.shape == (20,)
        assert losses[-5:].mean() < 0.7 * losses[:5].mean()


@pytest.mark.slow
def test_held_out_images_are_reconstructed_better_after_than_before(result):
    for name in probing.MAPS:
        assert result.before[name].shape == result.after[name].shape == (5,)
        assert result.after[name].mean() < 0.8 * result.before[name].mean()


@pytest.mark.slow
def test_distances_are_those_of_the_images_shown(result, smoke_run_images):
    """Also of the fifth, which is alone in its chunk."""
    np.testing.assert_array_equal(result.shown["real"], smoke_run_images[result.held_out])
    for name in probing.MAPS:
        reconstructed, target = (to_unit(result.shown[key]) for key in (name, "real"))
        np.testing.assert_allclose(np.abs(reconstructed - target).mean((1, 2, 3)), result.after[name], atol=0.5 / 127.5)


@pytest.mark.slow
def test_equal_seeds_equal_results(smoke_run_d, smoke_run_images, result):
    again = run_probe(smoke_run_d, L1, None, smoke_run_images, SETTINGS)
    other = run_probe(smoke_run_d, L1, None, smoke_run_images, replace(SETTINGS, iterations=1, seed=1))
    for name in probing.MAPS:
        np.testing.assert_array_equal(again.losses[name], result.losses[name])
        np.testing.assert_array_equal(again.after[name], result.after[name])
        assert other.losses[name][0] != result.losses[name][0]
    assert other.held_out.tolist() != result.held_out.tolist()


@pytest.mark.slow
def test_held_out_images_are_not_learned_from(smoke_run_d, smoke_run_images, result, monkeypatch):
    seen = []

    def record(probe, variables, pretrained, decoders, batch):
        seen.append(batch)
        return decoders, dict.fromkeys(probing.MAPS, 0.0)

    monkeypatch.setattr(probing, "update", record)
    calls = []
    nothing = run_probe(smoke_run_d, L1, None, smoke_run_images, SETTINGS, on_progress=calls.append)
    assert sum(calls) == len(seen) == 20
    learned = {image.tobytes() for batch in seen for image in batch}
    held_out = {smoke_run_images[row].tobytes() for row in result.held_out}
    assert not learned & held_out and len(learned) == len(smoke_run_images) - len(held_out)
    for name in probing.MAPS:
        np.testing.assert_array_equal(nothing.before[name], nothing.after[name])


@pytest.mark.slow
def test_decoders_read_the_discriminators_maps_of_the_images(probe, smoke_run_d, smoke_run_images):
    batch = jnp.asarray(smoke_run_images[:4])
    read, targets = probing._features_and_targets(probe, smoke_run_d.variables, batch)
    real = to_unit(batch)
    expected = smoke_run_d.discriminator.apply(
        smoke_run_d.variables, real, resize_nearest(real, 32), train=False
    ).features
    for x, y, side in zip(read, expected, (16, 8), strict=True):
        assert x.shape[1:3] == (side, side)
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(targets, real)


@pytest.mark.slow
def test_an_untrained_discriminator_is_normalized_as_in_training(smoke_run, smoke_run_images):
    untrained = load_discriminator(smoke_run, 0)
    probe, images = Probe(untrained.discriminator, "nearest", L1, 5e-3), jnp.asarray(smoke_run_images[:8])
    variables = probing.settled(probe, untrained.variables, images)
    in_training, _ = probing._output(probe, variables, images, train=True, mutable=["batch_stats"])
    for name, raw, found, expected in zip(
        probing.MAPS,
        probing._features_and_targets(probe, untrained.variables, images)[0],
        probing._features_and_targets(probe, variables, images)[0],
        in_training.features,
        strict=True,
    ):
        assert jnp.abs(found - expected).max() < 0.01 < 0.1 * jnp.std(expected) < 0.01 * jnp.std(raw), name


def test_a_conditional_discriminator_needs_no_classes():
    d = Discriminator(128, ndf=1, num_classes=2, decoders=())
    shapes = [jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32) for side in (128, 64)]
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    variables = jax.eval_shape(lambda *x: d.init(jax.random.key(0), *x[:2], labels=x[2], train=False), *shapes, labels)
    conditional = Probe(d, "antialias", RECONSTRUCTION["l2"]("vgg", None), 1e-3)
    decoders = jax.eval_shape(lambda: probing.create_decoders(conditional, jax.random.key(0)))
    images = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.uint8)
    _, shown = jax.eval_shape(lambda *x: probing._evaluate(conditional, *x), variables, None, decoders, images)
    assert {name: x.shape for name, x in shown.items()} == dict.fromkeys(("real", "f1", "f2"), (2, 128, 128, 3))


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_image_is_either_learned_from_or_held_out(size, share, seed):
    learned, held_out = split(size, share, seed)
    assert sorted([*learned, *held_out]) == list(range(size))
    assert len(learned) >= 1 and len(held_out) >= 1
    assert abs(len(held_out) - share * size) <= 1
    assert learned.tolist() == sorted(learned) and held_out.tolist() == sorted(held_out)


def test_blocks_become_channels_without_loss():
    x = jnp.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3)
    folded = blocks_to_channels(x, 8)
    assert folded.shape == (2, 8, 8, 12)
    np.testing.assert_array_equal(folded[1, 3, 5], x[1, 6:8, 10:12].reshape(-1))
    np.testing.assert_array_equal(blocks_to_channels(x, 16), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations=0: must be at least 1"),
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"held_out": 0.0}, "held_out=0.0: must be between 0 and 1"),
        ({"held_out": float("nan")}, "held_out=nan"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"seed": -1}, "seed=-1: must be from 0 to 4294967295"),
        ({"learning_rate": 0.0}, "learning_rate=0: must be a number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"size": 1}, "there is 1 image: the probe needs two"),
    ],
)
def test_bad_arguments(smoke_run_d, smoke_run_images, options, message):
    size = options.pop("size", 20)
    with pytest.raises(UserError, match=message):
        run_probe(smoke_run_d, L1, None, smoke_run_images[:size], replace(SETTINGS, **options))
