"""Properties of a whole training iteration on a small model; its numbers are checked in test_parity_iteration.py."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from jax.sharding import Mesh
from reference import assert_close

from configs import art512, art1024, fewshot256, smoke
from fastgan_jax.benchmark.workload import random_pretrained
from fastgan_jax.build import spec_from_config
from fastgan_jax.gan import joint, losses
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.gan.step import (
    Seen,
    discriminator_gradient,
    discriminator_passes,
    finish,
    mean_signs,
    moved_averages,
    reconstruction_targets,
    train_step,
)
from fastgan_jax.models.variants import REFERENCE
from fastgan_jax.runs.config import apply_overrides
from fastgan_jax.utils.devices import BATCH_AXIS


def leaves(tree):
    return {"/".join(map(str, k)): v for k, v in traverse_util.flatten_dict(tree).items()}


@pytest.fixture(scope="module")
def stepped(small):
    return small.step(small.state, small.images, small.labels)


def test_every_part_of_the_state_moves(small, stepped):
    state, _ = stepped
    assert int(state.step) == 1
    for before, after in ((small.state.generator, state.generator), (small.state.discriminator, state.discriminator)):
        for part in ("params", "batch_stats", "spectral"):
            for name, leaf in leaves(getattr(before, part)).items():
                moved = not np.array_equal(leaf, leaves(getattr(after, part))[name])
                # A kernel with one output has a single unit vector on that side: 1 or -1.
                assert moved or leaf.shape == (1,), f"{part}/{name} did not move"


def test_the_same_inputs_give_the_same_bits(small, stepped):
    again, metrics = small.step(small.state, small.images, small.labels)
    jax.tree.map(np.testing.assert_array_equal, again.generator.params, stepped[0].generator.params)
    assert metrics == stepped[1]


def test_iterations_draw_different_numbers(small, stepped):
    later = small.state.replace(step=small.state.step + 1)
    _, metrics = small.step(later, small.images, small.labels)
    assert float(metrics["loss/d"]) != float(stepped[1]["loss/d"])


def test_metrics_are_float32_scalars_with_fixed_names(small, stepped):
    _, metrics = stepped
    expected = {"loss/d", "loss/d_real", "loss/d_fake", "loss/reconstruction", "loss/g", "reconstruction/big"}
    expected |= {"logits/real", "logits/fake", "logits/real_sign", "logits/fake_sign", "grad_norm/d", "grad_norm/g"}
    assert set(metrics) == expected
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())


def test_average_moves_by_its_share_towards_the_parameters(small, stepped):
    state, _ = stepped
    decay = small.config.optim.ema_decay
    expected = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, small.state.ema_params, state.generator.params
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), expected, state.ema_params)


def test_reconstruction_is_summed_over_the_batch_by_default(stepped):
    metrics = stepped[1]
    assert float(metrics["loss/reconstruction"]) == pytest.approx(4 * float(metrics["reconstruction/big"]), rel=1e-6)


def test_the_part_target_is_the_quadrant_at_the_decoders_size(small):
    discriminator = small.spec.discriminator.clone(decoders=("big", "part"))
    spec = dataclasses.replace(small.spec, discriminator=discriminator)
    real = jnp.arange(64 * 64, dtype=jnp.float32).reshape(1, 64, 64, 1)
    targets = reconstruction_targets(spec, None, real, jnp.int32(1))
    np.testing.assert_array_equal(targets["whole"], real)
    np.testing.assert_array_equal(targets["part"][0, ::2, ::2], real[0, :32, 32:])
    np.testing.assert_array_equal(targets["part"][0, 1::2, 1::2], real[0, :32, 32:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "generator_count", "discriminator_count"),
    [(fewshot256, 29_127_846, 11_526_160), (art512, 29_174_392, 11_526_496), (art1024, 29_176_512, 11_528_192)],
)
def test_full_size_presets_trace_and_have_the_published_parameter_counts(preset, generator_count, discriminator_count):
    config = preset.get_config()
    config.loss.reconstruction = "l1"  # the count does not depend on it, and lpips needs its weights
    spec = spec_from_config(config)

    def whole(images, labels):
        state = create_train_state(jax.random.key(0), spec)
        return state, train_step(spec, state, images, labels)

    side = config.model.resolution
    images = jax.ShapeDtypeStruct((8, side, side, 3), jnp.uint8)
    before, (after, _) = jax.eval_shape(whole, images, jax.ShapeDtypeStruct((8,), jnp.int32))
    count = {
        net: sum(x.size for x in jax.tree.leaves(getattr(before, net).params)) for net in ("generator", "discriminator")
    }
    assert count == {"generator": generator_count, "discriminator": discriminator_count}
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(lambda x: (x.shape, x.dtype), after)


@pytest.mark.slow
@pytest.mark.parametrize("discriminator", ["fastgan", "both"])
def test_every_sum_of_bfloat16_is_one_of_float32(discriminator):
    """In bfloat16, of 8 bits, a sum of like numbers stands still at 256 of them: gradients would be too small."""
    config = fewshot256.get_config()
    config.model.update(discriminator=discriminator, ngf=8, ndf=8, attention=True, discriminator_attention=True)
    config.model.update(num_classes=2, output_bias=True)
    config.loss.reconstruction = "lpips"
    # Not upsampling as GPUs do it for small maps, whose gradient sums four values.
    config.train.update(precision="bfloat16", batch_size=2, ops="reference,upsample=phase,discriminate=joint")
    apply_overrides(config, [])
    spec = spec_from_config(config)
    state = jax.eval_shape(lambda key: create_train_state(key, spec), jax.random.key(0))
    images, labels = jnp.zeros((2, 256, 256, 3), jnp.uint8), jnp.zeros(2, jnp.int32)
    pretrained = jax.eval_shape(lambda: random_pretrained(config))
    jax.config.update("jax_allow_f16_reductions", False)
    try:
        jax.eval_shape(partial(train_step, spec), state, images, labels, pretrained)
    finally:
        jax.config.update("jax_allow_f16_reductions", True)


@pytest.mark.slow
def test_real_and_generated_images_are_judged_alike_in_one_batch_and_apart(small):
    """D's gradient, running averages and metrics in float64, where only the order of summation may differ."""
    config = small.config.copy_and_resolve_references()
    config.model.decoders = "part"
    config.model.num_classes = 2
    spec = spec_from_config(config)
    with jax.enable_x64(True):
        state = create_train_state(jax.random.key(0), spec)
        rng = np.random.default_rng(0)
        d = jax.tree.map(lambda x: x + 0.1 * rng.random(x.shape), state.discriminator.replace(optimizer=None))
        images = jnp.asarray(rng.uniform(-1, 1, (2, 4, 64, 64, 3)))
        draws = draw_step(jax.random.key(1), spec, 4)

        def gradient(way: str):
            compute = dataclasses.replace(REFERENCE, discriminate=way)
            own = dataclasses.replace(spec, discriminator=spec.discriminator.clone(compute=compute))
            reals, fakes = ((x, x[:, ::2, ::2]) for x in images)
            seen = Seen(reals, fakes, jnp.arange(4) % 2)
            targets = reconstruction_targets(own, None, images[0], draws.cell)
            function = partial(discriminator_gradient, own, None, discriminator_passes(d))
            return jax.jit(function)(seen, targets, draws, state)

        apart, joint = gradient("apart"), gradient("joint")
        jax.tree.map(partial(assert_close, rtol=1e-11), joint, apart)


