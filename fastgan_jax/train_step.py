"""One training iteration: D, then G, then the moving average (paper, section 3; order as in the reference).

`update` is a pure function of state, batch and random draws. `make_train_step` binds the networks and draws the random
numbers; nothing here is compiled, `train.py` does that once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax import augment, losses
from fastgan_jax.draws import StepDraws, draw_step
from fastgan_jax.image_ops import RESIZES, crop_quadrant, to_unit
from fastgan_jax.models.discriminator import Discriminator, Judgement, decoder_side, without_decoders
from fastgan_jax.models.generator import Generator, small_side
from fastgan_jax.models.spectral import power_iterate
from fastgan_jax.train_state import NetworkState, TrainState

Metrics = dict[str, jax.Array]


@dataclass(frozen=True)
class Method:
    """What an iteration consists of: the networks, the optimiser and the options of the losses."""

    generator: Generator
    discriminator: Discriminator
    optimizer: optax.GradientTransformation  # of both networks
    distance: losses.Distance  # of a reconstruction from its target
    latent_size: int
    reconstruction_weight: float | None  # times the batch mean; None: the batch size, that is a sum over the batch
    relativistic: bool
    policy: str  # of the augmentation
    augment_probability: float
    augment_shared: bool
    resize: str  # "nearest" | "antialias": how D's small view and the targets are made from the full picture
    flip: bool
    ema_decay: float


def make_train_step(method: Method) -> Callable[..., tuple[TrainState, Metrics]]:
    """The function of one iteration: (state, images uint8 [B, R, R, C], labels int32 [B], pretrained).

    `pretrained` holds the parameters of `method.distance`; None, the default, if it has none. The function returns the
    state after the iteration and its metrics.
    """

    def train_step(
        state: TrainState, images: jax.Array, labels: jax.Array, pretrained: Any = None
    ) -> tuple[TrainState, Metrics]:
        draws = draw_step(
            jax.random.fold_in(state.rng, state.step),
            batch=images.shape[0],
            latent_size=method.latent_size,
            resolution=method.generator.resolution,
            logits_map=method.discriminator.logits_map,
            policy=method.policy,
            shared=method.augment_shared,
        )
        return update(method, state, to_unit(images), labels, draws, pretrained)

    return train_step


def update(
    method: Method, state: TrainState, real: jax.Array, labels: jax.Array, draws: StepDraws, pretrained: Any = None
) -> tuple[TrainState, Metrics]:
    """One iteration.

    Args:
        method: networks and options.
        state: before the iteration.
        real: pictures [B, R, R, C] in [-1, 1].
        labels: classes int32 [B] of the real pictures, used for the generated ones too; ignored without classes.
        draws: the random numbers of the iteration.
        pretrained: parameters of `method.distance`; None if it has none.

    Returns:
        The state after the iteration, and float32 scalars with fixed names.
    """
    if method.flip:
        real = jnp.where(draws.flip[:, None, None, None], real[:, :, ::-1], real)
    real = augment.apply(real, draws.augment_real, method.policy, method.augment_probability)
    g, d = state.generator, state.discriminator

    # One forward pass of G serves both updates; `pull_back` carries the gradient of its pictures to its parameters.
    g_spectral = power_iterate(g.params, g.spectral)
    fakes, pull_back, g_stats = jax.vjp(
        lambda params: _generate(method, params, g.batch_stats, g_spectral, labels, draws), g.params, has_aux=True
    )

    d, d_metrics = _update_discriminator(method, pretrained, d, real, fakes, labels, draws)
    d, fakes_gradient, g_metrics = _judge_for_generator(method, d, fakes, labels)
    (g_gradient,) = pull_back(fakes_gradient)
    g = _descend(method, g, g_gradient).replace(batch_stats=g_stats, spectral=g_spectral)

    ema_params = optax.incremental_update(g.params, state.ema_params, 1 - method.ema_decay)
    state = state.replace(step=state.step + 1, generator=g, discriminator=d, ema_params=ema_params)
    metrics = d_metrics | g_metrics | {"grad_norm/g": optax.tree.norm(g_gradient)}
    return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


def _generate(
    method: Method, params: dict, batch_stats: dict, spectral: dict, labels: jax.Array, draws: StepDraws
) -> tuple[tuple[jax.Array, jax.Array], dict]:
    """Augmented pictures of G in training mode, full and small, and its batch-norm state after them."""
    variables = {"params": params, "batch_stats": batch_stats, "spectral": spectral}
    (full, small), mutated = method.generator.apply(
        variables, draws.z, draws.noise, labels, train=True, mutable=["batch_stats"]
    )
    full = augment.apply(full, draws.augment_full, method.policy, method.augment_probability)
    small = augment.apply(small, draws.augment_small, method.policy, method.augment_probability)
    return (full, small), mutated["batch_stats"]


def _judge(
    method: Method, params: dict, d: NetworkState, full: jax.Array, small: jax.Array, labels: jax.Array, **kwargs
) -> tuple[Judgement, dict]:
    """D's judgement in training mode, and its batch-norm state after it."""
    variables = {"params": params, "batch_stats": d.batch_stats, "spectral": d.spectral}
    judgement, mutated = method.discriminator.apply(
        variables, full, small, labels=labels, train=True, mutable=["batch_stats"], **kwargs
    )
    return judgement, mutated["batch_stats"]


