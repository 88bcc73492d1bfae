"""A variant of D's update: real and generated images in one batch, each a group with its own norms and statistics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fastgan_jax.gan.spec import Spec
from fastgan_jax.gan.state import NetworkState
from fastgan_jax.models.discriminator import DiscriminatorOutput, without_decoders
from fastgan_jax.models.layers import BATCH_NORM_MOMENTUM


def discriminate_both(
    spec: Spec,
    discriminate: Callable,
    params: dict,
    passes: tuple[NetworkState, NetworkState],
    seen: Any,
    cell: jax.Array,
) -> tuple[DiscriminatorOutput, DiscriminatorOutput, dict]:
    """D's outputs for real images (with reconstructions) and generated ones, and its batch-norm state after both.

    Args:
        spec: networks and options.
        discriminate: `step.discriminate`.
        params: of D.
        passes: D as it sees real, then generated images, see `step.discriminator_passes`.
        seen: a `step.Seen`.
        cell: that the decoder "part" reconstructs.
    """
    for_real, for_fake = passes
    before, count = for_real.batch_stats, len(seen.labels)

    def in_groups(first: dict, second: dict) -> dict:
        """State with a leading axis of groups; that of the decoders, which see real images alone, has none."""
        return first | jax.tree.map(lambda *pair: jnp.stack(pair), *map(without_decoders, (first, second)))

    both = for_real.replace(
        batch_stats=in_groups(before, before), spectral=in_groups(for_real.spectral, for_fake.spectral)
    )
    joined = [jnp.concatenate(pair) for pair in zip(seen.reals, seen.fakes, strict=True)]
    twice = jnp.tile(seen.labels, 2)
    run = spec.recomputed(
        lambda params: discriminate(
            spec, both.replace(params=params), joined, twice, cell=cell, num_reconstructed=count
        )
    )
    output, stats = run(params)
    on_real, on_fake = (output._replace(logits=logits) for logits in jnp.split(output.logits, 2))
    on_real = on_real._replace(predictions={name: x[:count] for name, x in output.predictions.items()})
    moved = jax.tree.map(_moved_in_turn, without_decoders(before), without_decoders(stats))
    return on_real, on_fake._replace(reconstructions={}), stats | moved


def _moved_in_turn(before: jax.Array, moved: jax.Array) -> jax.Array:
    """A running average that two groups moved one after the other, from what each made of it alone: [2, C] -> [C].

    With m the share of the old average: m * first + (1 - m) * batch, where second = m * before + (1 - m) * batch.
    """
    first, second = moved
    return BATCH_NORM_MOMENTUM * (first - before) + second
