"""One training iteration: D, then G, then the moving average (paper, section 3; order as in the reference).

`update` is a pure function of state, batch and random draws. `make_train_step` binds the networks and draws the random
numbers; nothing here is compiled, `program.py` does that once. `accumulation.py` makes the same iteration in parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax import augment, losses
from fastgan_jax.draws import StepDraws, draw_step
from fastgan_jax.image_ops import RESIZES, crop_quadrant, to_unit
from fastgan_jax.judging import JUDGE_BOTH, discriminator_passes, judge, pass_without_decoders
from fastgan_jax.method import Method, recomputed
from fastgan_jax.models.discriminator import decoder_side
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.spectral import power_iterate
from fastgan_jax.train_state import NetworkState, TrainState

Metrics = dict[str, jax.Array]


def make_train_step(method: Method, iteration: Callable | None = None) -> Callable[..., tuple[TrainState, Metrics]]:
    """The function of one iteration: (state, images uint8 [B, R, R, C], labels int32 [B], pretrained).

    `pretrained` holds the parameters of `method.distance`; None, the default, if it has none. The function returns the
    state after the iteration and its metrics. `iteration` takes the place of `update`.
    """
    iteration = iteration or update

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
        return iteration(method, state, to_unit(images), labels, draws, pretrained)

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
    g, d = state.generator, state.discriminator
    real = augment_real(method, real, draws)

    # One forward pass of G serves both updates; `pull_back` carries the gradient of its pictures to its parameters.
    g_spectral = power_iterate(g.params, g.spectral)
    fakes, pull_back, g_stats = jax.vjp(
        recomputed(method, lambda params: generate(method, params, g.batch_stats, g_spectral, labels, draws)),
        g.params,
        has_aux=True,
    )

    for_real, for_fake = discriminator_passes(d)
    d_gradient, d_stats, d_metrics = discriminator_gradient(
        method, pretrained, for_real, for_fake, real, fakes, labels, draws
    )
    d = descend(method, for_fake, d_gradient).replace(batch_stats=d_stats)

    d = pass_without_decoders(d)
    fakes_gradient, d_stats, g_metrics = generator_loss_gradient(method, d, fakes, labels)
    (g_gradient,) = pull_back(fakes_gradient)
    g = descend(method, g, g_gradient).replace(batch_stats=g_stats, spectral=g_spectral)

    norms = {"grad_norm/d": optax.tree.norm(d_gradient), "grad_norm/g": optax.tree.norm(g_gradient)}
    return finish(method, state, g, d.replace(batch_stats=d_stats), d_metrics | g_metrics | norms)


def finish(
    method: Method, state: TrainState, g: NetworkState, d: NetworkState, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    """The state after an iteration, with the moving average of G's new parameters, and its metrics as float32."""
    ema_params = optax.incremental_update(g.params, state.ema_params, 1 - method.ema_decay)
    state = state.replace(step=state.step + 1, generator=g, discriminator=d, ema_params=ema_params)
    return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


def augment_real(method: Method, real: jax.Array, draws: StepDraws) -> jax.Array:
    """Real pictures as D sees them: mirrored and augmented."""
    if method.flip:
        real = jnp.where(draws.flip[:, None, None, None], real[:, :, ::-1], real)
    return augment.apply(real, draws.augment_real, method.policy, method.augment_probability)


def generate(
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


def discriminator_gradient(
    method: Method,
    pretrained: Any,
    for_real: NetworkState,
    for_fake: NetworkState,
    real: jax.Array,
    fakes: tuple,
    labels: jax.Array,
    draws: StepDraws,
) -> tuple[dict, dict, Metrics]:
    """Gradient of D's loss: hinge on real and on generated pictures, reconstruction of the real ones alone.

    Args:
        method: networks and options.
        pretrained: parameters of the distance.
        for_real: D as it judges real pictures, see `discriminator_passes`.
        for_fake: D as it judges generated ones; its batch-norm state is that of `for_real` after the real pictures.
        real: augmented pictures [B, R, R, C].
        fakes: augmented generated pictures, full and small.
        labels: int32 [B].
        draws: the margins and the quadrant are used.

    Returns:
        The gradient, D's batch-norm state after both passes, and metrics.
    """
    resize = RESIZES[method.resize]
    real_small = resize(real, small_side(method.generator.resolution))
    targets = reconstruction_targets(method, real, draws.quadrant)
    wanted = {name: method.distance.embed(pretrained, pictures) for name, pictures in targets.items()}
    judge_both = JUDGE_BOTH[method.discriminator.forms.judge]

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, Metrics]]:
        on_real, on_fake, stats = judge_both(
            method, params, (for_real, for_fake), (real, real_small), fakes, labels, draws.quadrant
        )
        loss_real, loss_fake = losses.discriminator_hinge(
            on_real.logits,
            on_fake.logits,
            losses.margins(draws.real_margins),
            losses.margins(draws.fake_margins),
            relativistic=method.relativistic,
        )
        distances = _reconstruction_distances(method.distance, pretrained, on_real.reconstructions, wanted)
        weight = real.shape[0] if method.reconstruction_weight is None else method.reconstruction_weight
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

    gradient, (stats, metrics) = jax.grad(loss_of, has_aux=True)(for_real.params)
    return gradient, stats, metrics


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


def generator_loss_gradient(
    method: Method, d: NetworkState, fakes: tuple, labels: jax.Array
) -> tuple[tuple, dict, Metrics]:
    """Gradient of G's loss under D with respect to the generated pictures, D's batch-norm state after, metrics."""

    def loss_of(fakes: tuple) -> tuple[jax.Array, dict]:
        judgement, stats = judge(method, d.params, d, *fakes, labels)
        return losses.generator_loss(judgement.logits), stats

    (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(fakes)
    return gradient, stats, {"loss/g": loss}


def descend(method: Method, network: NetworkState, gradient: dict) -> NetworkState:
    """One step of the optimiser."""
    updates, optimizer = method.optimizer.update(gradient, network.optimizer, network.params)
    return network.replace(params=optax.apply_updates(network.params, updates), optimizer=optimizer)
