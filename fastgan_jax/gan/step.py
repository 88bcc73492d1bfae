"""One training iteration: D, then G, then the moving average (paper, section 3; order as in the reference).

`train_step` draws the random numbers and calls `update`, a pure function of state, batch and random draws. Nothing here
is compiled: `program.py` does that once. `accumulation.py` computes the same iteration in micro-batches.

In training mode D's spectral vectors move with every pass, and its running averages with every batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastgan_jax.gan import augment, joint, losses
from fastgan_jax.gan.randomness import StepDraws, draw_step
from fastgan_jax.gan.self_supervision import ROTATION, TASKS, Facts, rotate
from fastgan_jax.gan.spec import NO_PRETRAINED, Pretrained, Spec
from fastgan_jax.gan.state import NetworkState, TrainState, apply_gradients
from fastgan_jax.models.discriminator import DiscriminatorOutput, decoder_side, without_decoders
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.spectral_norm import power_iterate, without_norms
from fastgan_jax.utils.images import RESIZES, crop_cell, to_unit

EMA_WARMUP = 10  # decay (1 + t) / (10 + t) before the average's own is reached, with ema_warmup
LOGITS_DECAY = 0.99  # of the averages of D's logits
SIGN_IMAGES = 256  # over which their sign is averaged: four batches of 64, as by Karras et al. 2020

Metrics = dict[str, jax.Array]
Images = tuple[jax.Array, jax.Array]  # full [B, R, R, C] and small [B, s, s, C]
Inputs = tuple[jax.Array, ...]  # what D takes of them: the images themselves, their projected features, or both


def train_step(
    spec: Spec,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array | Facts,
    pretrained: Pretrained = NO_PRETRAINED,
    iteration: Callable[..., tuple[TrainState, Metrics]] | None = None,
) -> tuple[TrainState, Metrics]:
    """One iteration on a batch, images uint8 [B, R, R, C]; otherwise as `update`, whose place `iteration` may take."""
    draws = draw_step(jax.random.fold_in(state.rng, state.step), spec, len(images))
    images, labels, draws = spec.spread((images, labels, draws))
    return (iteration or update)(spec, state, to_unit(images), labels, draws, pretrained)


def update(
    spec: Spec,
    state: TrainState,
    real: jax.Array,
    labels: jax.Array | Facts,
    draws: StepDraws,
    pretrained: Pretrained = NO_PRETRAINED,
) -> tuple[TrainState, Metrics]:
    """One iteration.

    Args:
        spec: networks and options.
        state: before the iteration.
        real: images [B, R, R, C] in [-1, 1].
        labels: classes int32 [B] of the real images, used for the generated ones too; ignored without classes. `Facts`
            where D has self-supervision heads.
        draws: the random draws of the iteration.
        pretrained: parameters of pretrained networks, as far as the losses have any.

    Returns:
        The state after the iteration, and float32 scalars with fixed names.
    """
    g, d, probability = state.generator, state.discriminator, augment_probability(spec, state)
    real = augment_real(spec, real, draws, probability)

    # One forward pass of G serves both updates; `g_vjp` carries the gradient of what D takes of its images (with a
    # projected discriminator: features) to its parameters.
    g_spectral = power_iterate(g.params, g.spectral, norms=True)

    def generated(params: dict) -> tuple[Inputs, dict]:
        own = g.replace(params=params, spectral=g_spectral)
        images, stats = generate(spec, own, class_labels(labels), draws, probability)
        return spec.discriminator.inputs(d.params, pretrained.features, images), stats

    fakes, g_vjp, g_stats = jax.vjp(spec.recomputed(generated), g.params, has_aux=True)

    for_real, for_fake = discriminator_passes(d)
    seen = see(spec, pretrained, d, (real, fakes), labels, draws)
    targets = reconstruction_targets(spec, pretrained.distance, real, draws.cell)
    d_gradient, d_stats, d_metrics = discriminator_gradient(
        spec, pretrained.distance, (for_real, for_fake), seen, targets, draws, state
    )
    rate = spec.rate_at(state.step)
    d = apply_gradients(for_fake, spec.optimizer, d_gradient, share=rate, batch_stats=d_stats)

    g = g.replace(batch_stats=g_stats, spectral=g_spectral)

    def generator_update() -> tuple[NetworkState, NetworkState, Metrics]:
        d_now = pass_without_decoders(d)
        fakes_gradient, d_stats, metrics = generator_loss_gradient(spec, d_now, seen)
        (gradient,) = g_vjp(fakes_gradient)
        metrics |= {"grad_norm/g": optax.tree.norm(gradient)}
        return apply_gradients(g, spec.optimizer, gradient, share=rate), d_now.replace(batch_stats=d_stats), metrics

    g, d, g_metrics = if_due(spec, state, generator_update, (g, d))
    metrics = d_metrics | g_metrics | {"grad_norm/d": optax.tree.norm(d_gradient)}
    return finish(spec, state, g, d, metrics, len(real))


@jax.named_scope("average")
def finish(
    spec: Spec, state: TrainState, g: NetworkState, d: NetworkState, metrics: Metrics, batch: int
) -> tuple[TrainState, Metrics]:
    """The state after an iteration of `batch` images, with the moving average of G's new parameters, and its metrics.

    The metrics are float32.
    """
    decay = spec.ema_decay
    if spec.ema_warmup:
        decay = jnp.minimum(decay, (state.step + 1) / (state.step + EMA_WARMUP))
    g, d = (network.replace(spectral=without_norms(network.spectral)) for network in (g, d))
    ema_params = optax.incremental_update(g.params, state.ema_params, 1 - decay)
    if spec.generator_every > 1:
        due = is_due(state, spec.generator_every)
        ema_params = jax.tree.map(lambda new, old: jnp.where(due, new, old), ema_params, state.ema_params)
    state = state.replace(step=state.step + 1, generator=g, discriminator=d, ema_params=ema_params)
    if spec.has_averages:
        metrics |= {"augment/probability": augment_probability(spec, state)}
        state = state.replace(averages=moved_averages(spec, state.averages, metrics, batch))
    return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


def is_due(state: TrainState, every: int) -> jax.Array:
    """Whether the iteration after `state` is one of those that come every so many: the last of them."""
    return (state.step + 1) % every == 0


def if_due(
    spec: Spec,
    state: TrainState,
    generator_update: Callable[[], tuple[NetworkState, NetworkState, Metrics]],
    networks: tuple[NetworkState, NetworkState],
) -> tuple[NetworkState, NetworkState, Metrics]:
    """What `generator_update` gives, G, D and metrics, in the iterations with an update of G.

    In the others G and D are `networks`, and the metrics 0; the log shows none of these (see runs/config.py).
    """
    if spec.generator_every == 1:
        return generator_update()
    metrics = optax.tree.zeros_like(jax.eval_shape(generator_update)[2])
    return jax.lax.cond(is_due(state, spec.generator_every), generator_update, lambda: (*networks, metrics))


def averages_of(state: TrainState) -> dict[str, jax.Array]:
    """What regularization carries from iteration to iteration; empty if it carries nothing."""
    return getattr(state, "averages", {})


def augment_probability(spec: Spec, state: TrainState) -> float | jax.Array:
    """Share of images to augment in this iteration."""
    return spec.augment_probability if spec.augment_target is None else averages_of(state)["augment_probability"]


def moved_averages(spec: Spec, averages: dict[str, jax.Array], metrics: Metrics, batch: int) -> dict[str, jax.Array]:
    """The averages after an iteration.

    The probability of augmentation rises while the mean sign of D's real logits is above its target, and falls while it
    is below (Karras et al. 2020, section 3.1), by 1 in `spec.augment_adaptation` images. The mean is over many batches:
    of small ones alone, more than half can be above a target that their mean is below.
    """
    means = {name: metrics[f"logits/{name}"] for name in ("real", "fake")}
    moved = {name: LOGITS_DECAY * averages[name] + (1 - LOGITS_DECAY) * mean for name, mean in means.items()}
    sign, probability = averages["real_sign"], averages["augment_probability"]
    if spec.augment_target is not None:
        sign += min(1, batch / SIGN_IMAGES) * (metrics["logits/real_sign"] - sign)
        step = jnp.sign(sign - spec.augment_target) * batch / spec.augment_adaptation
        probability = jnp.clip(probability + step, 0, 1)
    return jax.tree.map(jnp.float32, moved | {"real_sign": sign, "augment_probability": probability})


@jax.named_scope("augment_real")
def augment_real(spec: Spec, real: jax.Array, draws: StepDraws, probability: float | jax.Array = 1.0) -> jax.Array:
    """Real images as D sees them: mirrored and augmented."""
    if spec.flip:
        real = jnp.where(draws.flip[:, None, None, None], real[:, :, ::-1], real)
    return augment.apply(real, draws.augment_real, spec.policy, probability)


@jax.named_scope("generate")
def generate(
    spec: Spec, g: NetworkState, labels: jax.Array, draws: StepDraws, probability: float | jax.Array
) -> tuple[Images, dict]:
    """Augmented images of G in training mode, full and small, and its batch-norm state after them."""
    (full, small), mutated = spec.generator.apply(
        g.divided, draws.z, draws.noise, labels, train=True, mutable=["batch_stats"]
    )
    full = augment.apply(full, draws.augment_full, spec.policy, probability)
    small = augment.apply(small, draws.augment_small, spec.policy, probability)
    return (full, small), mutated["batch_stats"]


def discriminate(
    spec: Spec, d: NetworkState, inputs: Inputs, labels: jax.Array, **options: Any
) -> tuple[DiscriminatorOutput, dict]:
    """D in training mode, with reconstructions if given a `cell`, and its batch-norm state after the pass."""
    output, mutated = spec.discriminator.apply(
        d.divided, *inputs, labels=labels, train=True, mutable=["batch_stats"], **options
    )
    return output, mutated["batch_stats"]


def by_group(spec: Spec, logits: jax.Array) -> list[jax.Array]:
    """Logits [B, L] of each group: FastGAN's discriminator, the projected ones, or both."""
    ends = np.cumsum(spec.discriminator.logit_groups)[:-1]
    return jnp.split(logits, ends, axis=1)