@pytest.mark.parametrize("shared", [False, True], ids=["one device", "a mesh"])
def test_images_of_a_mesh_are_not_joined(small, shared, monkeypatch):
    """Joining real and generated images would move images between the devices that share the batch."""
    joined, original = [], joint.discriminate_both
    monkeypatch.setattr(joint, "discriminate_both", lambda *arguments: joined.append(1) or original(*arguments))
    compute = dataclasses.replace(REFERENCE, discriminate="joint")
    discriminator = small.spec.discriminator.clone(compute=compute)
    mesh = Mesh(np.array(jax.devices()[:1]), (BATCH_AXIS,)) if shared else None
    spec = dataclasses.replace(small.spec, discriminator=discriminator, mesh=mesh)
    jax.eval_shape(partial(train_step, spec), small.state, small.images, small.labels)
    assert bool(joined) != shared


@pytest.mark.slow
def test_conditional_networks_train_and_use_their_labels(small):
    spec = dataclasses.replace(
        small.spec,
        generator=small.spec.generator.clone(num_classes=3),
        discriminator=small.spec.discriminator.clone(num_classes=3, decoders=("mid",)),
        adversarial=losses.ADVERSARIAL["relativistic_hinge"],
        distance=losses.RECONSTRUCTION["l2"]("vgg", None),
        reconstruction_weight=2.5,
    )
    state = create_train_state(jax.random.key(0), spec)
    step = jax.jit(partial(train_step, spec))
    one, metrics = step(state, small.images, jnp.array([0, 1, 0, 1]))
    two, _ = step(state, small.images, jnp.array([1, 0, 1, 0]))
    assert "reconstruction/big" not in metrics
    assert float(metrics["loss/reconstruction"]) == pytest.approx(2.5 * float(metrics["reconstruction/mid"]), rel=1e-6)
    embeddings = [name for name in leaves(one.generator.params) if name.endswith("embedding")]
    embeddings += [name for name in leaves(one.discriminator.params) if name.endswith("embedding")]
    assert len(embeddings) == 3
    assert not np.array_equal(
        one.generator.params["initial"]["conv"]["kernel"], two.generator.params["initial"]["conv"]["kernel"]
    )


