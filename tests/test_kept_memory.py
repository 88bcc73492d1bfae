"""What an iteration keeps in memory: what rematerialization, batch size and precision change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from fastgan_jax.benchmark import kept_memory
from fastgan_jax.benchmark.kept_memory import kept_bytes


def kept(**train) -> dict[str, int]:
    config = smoke.get_config()
    config.train.update(train)
    return kept_bytes(config)


@pytest.fixture(scope="module")
def plain() -> dict[str, int]:
    return kept()


def test_the_state_is_that_of_training(small, plain):
    assert plain["state"] == sum(leaf.nbytes for leaf in jax.tree.leaves(small.state))


def test_rematerialization_keeps_less(plain):
    blocks, full = kept(remat="blocks"), kept(remat="full")
    for network in ("G", "D"):
        assert 0 <= full[network] < blocks[network] < plain[network]
    assert full["G"] < 0.4 * plain["G"]
    assert plain["recomputed"] == 0 < blocks["recomputed"] < full["recomputed"]
    assert max(blocks["peak"], full["peak"]) < plain["peak"]


def test_what_is_built_again_is_counted_without_what_is_there():
    """Two sines keep two cosines; the inner of two nested parts has one, and its input is made by the outer one."""
    x = jax.ShapeDtypeStruct((5,), np.float32)
    two = jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
    nested = jax.checkpoint(lambda x: jax.checkpoint(jnp.sin)(jnp.sin(x)))
    for function, numbers in ((two, 10), (nested, 15), (jnp.sin, 0)):
        assert kept_memory._largest_recomputed(jax.make_jaxpr(lambda x, f=function: 2 * f(x))(x).jaxpr) == 4 * numbers


def test_memory_grows_with_the_batch_and_falls_with_micro_batches_and_precision(plain):
    twice = kept(batch_size=8)
    assert 1.6 * plain["G"] < twice["G"] < 2 * plain["G"] and twice["state"] == plain["state"]
    parts = kept(batch_size=8, accumulate=2)
    assert parts.pop("peak") < plain["peak"], "G's pass is not kept while D is updated"
    assert parts.items() <= plain.items()
    assert kept(precision="bfloat16")["G"] < 0.9 * plain["G"]