def mean_signs(spec: Spec, real: jax.Array, fake: jax.Array) -> Metrics:
    """Mean signs of the logits [B, L], each group counting alike.

    Where only differences count, they are those of the differences from the mean of the group's other kind.
    """
    groups = list(zip(by_group(spec, real), by_group(spec, fake), strict=True))
    if spec.adversarial.relative:
        groups = [(own - other.mean(), other - own.mean()) for own, other in groups]
    means = [jnp.stack([jnp.sign(logits).mean() for logits in kind]).mean() for kind in zip(*groups, strict=True)]
    return dict(zip(("logits/real_sign", "logits/fake_sign"), means, strict=True))


def discriminator_passes(d: NetworkState) -> tuple[NetworkState, NetworkState]:
    """D as it sees real, then generated images: its spectral vectors move with each pass."""
    for_real = d.replace(spectral=power_iterate(d.params, d.spectral, norms=True))
    return for_real, pass_without_decoders(for_real)


def pass_without_decoders(d: NetworkState) -> NetworkState:
    """D with its spectral vectors moved as by a training-mode pass that reconstructs nothing."""
    moved = power_iterate(d.params, without_decoders(d.spectral), norms=True)
    return d.replace(spectral=d.spectral | moved)


class Seen(NamedTuple):
    """What D takes of a batch."""

    reals: Inputs
    fakes: Inputs
    labels: jax.Array  # int32 [B], of the real images and of the generated ones
    facts: Facts | None = None  # of the real images, for self-supervision
    rotated: Inputs | None = None  # rotated real images, for self-supervision