@pytest.mark.slow
def test_the_generator_moves_and_penalties_come_every_other_iteration(small):
    config = small.config.copy_and_resolve_references()
    config.train.update(generator_every=2, iterations=4)
    config.loss.update(r1=1.0, penalty_every=2)
    config.optim.final_learning_rate = 0.0
    step = jax.jit(partial(train_step, spec_from_config(config)))
    first, metrics = step(small.state, small.images, small.labels)
    usual, expected = small.step(small.state, small.images, small.labels)
    for name in ("params", "optimizer"):
        before, after = getattr(small.state.generator, name), getattr(first.generator, name)
        jax.tree.map(np.testing.assert_array_equal, before, after)
    jax.tree.map(np.testing.assert_array_equal, small.state.ema_params, first.ema_params)
    # Without penalty, D's update is the usual one, and G's images have moved its statistics as usual.
    jax.tree.map(partial(assert_close, rtol=1e-5), first.discriminator.params, usual.discriminator.params)
    jax.tree.map(partial(assert_close, rtol=1e-5), first.generator.batch_stats, usual.generator.batch_stats)
    assert float(metrics["loss/g"]) == float(metrics["loss/r1"]) == float(metrics["grad_norm/g"]) == 0
    assert float(metrics["loss/d"]) == pytest.approx(float(expected["loss/d"]), rel=1e-5)

    second, metrics = step(first, small.images, small.labels)
    assert int(second.step) == 2 and float(metrics["loss/r1"]) > 0 and float(metrics["grad_norm/g"]) > 0
    total = sum(float(metrics[f"loss/{name}"]) for name in ("d_real", "d_fake", "reconstruction"))
    assert float(metrics["loss/d"]) == pytest.approx(total + 2 * float(metrics["loss/r1"]), rel=1e-5)
    # Adam's first step is as long as the rate, by the iteration: 3/4 in the second of four, G's first update or not.
    before, after = (state.generator.params["initial"]["conv"]["kernel"] for state in (first, second))
    assert float(jnp.abs(after - before).max()) == pytest.approx(0.75 * config.optim.learning_rate, rel=0.01)
    averaged = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, first.ema_params, second.generator.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), averaged, second.ema_params)
    assert not np.array_equal(second.generator.params["to_big"]["kernel"], first.generator.params["to_big"]["kernel"])


@pytest.mark.parametrize("last, falls", [(-0.9, True), (0.9, False)])
def test_augmentation_adapts_to_the_mean_of_signs_not_to_the_most_frequent(last, falls):
    """Two of three batches are above the target of 0.6, and their mean is below or above it."""
    spec = SimpleNamespace(augment_target=0.6, augment_adaptation=500)
    averages = {"real": 0.0, "fake": 0.0, "real_sign": 0.6, "augment_probability": 0.5}
    for sign in [1.0, 1.0, last] * 100:
        metrics = {"logits/real": 1.0, "logits/fake": -1.0, "logits/real_sign": sign}
        averages = moved_averages(spec, averages, metrics, batch=4)
    assert float(averages["augment_probability"]) == (0 if falls else 1)


