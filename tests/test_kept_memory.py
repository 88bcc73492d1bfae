"""What an iteration keeps in memory: what rematerialisation, batch size and precision change."""

import jax
import pytest

from configs import smoke
from fastgan_jax.kept_memory import kept_bytes


def kept(**train) -> dict[str, int]:
    config = smoke.get_config()
    config.train.update(train)
    return kept_bytes(config)


@pytest.fixture(scope="module")
def plain() -> dict[str, int]:
    return kept()


def test_the_state_is_that_of_training(small, plain):
    assert plain["state"] == sum(leaf.nbytes for leaf in jax.tree.leaves(small.state))


def test_rematerialisation_keeps_less(plain):
    blocks, full = kept(remat="blocks"), kept(remat="full")
    for network in ("G", "D"):
        assert 0 <= full[network] < blocks[network] < plain[network]
    assert full["G"] < 0.4 * plain["G"]


def test_memory_grows_with_the_batch_and_falls_with_micro_batches_and_precision(plain):
    twice = kept(batch_size=8)
    assert 1.6 * plain["G"] < twice["G"] < 2 * plain["G"] and twice["state"] == plain["state"]
    assert kept(batch_size=8, accumulate=2) == plain
    assert kept(precision="bfloat16")["G"] < 0.9 * plain["G"]