def class_labels(labels: jax.Array | Facts) -> jax.Array:
    """The classes int32 [B] alone."""
    return labels.label if isinstance(labels, Facts) else labels


def see(
    spec: Spec,
    pretrained: Pretrained,
    d: NetworkState,
    images: tuple[jax.Array, Inputs],
    labels: jax.Array | Facts,
    draws: StepDraws,
) -> Seen:
    """What D takes of a batch; `images` are augmented real images [B, R, R, C], and what D takes of generated ones."""
    real, fakes = images
    reals = discriminator_inputs_of_real(spec, pretrained, d, real)
    if not spec.discriminator.heads:
        return Seen(reals, fakes, class_labels(labels))
    rotated = None
    if draws.turns is not None:
        rotated = discriminator_inputs_of_real(spec, pretrained, d, rotate(real, draws.turns))
    return Seen(reals, fakes, class_labels(labels), labels, rotated)


def discriminator_inputs_of_real(spec: Spec, pretrained: Pretrained, d: NetworkState, real: jax.Array) -> Inputs:
    """What D takes of augmented real images [B, R, R, C]."""
    images = (real, RESIZES[spec.resize](real, small_side(spec.generator.resolution)))
    return spec.discriminator.inputs(d.params, pretrained.features, images)


@jax.named_scope("discriminator_gradient")
def discriminator_gradient(
    spec: Spec,
    distance_params: Any,
    passes: tuple[NetworkState, NetworkState],
    seen: Seen,
    targets: dict[str, Any],
    draws: StepDraws,
    state: TrainState,
) -> tuple[dict, dict, Metrics]:
    """Gradient of D's loss: adversarial on real and on generated images, reconstruction of the real ones alone.

    Args:
        spec: networks and options.
        distance_params: parameters of `spec.distance`.
        passes: D as it sees real, then generated images, see `discriminator_passes`.
        seen: what D takes of augmented real and generated images.
        targets: what its decoders are to reconstruct, see `reconstruction_targets`.
        draws: the margins, the cell and the quarter turns are used.
        state: before the iteration, of which its number and averages are used.

    Returns:
        The gradient, D's batch-norm state after both passes, and metrics.
    """
    for_real, for_fake = passes

    def on_real(params: dict, reals: Inputs) -> tuple[DiscriminatorOutput, dict]:
        return discriminate(spec, for_real.replace(params=params), reals, seen.labels, cell=draws.cell)

    def on_fake(params: dict, stats: dict, fakes: Inputs) -> tuple[DiscriminatorOutput, dict]:
        return discriminate(spec, for_fake.replace(params=params, batch_stats=stats), fakes, seen.labels)

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, Metrics]]:
        # Without a gradient from the first iteration on, Adam leaves a parameter exactly as it is.
        params = params | jax.lax.stop_gradient({name: params[name] for name in spec.frozen})
        if spec.discriminator.compute.discriminate == "joint" and spec.mesh is None:  # joining moves images across
            real_output, fake_output, stats = joint.discriminate_both(
                spec, discriminate, params, passes, seen, draws.cell
            )
        else:
            real_output, stats = spec.recomputed(on_real)(params, seen.reals)
            fake_output, stats = spec.recomputed(on_fake)(params, stats, seen.fakes)
        real, fake = real_output.logits, fake_output.logits
        margins = (losses.margins(uniforms, spec.smoothing) for uniforms in (draws.real_margins, draws.fake_margins))
        groups = zip(*(by_group(spec, x) for x in (real, fake, *margins)), strict=True)
        parts = [spec.adversarial.discriminator(*logits_and_margins) for logits_and_margins in groups]
        loss_real, loss_fake = map(sum, zip(*parts, strict=True))
        distances = _reconstruction_distances(spec, distance_params, real_output.reconstructions, targets)
        weight = len(real) if spec.reconstruction_weight is None else spec.reconstruction_weight
        reconstruction = weight * sum(distances.values(), start=jnp.zeros(()))
        loss = loss_real + loss_fake + reconstruction
        metrics = {
            "loss/d_real": loss_real,
            "loss/d_fake": loss_fake,
            "loss/reconstruction": reconstruction,
            **{f"reconstruction/{name}": distance for name, distance in distances.items()},
            "logits/real": real.mean(),
            "logits/fake": fake.mean(),
            **mean_signs(spec, real, fake),
        }
        if spec.lecam:
            metrics["loss/lecam"] = losses.lecam(real, fake, averages_of(state))
            loss += spec.lecam * metrics["loss/lecam"]
        if spec.r1 or spec.r2:
            logits_of = (
                lambda reals: on_real(params, reals)[0].logits,
                lambda fakes: on_fake(params, stats, fakes)[0].logits,
            )
            penalties, weights = _gradient_penalties(spec, state, logits_of, seen), {"r1": spec.r1, "r2": spec.r2}
            loss += spec.penalty_every * sum(weights[name] * x for name, x in penalties.items())
            metrics |= {f"loss/{name}": x for name, x in penalties.items()}
        if spec.discriminator.heads:
            metrics |= _self_supervision(spec, for_real.replace(params=params), real_output, seen, draws)
            loss += spec.self_supervision_weight * metrics["loss/self_supervision"]
        return loss, (stats, metrics | {"loss/d": loss})

    gradient, (stats, metrics) = jax.grad(loss_of, has_aux=True)(for_real.params)
    return gradient, stats, metrics


