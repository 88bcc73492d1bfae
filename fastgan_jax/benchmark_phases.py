"""The parts of a training iteration, each compiled and timed by itself.

They do not add up to an iteration: XLA fuses across their borders there, the iteration makes pictures once for both
updates, and every call here is dispatched by itself and returns all that it computes.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax import augment, losses
from fastgan_jax.benchmark_report import spread
from fastgan_jax.draws import StepDraws, draw_step
from fastgan_jax.image_ops import RESIZES
from fastgan_jax.judging import discriminator_passes, judge, pass_without_decoders
from fastgan_jax.method import Method
from fastgan_jax.models.discriminator import decoder_side
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.spectral import power_iterate
from fastgan_jax.train_state import NetworkState, TrainState
from fastgan_jax.train_step import descend

Phase = tuple[Callable, tuple]  # a function and its arguments
WARM_UP = 1


def time_phases(phases: dict[str, Phase], iterations: int, blocks: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Compiles each phase and yields its name and milliseconds, see `benchmark_report.spread`.

    Args:
        phases: from `make_phases`.
        iterations: calls in a block.
        blocks: timed for each phase.
    """
    for name, (function, arguments) in phases.items():
        compiled = jax.jit(function).lower(*arguments).compile()
        _time(compiled, arguments, WARM_UP)
        yield name, spread([1e3 * _time(compiled, arguments, iterations) / iterations for _ in range(blocks)])


def _time(function: Callable, arguments: tuple, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        result = function(*arguments)
    jax.block_until_ready(result)
    return time.perf_counter() - start


def make_phases(
    method: Method, state: TrainState, pretrained: Any, images: jax.Array, labels: jax.Array
) -> dict[str, Phase]:
    """The phases of an iteration on one batch.

    Args:
        method: networks and options.
        state: of training.
        pretrained: parameters of `method.distance`; None if it has none.
        images: real pictures [B, R, R, C] in [-1, 1].
        labels: int32 [B].

    Returns:
        {name: function and arguments}: "G forward"; "D on real" and "D on fake", each with its parameters' gradient;
        "G update", G and D forward and the gradient of G's parameters; "reconstruction distance" and its gradient;
        "augmentation" of three sets of pictures, with the gradient for the generated ones; "optimiser and EMA".
    """
    batch, resolution = images.shape[0], method.generator.resolution
    draws = draw_step(
        state.rng,
        batch=batch,
        latent_size=method.latent_size,
        resolution=resolution,
        logits_map=method.discriminator.logits_map,
        policy=method.policy,
        shared=method.augment_shared,
    )
    g, d = state.generator, state.discriminator
    small = RESIZES[method.resize](images, small_side(resolution))
    phases = {
        "G forward": (_make, (g.params, g, labels, draws)),
        "D on real": (_discriminator_on_real, (d, images, small, labels, draws)),
        "D on fake": (_discriminator_on_fake, (d, images, small, labels, draws)),
        "G update": (_generator_update, (g, d, labels, draws)),
        "augmentation": (_augmentation, (images, images, small, draws)),
        "optimiser and EMA": (_optimiser, (state, g.params, d.params)),
    }
    if method.discriminator.decoders:
        target = RESIZES[method.resize](images, decoder_side(resolution))
        made = jnp.concatenate([target[::-1]] * len(method.discriminator.decoders))
        phases["reconstruction distance"] = (_reconstruction, (pretrained, made, (target, target)))
    return {name: (partial(function, method), arguments) for name, (function, arguments) in phases.items()}


def _make(
    method: Method, params: Any, g: NetworkState, labels: jax.Array, draws: StepDraws
) -> tuple[jax.Array, jax.Array]:
    """Pictures of G in training mode, full and small."""
    variables = {"params": params, "batch_stats": g.batch_stats, "spectral": power_iterate(params, g.spectral)}
    return method.generator.apply(variables, draws.z, draws.noise, labels, train=True, mutable=["batch_stats"])[0]


def _discriminator_on_real(
    method: Method, d: NetworkState, full: jax.Array, small: jax.Array, labels: jax.Array, draws: StepDraws
) -> Any:
    """Gradient of the hinge on real pictures; the mean of the reconstructions stands in for their distance."""
    moved, _ = discriminator_passes(d)

    def loss_of(params: Any) -> jax.Array:
        judgement = judge(method, params, moved, full, small, labels, quadrant=draws.quadrant)[0]
        hinge = jax.nn.relu(losses.margins(draws.real_margins) - judgement.logits).mean()
        return hinge + sum(picture.mean() for picture in judgement.reconstructions.values())

    return jax.grad(loss_of)(d.params)


def _discriminator_on_fake(
    method: Method, d: NetworkState, full: jax.Array, small: jax.Array, labels: jax.Array, draws: StepDraws
) -> Any:
    """Gradient of the hinge on generated pictures."""
    moved = pass_without_decoders(d)

    def loss_of(params: Any) -> jax.Array:
        logits = judge(method, params, moved, full, small, labels)[0].logits
        return jax.nn.relu(losses.margins(draws.fake_margins) + logits).mean()

    return jax.grad(loss_of)(d.params)


def _generator_update(method: Method, g: NetworkState, d: NetworkState, labels: jax.Array, draws: StepDraws) -> Any:
    """Gradient of G's loss through D and G."""
    moved = pass_without_decoders(d)

    def loss_of(params: Any) -> jax.Array:
        pictures = _make(method, params, g, labels, draws)
        return losses.generator_loss(judge(method, d.params, moved, *pictures, labels)[0].logits)

    return jax.grad(loss_of)(g.params)


def _reconstruction(method: Method, pretrained: Any, made: jax.Array, targets: tuple) -> jax.Array:
    """Gradient of the distance of all decoders' pictures [D B, ...] from two targets (the whole and a quadrant)."""
    distance, decoders = method.distance, made.shape[0] // targets[0].shape[0]
    features = [distance.embed(pretrained, target) for target in targets]
    wanted = [features[index % len(features)] for index in range(decoders)]
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *wanted)

    def total(made: jax.Array) -> jax.Array:
        return distance.compare(pretrained, distance.embed(pretrained, made), joined).sum()

    return jax.grad(total)(made)


def _augmentation(method: Method, real: jax.Array, full: jax.Array, small: jax.Array, draws: StepDraws) -> Any:
    """Real and generated pictures augmented, and a gradient carried back to the generated ones."""

    def apply(pictures: jax.Array, numbers: dict) -> jax.Array:
        return augment.apply(pictures, numbers, method.policy, method.augment_probability)

    generated = (full, small), (draws.augment_full, draws.augment_small)
    augmented, pull_back = jax.vjp(lambda pictures: tuple(map(apply, pictures, generated[1])), generated[0])
    return apply(real, draws.augment_real), augmented, pull_back(augmented)


def _optimiser(method: Method, state: TrainState, g_gradient: Any, d_gradient: Any) -> Any:
    """Both networks after a step, and the average."""
    g, d = (
        descend(method, network, gradient)
        for network, gradient in ((state.generator, g_gradient), (state.discriminator, d_gradient))
    )
    return g, d, optax.incremental_update(g.params, state.ema_params, 1 - method.ema_decay)