def _update_discriminator(
    method: Method,
    pretrained: Any,
    d: NetworkState,
    real: jax.Array,
    fakes: tuple,
    labels: jax.Array,
    draws: StepDraws,
) -> tuple[NetworkState, Metrics]:
    """The D step: hinge on real and on generated pictures, reconstruction of the real ones alone."""
    resize = RESIZES[method.resize]
    real_small = resize(real, small_side(method.generator.resolution))
    targets = reconstruction_targets(method, real, draws.quadrant)
    wanted = {name: method.distance.embed(pretrained, pictures) for name, pictures in targets.items()}
    # D's normalisation state moves twice here: first with the real pictures, then with the generated ones, which the
    # decoders do not see.
    for_real = d.replace(spectral=power_iterate(d.params, d.spectral))
    for_fake = _pass_without_decoders(for_real)

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, Metrics]]:
        on_real, stats = _judge(method, params, for_real, real, real_small, labels, quadrant=draws.quadrant)
        on_fake, stats = _judge(method, params, for_fake.replace(batch_stats=stats), *fakes, labels)
        loss_real, loss_fake = losses.discriminator_hinge(
            on_real.logits,
            on_fake.logits,
            losses.margins(draws.real_margins),
            losses.margins(draws.fake_margins),
            relativistic=method.relativistic,
        )
        weight = real.shape[0] if method.reconstruction_weight is None else method.reconstruction_weight
        distances = _reconstruction_distances(method.distance, pretrained, on_real.reconstructions, wanted)
        reconstruction = weight * sum(distances.values(), start=jnp.zeros(()))
        loss = loss_real + loss_fake + reconstruction
        metrics = {
            "loss/d": loss,
            "loss/d_real": loss_real,
            "loss/d_fake": loss_fake,
            "loss/reconstruction": reconstruction,
            **{f"reconstruction/{name}": distance for name, distance in distances.items()},
            "logits/real": on_real.logits.mean(),
            "logits/fake": on_fake.logits.mean(),
            "logits/real_sign": jnp.sign(on_real.logits).mean(),
            "logits/fake_sign": jnp.sign(on_fake.logits).mean(),
        }
        return loss, (stats, metrics)

    gradient, (stats, metrics) = jax.grad(loss_of, has_aux=True)(d.params)
    d = _descend(method, for_fake, gradient).replace(batch_stats=stats)
    return d, metrics | {"grad_norm/d": optax.tree.norm(gradient)}


def _pass_without_decoders(d: NetworkState) -> NetworkState:
    """D with its spectral vectors moved as by a training-mode pass that reconstructs nothing."""
    return d.replace(spectral=d.spectral | power_iterate(d.params, without_decoders(d.spectral)))


def reconstruction_targets(method: Method, real: jax.Array, quadrant: jax.Array) -> dict[str, jax.Array]:
    """What the decoders are to rebuild of the pictures [B, R, R, C]: {target: [B, side, side, C]}, see `_target_of`."""
    resize, side = RESIZES[method.resize], decoder_side(method.generator.resolution)
    views = {"whole": lambda: real, "part": lambda: crop_quadrant(real, quadrant)}
    needed = {_target_of(decoder) for decoder in method.discriminator.decoders}
    return {name: resize(view(), side) for name, view in views.items() if name in needed}


def _target_of(decoder: str) -> str:
    return "part" if decoder == "part" else "whole"


def _reconstruction_distances(
    distance: losses.Distance, pretrained: Any, pictures: dict[str, jax.Array], wanted: dict[str, Any]
) -> dict[str, jax.Array]:
    """Mean distance of each decoder's pictures from its target (embedded already), all decoders in one batch."""
    if not pictures:
        return {}
    targets = [wanted[_target_of(decoder)] for decoder in pictures]
    made = distance.embed(pretrained, jnp.concatenate(list(pictures.values())))
    distances = distance.compare(pretrained, made, jax.tree.map(lambda *parts: jnp.concatenate(parts), *targets))
    return dict(zip(pictures, distances.reshape(len(pictures), -1).mean(1), strict=True))


def _judge_for_generator(
    method: Method, d: NetworkState, fakes: tuple, labels: jax.Array
) -> tuple[NetworkState, tuple, Metrics]:
    """G's loss under the updated D, its gradient with respect to the pictures, and D with its state moved once more."""
    d = _pass_without_decoders(d)

    def loss_of(fakes: tuple) -> tuple[jax.Array, dict]:
        judgement, stats = _judge(method, d.params, d, *fakes, labels)
        return losses.generator_loss(judgement.logits), stats

    (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(fakes)
    return d.replace(batch_stats=stats), gradient, {"loss/g": loss}


def _descend(method: Method, network: NetworkState, gradient: dict) -> NetworkState:
    """One step of the optimiser."""
    updates, optimizer = method.optimizer.update(gradient, network.optimizer, network.params)
    return network.replace(params=optax.apply_updates(network.params, updates), optimizer=optimizer)