def _gradient_penalties(
    spec: Spec, state: TrainState, logits_of: tuple[Callable, Callable], seen: Seen
) -> dict[str, jax.Array]:
    """R1 and R2, as far as they have a weight, without it: in one iteration of `penalty_every`, otherwise 0."""
    on_real, on_fake = logits_of

    def compute() -> dict[str, jax.Array]:
        found = {"r1": losses.gradient_penalty(on_real, seen.reals)} if spec.r1 else {}
        return found | ({"r2": losses.gradient_penalty(on_fake, seen.fakes)} if spec.r2 else {})

    if spec.penalty_every == 1:
        return compute()
    zeros = optax.tree.zeros_like(jax.eval_shape(compute))
    return jax.lax.cond(is_due(state, spec.penalty_every), compute, lambda: zeros)


def _self_supervision(
    spec: Spec, d: NetworkState, on_real: DiscriminatorOutput, seen: Seen, draws: StepDraws
) -> Metrics:
    """The losses of the tasks of D's heads, and their sum.

    Rotated images take a pass of their own, which moves no state.
    """
    predictions = dict(on_real.predictions)
    if seen.rotated is not None:
        rotated = spec.recomputed(partial(discriminate, spec))(d, seen.rotated, seen.labels)[0].predictions
        predictions[ROTATION] = rotated[ROTATION]
    found = {name: TASKS[name].loss(x, seen.facts, draws.turns) for name, x in predictions.items()}
    return {f"self_supervision/{name}": x for name, x in found.items()} | {"loss/self_supervision": sum(found.values())}


