"""The iteration of `step.update` in parts, so that a batch need not fit into memory at once.

The batch is cut into micro-batches. Each goes through the networks on its own, their gradients are averaged, and one
update of D and one of G follow, as in the whole iteration. What differs:

- Batch norm sees a micro-batch at a time, as in a run with that batch size; the running averages move once for each.
- So do the means in the relativistic hinge.
- G's forward pass is computed twice, once for each update, since what it keeps for the second would not fit.

Spectral vectors move as in the whole iteration.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax.gan.randomness import StepDraws
from fastgan_jax.gan.self_supervision import Facts
from fastgan_jax.gan.spec import NO_PRETRAINED, Pretrained, Spec
from fastgan_jax.gan.state import NetworkState, TrainState, apply_gradients
from fastgan_jax.gan.step import (
    Inputs,
    Metrics,
    augment_probability,
    augment_real,
    class_labels,
    discriminator_gradient,
    discriminator_passes,
    finish,
    generate,
    generator_loss_gradient,
    if_due,
    pass_without_decoders,
    reconstruction_targets,
    see,
)
from fastgan_jax.models.spectral_norm import power_iterate


def accumulated_update(
    spec: Spec,
    state: TrainState,
    real: jax.Array,
    labels: jax.Array | Facts,
    draws: StepDraws,
    pretrained: Pretrained = NO_PRETRAINED,
    *,
    parts: int,
    unroll: bool = False,
) -> tuple[TrainState, Metrics]:
    """One iteration, its batch in micro-batches.

    Arguments and results as for `step.update`; in addition:
        parts: number of micro-batches; it divides the batch size.
        unroll: write the micro-batches out instead of looping (for CPU, where a loop makes convolutions slow).
    """
    g, d = state.generator, state.discriminator
    moved_g = g.replace(spectral=power_iterate(g.params, g.spectral, norms=True))
    for_real, for_fake = discriminator_passes(d)
    if spec.reconstruction_weight is None:
        spec = dataclasses.replace(spec, reconstruction_weight=len(real))  # of the batch, not the micro-batch
    micro_batches = spec.spread(_split((real, labels, draws.replace(cell=None)), parts), axis=1)
    scan = partial(jax.lax.scan, xs=micro_batches, length=parts, unroll=parts if unroll else 1)

    probability = augment_probability(spec, state)

    def discriminator_part(carried: tuple, micro_batch: tuple) -> tuple[tuple, Metrics]:
        total, g_stats, d_stats = carried
        real, labels, own_draws = micro_batch
        own_draws = own_draws.replace(cell=draws.cell)
        own = moved_g.replace(batch_stats=g_stats)
        images, g_stats = generate(spec, own, class_labels(labels), own_draws, probability)
        fakes = spec.discriminator.inputs(d.params, pretrained.features, images)
        passes = (for_real.replace(batch_stats=d_stats), for_fake)
        real = augment_real(spec, real, own_draws, probability)
        seen = see(spec, pretrained, d, (real, fakes), labels, own_draws)
        targets = reconstruction_targets(spec, pretrained.distance, real, draws.cell)
        gradient, d_stats, metrics = discriminator_gradient(
            spec, pretrained.distance, passes, seen, targets, own_draws, state
        )
        return (_add(total, gradient, 1 / parts), g_stats, d_stats), metrics

    start = (optax.tree.zeros_like(d.params), g.batch_stats, d.batch_stats)
    (d_gradient, g_stats, d_stats), d_metrics = scan(discriminator_part, start)
    rate = spec.rate_at(state.step)
    d = apply_gradients(for_fake, spec.optimizer, d_gradient, share=rate)
    d_moved = pass_without_decoders(d)

    def generator_part(carried: tuple, micro_batch: tuple) -> tuple[tuple, Metrics]:
        total, d_stats = carried
        real, labels, own_draws = micro_batch

        def generated(params: dict) -> tuple[Inputs, dict]:
            images, stats = generate(spec, moved_g.replace(params=params), class_labels(labels), own_draws, probability)
            return spec.discriminator.inputs(d.params, pretrained.features, images), stats

        fakes, g_vjp, _ = jax.vjp(spec.recomputed(generated), g.params, has_aux=True)
        real = augment_real(spec, real, own_draws, probability)
        seen = see(spec, pretrained, d, (real, fakes), labels, own_draws)
        fakes_gradient, d_stats, metrics = generator_loss_gradient(spec, d_moved.replace(batch_stats=d_stats), seen)
        (gradient,) = g_vjp(fakes_gradient)
        return (_add(total, gradient, 1 / parts), d_stats), metrics

    def generator_update() -> tuple[NetworkState, NetworkState, Metrics]:
        (gradient, stats), metrics = scan(generator_part, (optax.tree.zeros_like(g.params), d_stats))
        updated = apply_gradients(moved_g, spec.optimizer, gradient, share=rate, batch_stats=g_stats)
        metrics = jax.tree.map(jnp.mean, metrics) | {"grad_norm/g": optax.tree.norm(gradient)}
        return updated, d_moved.replace(batch_stats=stats), metrics

    networks = (moved_g.replace(batch_stats=g_stats), d.replace(batch_stats=d_stats))
    g, d, g_metrics = if_due(spec, state, generator_update, networks)
    metrics = jax.tree.map(jnp.mean, d_metrics) | g_metrics | {"grad_norm/d": optax.tree.norm(d_gradient)}
    return finish(spec, state, g, d, metrics, len(real))


def _split(tree: Any, parts: int) -> Any:
    """Every array [B, ...] as [parts, B / parts, ...]."""
    return jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), tree)


def _add(total: dict, gradient: dict, share: float) -> dict:
    return jax.tree.map(lambda a, b: a + share * b, total, gradient)
