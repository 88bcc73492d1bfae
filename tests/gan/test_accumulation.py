"""A batch in micro-batches: equal to the whole where batch norm cannot tell, and less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from fastgan_jax.errors import UserError
from fastgan_jax.gan.accumulation import accumulated_update
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.gan.step import update
from fastgan_jax.runs.config import validate

pytestmark = pytest.mark.slow

PARTS = 2


@pytest.fixture(scope="module")
def setting(small):
    """A method with plain gradient descent, whose updates are proportional to gradients, and an iteration's inputs."""
    narrow = {"generator": small.spec.generator.clone(ngf=1), "discriminator": small.spec.discriminator.clone(ndf=1)}
    spec = dataclasses.replace(small.spec, optimizer=optax.sgd(1e-2), reconstruction_weight=4.0, **narrow)
    state = create_train_state(jax.random.key(0), spec)
    real = jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (2, 64, 64, 3)), jnp.float32)
    draws = draw_step(jax.random.key(1), spec, 2)
    return spec, state, real, jnp.zeros(2, jnp.int32), draws


def twice(tree):
    """Every array of a batch, followed by itself."""
    return jax.tree.map(lambda x: jnp.concatenate([x, x]) if jnp.ndim(x) else x, tree)


@pytest.fixture(scope="module")
def results(setting):
    """The iteration on a batch, and in two parts on that batch twice over, in a loop or written out."""
    spec, state, real, labels, draws = setting
    whole, metrics = jax.jit(lambda: update(spec, state, real, labels, draws))()
    doubled = twice((real, labels, draws))
    spec = dataclasses.replace(spec, reconstruction_weight=None)  # the size of the whole batch: 4 again
    (parted, parted_metrics) = jax.jit(lambda: accumulated_update(spec, state, *doubled, parts=PARTS, unroll=True))()
    return whole, metrics, parted, parted_metrics


def test_equal_micro_batches_give_the_update_of_one(setting, results):
    whole, metrics, parted, parted_metrics = results
    assert int(parted.step) == 1
    for network in ("generator", "discriminator"):
        before, one, two = (getattr(state, network).params for state in (setting[1], whole, parted))
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, one)
        largest = max(jax.tree.leaves(moved))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(a, b, atol=5e-4 * largest)
        for a, b in zip(*(jax.tree.leaves(getattr(s, network).spectral) for s in (whole, parted)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert metrics.keys() == parted_metrics.keys()
    for name, value in metrics.items():
        assert float(parted_metrics[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5), name


def test_the_running_averages_move_once_for_each_micro_batch(setting, results):
    whole, _, parted, _ = results
    start = setting[1].generator.batch_stats["initial"]["norm"]["mean"]
    one, two = (state.generator.batch_stats["initial"]["norm"]["mean"] for state in (whole, parted))
    seen = (one - 0.9 * start) / 0.1
    np.testing.assert_allclose(two, 0.9 * one + 0.1 * seen, atol=1e-5)


def test_the_weight_of_the_reconstruction_is_that_of_the_whole_batch(results):
    *_, values = results
    assert values.keys() >= {"loss/reconstruction", "reconstruction/big", "grad_norm/g"}
    assert float(values["loss/reconstruction"]) == pytest.approx(4 * float(values["reconstruction/big"]), rel=1e-5)


@pytest.mark.parametrize("parts", [1, PARTS])
def test_recomputing_changes_no_result(setting, results, parts):
    spec, state, real, labels, draws = setting
    remat = dataclasses.replace(spec.generator.compute, remat=True)
    spec = dataclasses.replace(
        spec,
        recompute=True,
        generator=spec.generator.clone(compute=remat),
        discriminator=spec.discriminator.clone(compute=remat),
    )
    if parts == 1:
        kept, (recomputed, _) = results[0], jax.jit(lambda: update(spec, state, real, labels, draws))()
    else:
        doubled = twice((real, labels, draws))
        kept, (recomputed, _) = results[2], jax.jit(lambda: accumulated_update(spec, state, *doubled, parts=parts))()
    for network in ("generator", "discriminator"):
        before, after = (jax.tree.leaves(getattr(s, network).params) for s in (kept, recomputed))
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_number_of_parts_that_does_not_divide_the_batch_is_refused():
    config = base.get_config()
    config.train.accumulate = 3
    with pytest.raises(UserError, match=r"train\.accumulate=3 does not divide train\.batch_size=8"):
        validate(config, check_source=False)