def reconstruction_targets(spec: Spec, distance_params: Any, real: jax.Array, cell: jax.Array) -> dict[str, Any]:
    """What the decoders are to reconstruct of images [B, R, R, C], embedded by `spec.distance`: see `_target_of`."""
    resize, side = RESIZES[spec.resize], decoder_side(spec.generator.resolution)
    views = {"whole": lambda: real, "part": lambda: crop_cell(real, cell, spec.discriminator.part_divisions)}
    needed = {_target_of(decoder) for decoder in spec.discriminator.decoders}
    targets = {name: resize(view(), side) for name, view in views.items() if name in needed}
    return {name: spec.distance.embed(distance_params, images) for name, images in targets.items()}


def _target_of(decoder: str) -> str:
    return "part" if decoder == "part" else "whole"


def _reconstruction_distances(
    spec: Spec, params: Any, reconstructed: dict[str, jax.Array], targets: dict[str, Any]
) -> dict[str, jax.Array]:
    """Mean distance of each decoder's images from its target (embedded already), all decoders in one batch."""
    if not reconstructed:
        return {}
    matching = [targets[_target_of(decoder)] for decoder in reconstructed]
    matching = jax.tree.map(lambda *parts: spec.joined(parts), *matching)
    distances = spec.distance(params, spec.joined(list(reconstructed.values())), matching)
    return dict(zip(reconstructed, spec.parted(distances, len(reconstructed)).mean(1), strict=True))


@jax.named_scope("generator_loss_gradient")
def generator_loss_gradient(spec: Spec, d: NetworkState, seen: Seen) -> tuple[Inputs, dict, Metrics]:
    """Gradient of G's loss with respect to what D takes of generated images, D's batch-norm state after, metrics."""
    groups = spec.discriminator.logit_groups
    real = [None] * len(groups)
    if spec.adversarial.pairs:
        real = by_group(spec, discriminate(spec, d, seen.reals, seen.labels)[0].logits)
    weights = (1, spec.projected_weight)[: len(groups)]

    def loss_of(fakes: Inputs) -> tuple[jax.Array, dict]:
        output, stats = discriminate(spec, d, fakes, seen.labels)
        parts = zip(weights, real, by_group(spec, output.logits), strict=True)
        return sum(weight * spec.adversarial.generator(*logits) for weight, *logits in parts), stats

    (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(seen.fakes)
    return gradient, stats, {"loss/g": loss}
