"""One training iteration: D, then G, then the moving average (paper, section 3; order as in the reference).

`train_step` draws the random numbers and calls `update`, a pure function of state, batch and random draws. Nothing here
is compiled: `program.py` does that once. `accumulation.py` computes the same iteration in micro-batches.

In training mode D's spectral vectors move with every pass, and its running averages with every batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastgan_jax.gan import augment, joint, losses
from fastgan_jax.gan.randomness import StepDraws, draw_step
from fastgan_jax.gan.spec import NO_PRETRAINED, Pretrained, Spec
from fastgan_jax.gan.state import NetworkState, TrainState, apply_gradients
from fastgan_jax.models.discriminator import DiscriminatorOutput, decoder_side, without_decoders
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.spectral_norm import power_iterate, without_norms
from fastgan_jax.utils.images import RESIZES, crop_quadrant, to_unit

EMA_WARMUP = 10  # decay (1 + t) / (10 + t) before the average's own is reached, with ema_warmup
LOGITS_DECAY = 0.99  # of the averages of D's logits
ADAPTATION_IMAGES = 100_000  # in which the probability of augmentation moves by 1

Metrics = dict[str, jax.Array]
Images = tuple[jax.Array, jax.Array]  # full [B, R, R, C] and small [B, s, s, C]
Inputs = tuple[jax.Array, ...]  # what D takes of them: the images themselves, their projected features, or both


def train_step(
    spec: Spec,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
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
    labels: jax.Array,
    draws: StepDraws,
    pretrained: Pretrained = NO_PRETRAINED,
) -> tuple[TrainState, Metrics]:
    """One iteration.

    Args:
        spec: networks and options.
        state: before the iteration.
        real: images [B, R, R, C] in [-1, 1].
        labels: classes int32 [B] of the real images, used for the generated ones too; ignored without classes.
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
        images, stats = generate(spec, g.replace(params=params, spectral=g_spectral), labels, draws, probability)
        return spec.discriminator.inputs(d.params, pretrained.features, images), stats

    fakes, g_vjp, g_stats = jax.vjp(spec.recomputed(generated), g.params, has_aux=True)

    for_real, for_fake = discriminator_passes(d)
    seen = Seen(discriminator_inputs_of_real(spec, pretrained, d, real), fakes, labels)
    targets = reconstruction_targets(spec, pretrained.distance, real, draws.quadrant)
    d_gradient, d_stats, d_metrics = discriminator_gradient(
        spec, pretrained.distance, (for_real, for_fake), seen, targets, draws, averages_of(state)
    )
    d = apply_gradients(for_fake, spec.optimizer, d_gradient, batch_stats=d_stats)

    d = pass_without_decoders(d)
    fakes_gradient, d_stats, g_metrics = generator_loss_gradient(spec, d, seen)
    (g_gradient,) = g_vjp(fakes_gradient)
    g = apply_gradients(g, spec.optimizer, g_gradient, batch_stats=g_stats, spectral=g_spectral)

    norms = {"grad_norm/d": optax.tree.norm(d_gradient), "grad_norm/g": optax.tree.norm(g_gradient)}
    return finish(spec, state, g, d.replace(batch_stats=d_stats), d_metrics | g_metrics | norms, len(labels))


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
    state = state.replace(step=state.step + 1, generator=g, discriminator=d, ema_params=ema_params)
    if spec.has_averages:
        metrics |= {"augment/probability": state.averages["augment_probability"]}
        state = state.replace(averages=moved_averages(spec, state.averages, metrics, batch))
    return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


def averages_of(state: TrainState) -> dict[str, jax.Array]:
    """What regularization carries from iteration to iteration; empty if it carries nothing."""
    return getattr(state, "averages", {})


def augment_probability(spec: Spec, state: TrainState) -> float | jax.Array:
    """Share of images to augment in this iteration."""
    return spec.augment_probability if spec.augment_target is None else averages_of(state)["augment_probability"]


def moved_averages(spec: Spec, averages: dict[str, jax.Array], metrics: Metrics, batch: int) -> dict[str, jax.Array]:
    """The averages after an iteration.

    The probability of augmentation rises while the mean sign of D's real logits is above its target, and falls while it
    is below (Karras et al. 2020, section 3.1), by 1 in ADAPTATION_IMAGES images.
    """
    means = {name: metrics[f"logits/{name}"] for name in ("real", "fake")}
    moved = {name: LOGITS_DECAY * averages[name] + (1 - LOGITS_DECAY) * mean for name, mean in means.items()}
    probability = averages["augment_probability"]
    if spec.augment_target is not None:
        step = jnp.sign(metrics["logits/real_sign"] - spec.augment_target) * batch / ADAPTATION_IMAGES
        probability = jnp.clip(probability + step, 0, 1)
    return jax.tree.map(jnp.float32, moved | {"augment_probability": probability})


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
    """D in training mode, with reconstructions if given a `quadrant`, and its batch-norm state after the pass."""
    output, mutated = spec.discriminator.apply(
        d.divided, *inputs, labels=labels, train=True, mutable=["batch_stats"], **options
    )
    return output, mutated["batch_stats"]


