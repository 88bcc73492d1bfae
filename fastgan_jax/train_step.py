"""One training iteration: D, then G, then the moving average (paper, section 3; order as in the reference).

`update` is a pure function of state, batch and random draws. `make_train_step` binds the networks and draws the random
numbers; nothing here is compiled, `program.py` does that once. `accumulation.py` makes the same iteration in parts.
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
from fastgan_jax.models.layers import BATCH_NORM_MOMENTUM
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
    recompute: bool = False  # a network's activations in its backward pass, instead of keeping them until then


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


def recomputed(method: Method, function: Callable) -> Callable:
    """A pass through a network, repeated in the backward pass if the method says so."""
    return jax.checkpoint(function) if method.recompute else function


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
    judge_both = JUDGE_FORMS[method.discriminator.forms.judge]

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


def _judge_apart(
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


def _judge_together(
    method: Method,
    params: dict,
    passes: tuple[NetworkState, NetworkState],
    real: tuple[jax.Array, jax.Array],
    fakes: tuple[jax.Array, jax.Array],
    labels: jax.Array,
    quadrant: jax.Array,
) -> tuple[Judgement, Judgement, dict]:
    """What `_judge_apart` does, with both sets in one batch: each is a group with its own norms and statistics."""
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


JUDGE_FORMS = {"apart": _judge_apart, "joint": _judge_together}


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