def test_the_log_has_the_probability_that_was_used():
    """LeCam's averages have a place for one, in which that of the run's beginning stays."""
    config = smoke.get_config()
    config.loss.lecam, config.augment.probability = 0.1, 0.25
    spec = spec_from_config(config)
    state = create_train_state(jax.random.key(0), spec)
    state = state.replace(averages=state.averages | {"augment_probability": jnp.float32(1.0)})
    metrics = {f"logits/{name}": jnp.float32(1.0) for name in ("real", "fake", "real_sign")}
    _, metrics = finish(spec, state, state.generator, state.discriminator, metrics, 4)
    assert float(metrics["augment/probability"]) == 0.25


def test_signs_of_relativistic_losses_do_not_depend_on_the_level_of_the_logits():
    """The losses do not either, so that the level alone would decide on adaptive augmentation."""
    config = smoke.get_config()
    config.loss.adversarial = "relativistic_hinge"
    spec, real, fake = spec_from_config(config), jnp.array([[1.0, -2.0, 5.0]]), jnp.array([[0.0, -3.0, 0.0]])
    for level in (-9.0, 0.0, 9.0):
        signs = mean_signs(spec, real + level, fake + level)  # real to a mean of -1, generated to one of 4 / 3
        assert float(signs["logits/real_sign"]) == pytest.approx(1 / 3)
        assert float(signs["logits/fake_sign"]) == -1
    absolute = mean_signs(spec_from_config(smoke.get_config()), real + 9, fake + 9)
    assert float(absolute["logits/real_sign"]) == float(absolute["logits/fake_sign"]) == 1


def test_an_average_that_is_taken_over_has_no_warm_up():
    config = smoke.get_config()
    config.optim.ema_warmup = True
    assert spec_from_config(config).ema_warmup
    config.train.init_from = "runs/other"
    assert not spec_from_config(config).ema_warmup


@pytest.mark.slow
def test_regularization_trains_through_the_step(small):
    """LeCam, adaptive augmentation, gradient penalties, pairing, warm-up and a falling rate, all at once."""
    config = small.config.copy_and_resolve_references()
    config.loss.update(lecam=0.3, r1=1.0, r2=0.5, adversarial="relativistic_pairing")
    config.augment.update(target=0.6, probability=0.5, adaptation=500)
    config.optim.update(ema_warmup=True, final_learning_rate=0.0)
    config.train.iterations = 2
    spec = spec_from_config(config)
    state = create_train_state(jax.random.key(0), spec)
    step = jax.jit(partial(train_step, spec))
    first, metrics = step(state, small.images, small.labels)
    second, _ = step(first, small.images, small.labels)
    assert all(np.isfinite(value) for value in metrics.values())
    assert all(float(metrics[f"loss/{name}"]) > 0 for name in ("lecam", "r1", "r2"))

    parts = {"d_real": 1, "d_fake": 1, "reconstruction": 1, "lecam": 0.3, "r1": 1, "r2": 0.5}
    total = sum(weight * float(metrics[f"loss/{name}"]) for name, weight in parts.items())
    assert float(metrics["loss/d"]) == pytest.approx(total, rel=1e-5)

    above = float(metrics["logits/real_sign"]) - 0.6
    assert float(first.averages["augment_probability"]) == pytest.approx(0.5 + np.sign(above) * 4 / 500, abs=1e-7)
    assert float(first.averages["real_sign"]) == pytest.approx(0.6 + 4 / 256 * above, abs=1e-6)
    assert float(first.averages["real"]) == pytest.approx(0.01 * float(metrics["logits/real"]), rel=1e-4)
    averaged = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, state.ema_params, first.generator.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), averaged, first.ema_params)
    # Adam's first steps are as long as the rate: the second is half of it, since it falls to 0 in two.
    lengths = [
        float(
            jnp.abs(
                after.generator.params["initial"]["conv"]["kernel"]
                - before.generator.params["initial"]["conv"]["kernel"]
            ).max()
        )
        for before, after in ((state, first), (first, second))
    ]
    assert lengths[0] == pytest.approx(config.optim.learning_rate, rel=0.01) and lengths[1] < 0.6 * lengths[0]
