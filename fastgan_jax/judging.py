"""How D judges pictures in training: its state before each pass, and both passes of its own update.

In training mode D's spectral vectors move with every pass, and its running averages with every batch.
"""

import jax
import jax.numpy as jnp

from fastgan_jax.method import Method, recomputed
from fastgan_jax.models.discriminator import Judgement, without_decoders
from fastgan_jax.models.layers import BATCH_NORM_MOMENTUM
from fastgan_jax.models.spectral import power_iterate
from fastgan_jax.train_state import NetworkState


def judge(
    method: Method, params: dict, d: NetworkState, full: jax.Array, small: jax.Array, labels: jax.Array, **kwargs
) -> tuple[Judgement, dict]:
    """D's judgement in training mode (given a quadrant, with reconstructions), and its batch-norm state after it."""
    variables = {"params": params, "batch_stats": d.batch_stats, "spectral": d.spectral}
    judgement, mutated = method.discriminator.apply(
        variables, full, small, labels=labels, train=True, mutable=["batch_stats"], **kwargs
    )
    return judgement, mutated["batch_stats"]


def discriminator_passes(d: NetworkState) -> tuple[NetworkState, NetworkState]:
    """D as it judges real, then generated pictures: its spectral vectors move with each."""
    for_real = d.replace(spectral=power_iterate(d.params, d.spectral))
    return for_real, pass_without_decoders(for_real)


def pass_without_decoders(d: NetworkState) -> NetworkState:
    """D with its spectral vectors moved as by a training-mode pass that reconstructs nothing."""
    return d.replace(spectral=d.spectral | power_iterate(d.params, without_decoders(d.spectral)))


def judge_apart(
    method: Method,
    params: dict,
    passes: tuple[NetworkState, NetworkState],
    real: tuple[jax.Array, jax.Array],
    fakes: tuple[jax.Array, jax.Array],
    labels: jax.Array,
    quadrant: jax.Array,
) -> tuple[Judgement, Judgement, dict]:
    """D's judgement of real (with reconstructions), then of generated pictures, and its batch-norm state after both.

    Args:
        method: networks and options.
        params: of D.
        passes: D as it judges real and generated pictures, see `discriminator_passes`.
        real: pictures, full and small.
        fakes: the same.
        labels: int32 [B].
        quadrant: that the decoder "part" rebuilds.
    """
    for_real, for_fake = passes
    judge_real = recomputed(method, lambda params: judge(method, params, for_real, *real, labels, quadrant=quadrant))
    judge_fake = recomputed(
        method, lambda params, stats: judge(method, params, for_fake.replace(batch_stats=stats), *fakes, labels)
    )
    on_real, stats = judge_real(params)
    on_fake, stats = judge_fake(params, stats)
    return on_real, on_fake, stats


def judge_together(
    method: Method,
    params: dict,
    passes: tuple[NetworkState, NetworkState],
    real: tuple[jax.Array, jax.Array],
    fakes: tuple[jax.Array, jax.Array],
    labels: jax.Array,
    quadrant: jax.Array,
) -> tuple[Judgement, Judgement, dict]:
    """What `judge_apart` does, with both sets in one batch: each is a group with its own norms and statistics."""
    for_real, for_fake = passes
    before, count = for_real.batch_stats, len(labels)

    def in_groups(first: dict, second: dict) -> dict:
        """State with a leading axis of groups; that of the decoders, which see real pictures alone, has none."""
        return first | jax.tree.map(lambda *pair: jnp.stack(pair), *map(without_decoders, (first, second)))

    both = for_real.replace(
        batch_stats=in_groups(before, before), spectral=in_groups(for_real.spectral, for_fake.spectral)
    )
    pictures = [jnp.concatenate(pair) for pair in zip(real, fakes, strict=True)]
    judge_both = recomputed(
        method,
        lambda params: judge(method, params, both, *pictures, jnp.tile(labels, 2), quadrant=quadrant, decoded=count),
    )
    judgement, stats = judge_both(params)
    on_real, on_fake = (judgement._replace(logits=logits) for logits in jnp.split(judgement.logits, 2))
    moved = jax.tree.map(_moved_in_turn, without_decoders(before), without_decoders(stats))
    return on_real, on_fake._replace(reconstructions={}), stats | moved


def _moved_in_turn(before: jax.Array, moved: jax.Array) -> jax.Array:
    """A running average that two groups moved one after the other, from what each made of it alone: [2, C] -> [C].

    With m the share of the old average: m * first + (1 - m) * batch, where second = m * before + (1 - m) * batch.
    """
    first, second = moved
    return BATCH_NORM_MOMENTUM * (first - before) + second


# By the way of the form "judge".
JUDGE_BOTH = {"apart": judge_apart, "joint": judge_together}