def by_judge(spec: Spec, logits: jax.Array) -> list[jax.Array]:
    """Logits [B, L] of each judge: FastGAN's discriminator, the projected ones, or both."""
    ends = np.cumsum(spec.discriminator.logit_groups)[:-1]
    return jnp.split(logits, ends, axis=1)


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
    averages: dict[str, jax.Array],
) -> tuple[dict, dict, Metrics]:
    """Gradient of D's loss: adversarial on real and on generated images, reconstruction of the real ones alone.

    Args:
        spec: networks and options.
        distance_params: parameters of `spec.distance`.
        passes: D as it sees real, then generated images, see `discriminator_passes`.
        seen: what D takes of augmented real and generated images.
        targets: what its decoders are to reconstruct, see `reconstruction_targets`.
        draws: the margins and the quadrant are used.
        averages: see `averages_of`.

    Returns:
        The gradient, D's batch-norm state after both passes, and metrics.
    """
    for_real, for_fake = passes

    def on_real(params: dict, reals: Inputs) -> tuple[DiscriminatorOutput, dict]:
        return discriminate(spec, for_real.replace(params=params), reals, seen.labels, quadrant=draws.quadrant)

    def on_fake(params: dict, stats: dict, fakes: Inputs) -> tuple[DiscriminatorOutput, dict]:
        return discriminate(spec, for_fake.replace(params=params, batch_stats=stats), fakes, seen.labels)

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, Metrics]]:
        # Without a gradient from the first iteration on, Adam leaves a parameter exactly as it is.
        params = params | jax.lax.stop_gradient({name: params[name] for name in spec.frozen})
        if spec.discriminator.compute.discriminate == "joint":
            real_output, fake_output, stats = joint.discriminate_both(
                spec, discriminate, params, passes, seen, draws.quadrant
            )
        else:
            real_output, stats = spec.recomputed(on_real)(params, seen.reals)
            fake_output, stats = spec.recomputed(on_fake)(params, stats, seen.fakes)
        real, fake = real_output.logits, fake_output.logits
        margins = (losses.margins(uniforms, spec.smoothing) for uniforms in (draws.real_margins, draws.fake_margins))
        judges = zip(*(by_judge(spec, x) for x in (real, fake, *margins)), strict=True)
        parts = [spec.adversarial.discriminator(*logits_and_margins) for logits_and_margins in judges]
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
            "logits/real_sign": jnp.sign(real).mean(),
            "logits/fake_sign": jnp.sign(fake).mean(),
        }
        if spec.lecam:
            metrics["loss/lecam"] = losses.lecam(real, fake, averages)
            loss += spec.lecam * metrics["loss/lecam"]
        if spec.gradient_penalty:
            metrics["loss/gradient_penalty"] = losses.gradient_penalty(
                lambda reals: on_real(params, reals)[0].logits, seen.reals
            ) + losses.gradient_penalty(lambda fakes: on_fake(params, stats, fakes)[0].logits, seen.fakes)
            loss += spec.gradient_penalty * metrics["loss/gradient_penalty"]
        return loss, (stats, metrics | {"loss/d": loss})

    gradient, (stats, metrics) = jax.grad(loss_of, has_aux=True)(for_real.params)
    return gradient, stats, metrics


def reconstruction_targets(spec: Spec, distance_params: Any, real: jax.Array, quadrant: jax.Array) -> dict[str, Any]:
    """What the decoders are to reconstruct of images [B, R, R, C], embedded by `spec.distance`: see `_target_of`."""
    resize, side = RESIZES[spec.resize], decoder_side(spec.generator.resolution)
    views = {"whole": lambda: real, "part": lambda: crop_quadrant(real, quadrant)}
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
        real = by_judge(spec, discriminate(spec, d, seen.reals, seen.labels)[0].logits)
    weights = (1, spec.projected_weight)[: len(groups)]

    def loss_of(fakes: Inputs) -> tuple[jax.Array, dict]:
        output, stats = discriminate(spec, d, fakes, seen.labels)
        parts = zip(weights, real, by_judge(spec, output.logits), strict=True)
        return sum(weight * spec.adversarial.generator(*logits) for weight, *logits in parts), stats

    (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(seen.fakes)
    return gradient, stats, {"loss/g": loss}
