"""One training iteration: D, then G, then the moving average (paper, section 3; order as in the reference).

`train_step` draws the random numbers and calls `update`, a pure function of state, batch and random draws. Nothing here
is compiled: `program.py` does that once. `accumulation.py` computes the same iteration in micro-batches.

In training mode D's spectral vectors move with every pass, and its running averages with every batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax.gan import augment, joint, losses
from fastgan_jax.gan.randomness import StepDraws, draw_step
from fastgan_jax.gan.spec import NO_PRETRAINED, Pretrained, Spec
from fastgan_jax.gan.state import NetworkState, TrainState, apply_gradients
from fastgan_jax.models.discriminator import DiscriminatorOutput, decoder_side, without_decoders
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.spectral_norm import power_iterate
from fastgan_jax.utils.images import RESIZES, crop_quadrant, to_unit

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
    g, d = state.generator, state.discriminator
    real = augment_real(spec, real, draws)

    # One forward pass of G serves both updates; `g_vjp` carries the gradient of what D takes of its images (with a
    # projected discriminator: features) to its parameters.
    g_spectral = power_iterate(g.params, g.spectral)

    def generated(params: dict) -> tuple[Inputs, dict]:
        images, stats = generate(spec, g.replace(params=params, spectral=g_spectral), labels, draws)
        return spec.discriminator.inputs(d.params, pretrained.features, images), stats

    fakes, g_vjp, g_stats = jax.vjp(spec.recomputed(generated), g.params, has_aux=True)

    for_real, for_fake = discriminator_passes(d)
    d_gradient, d_stats, d_metrics = discriminator_gradient(
        spec, pretrained, (for_real, for_fake), real, fakes, labels, draws
    )
    d = apply_gradients(for_fake, spec.optimizer, d_gradient, batch_stats=d_stats)

    d = pass_without_decoders(d)
    fakes_gradient, d_stats, g_metrics = generator_loss_gradient(spec, d, fakes, labels)
    (g_gradient,) = g_vjp(fakes_gradient)
    g = apply_gradients(g, spec.optimizer, g_gradient, batch_stats=g_stats, spectral=g_spectral)

    norms = {"grad_norm/d": optax.tree.norm(d_gradient), "grad_norm/g": optax.tree.norm(g_gradient)}
    return finish(spec, state, g, d.replace(batch_stats=d_stats), d_metrics | g_metrics | norms)


@jax.named_scope("average")
def finish(
    spec: Spec, state: TrainState, g: NetworkState, d: NetworkState, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    """The state after an iteration, with the moving average of G's new parameters, and its metrics as float32."""
    ema_params = optax.incremental_update(g.params, state.ema_params, 1 - spec.ema_decay)
    state = state.replace(step=state.step + 1, generator=g, discriminator=d, ema_params=ema_params)
    return state, {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


@jax.named_scope("augment_real")
def augment_real(spec: Spec, real: jax.Array, draws: StepDraws) -> jax.Array:
    """Real images as D sees them: mirrored and augmented."""
    if spec.flip:
        real = jnp.where(draws.flip[:, None, None, None], real[:, :, ::-1], real)
    return augment.apply(real, draws.augment_real, spec.policy, spec.augment_probability)


@jax.named_scope("generate")
def generate(spec: Spec, g: NetworkState, labels: jax.Array, draws: StepDraws) -> tuple[Images, dict]:
    """Augmented images of G in training mode, full and small, and its batch-norm state after them."""
    (full, small), mutated = spec.generator.apply(
        g.variables, draws.z, draws.noise, labels, train=True, mutable=["batch_stats"]
    )
    full = augment.apply(full, draws.augment_full, spec.policy, spec.augment_probability)
    small = augment.apply(small, draws.augment_small, spec.policy, spec.augment_probability)
    return (full, small), mutated["batch_stats"]


def discriminate(
    spec: Spec, d: NetworkState, inputs: Inputs, labels: jax.Array, **options: Any
) -> tuple[DiscriminatorOutput, dict]:
    """D in training mode, with reconstructions if given a `quadrant`, and its batch-norm state after the pass."""
    output, mutated = spec.discriminator.apply(
        d.variables, *inputs, labels=labels, train=True, mutable=["batch_stats"], **options
    )
    return output, mutated["batch_stats"]


def discriminator_passes(d: NetworkState) -> tuple[NetworkState, NetworkState]:
    """D as it sees real, then generated images: its spectral vectors move with each pass."""
    for_real = d.replace(spectral=power_iterate(d.params, d.spectral))
    return for_real, pass_without_decoders(for_real)


def pass_without_decoders(d: NetworkState) -> NetworkState:
    """D with its spectral vectors moved as by a training-mode pass that reconstructs nothing."""
    return d.replace(spectral=d.spectral | power_iterate(d.params, without_decoders(d.spectral)))


@jax.named_scope("discriminator_gradient")
def discriminator_gradient(
    spec: Spec,
    pretrained: Pretrained,
    passes: tuple[NetworkState, NetworkState],
    real: jax.Array,
    fakes: Inputs,
    labels: jax.Array,
    draws: StepDraws,
) -> tuple[dict, dict, Metrics]:
    """Gradient of D's loss: adversarial on real and on generated images, reconstruction of the real ones alone.

    Args:
        spec: networks and options.
        pretrained: as for `update`.
        passes: D as it sees real, then generated images, see `discriminator_passes`.
        real: augmented images [B, R, R, C].
        fakes: what D takes of augmented generated images.
        labels: int32 [B].
        draws: the margins and the quadrant are used.

    Returns:
        The gradient, D's batch-norm state after both passes, and metrics.
    """
    for_real, for_fake = passes
    images = (real, RESIZES[spec.resize](real, small_side(spec.generator.resolution)))
    reals = spec.discriminator.inputs(for_real.params, pretrained.features, images)
    targets = reconstruction_targets(spec, real, draws.quadrant)
    targets = {name: spec.distance.embed(pretrained.distance, target) for name, target in targets.items()}

    def on_real(params: dict) -> tuple[DiscriminatorOutput, dict]:
        return discriminate(spec, for_real.replace(params=params), reals, labels, quadrant=draws.quadrant)

    def on_fake(params: dict, stats: dict) -> tuple[DiscriminatorOutput, dict]:
        return discriminate(spec, for_fake.replace(params=params, batch_stats=stats), fakes, labels)

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, Metrics]]:
        # Without a gradient from the first iteration on, Adam leaves a parameter exactly as it is.
        params = params | jax.lax.stop_gradient({name: params[name] for name in spec.frozen})
        if spec.discriminator.compute.discriminate == "joint":
            real_output, fake_output, stats = joint.discriminate_both(
                spec, discriminate, params, passes, (reals, fakes), labels, draws.quadrant
            )
        else:
            real_output, stats = spec.recomputed(on_real)(params)
            fake_output, stats = spec.recomputed(on_fake)(params, stats)
        loss_real, loss_fake = spec.discriminator_loss(
            real_output.logits,
            fake_output.logits,
            losses.margins(draws.real_margins, spec.smoothing),
            losses.margins(draws.fake_margins, spec.smoothing),
        )
        distances = _reconstruction_distances(spec, pretrained.distance, real_output.reconstructions, targets)
        weight = len(real) if spec.reconstruction_weight is None else spec.reconstruction_weight
        reconstruction = weight * sum(distances.values(), start=jnp.zeros(()))
        loss = loss_real + loss_fake + reconstruction
        metrics = {
            "loss/d": loss,
            "loss/d_real": loss_real,
            "loss/d_fake": loss_fake,
            "loss/reconstruction": reconstruction,
            **{f"reconstruction/{name}": distance for name, distance in distances.items()},
            "logits/real": real_output.logits.mean(),
            "logits/fake": fake_output.logits.mean(),
            "logits/real_sign": jnp.sign(real_output.logits).mean(),
            "logits/fake_sign": jnp.sign(fake_output.logits).mean(),
        }
        return loss, (stats, metrics)

    gradient, (stats, metrics) = jax.grad(loss_of, has_aux=True)(for_real.params)
    return gradient, stats, metrics


def reconstruction_targets(spec: Spec, real: jax.Array, quadrant: jax.Array) -> dict[str, jax.Array]:
    """What the decoders are to reconstruct of images [B, R, R, C]: {target: [B, side, side, C]}, see `_target_of`."""
    resize, side = RESIZES[spec.resize], decoder_side(spec.generator.resolution)
    views = {"whole": lambda: real, "part": lambda: crop_quadrant(real, quadrant)}
    needed = {_target_of(decoder) for decoder in spec.discriminator.decoders}
    return {name: resize(view(), side) for name, view in views.items() if name in needed}


def _target_of(decoder: str) -> str:
    return "part" if decoder == "part" else "whole"


def _reconstruction_distances(
    spec: Spec, params: Any, reconstructed: dict[str, jax.Array], targets: dict[str, Any]
) -> dict[str, jax.Array]:
    """Mean distance of each decoder's images from its target (embedded already), all decoders in one batch."""
    if not reconstructed:
        return {}
    matching = [targets[_target_of(decoder)] for decoder in reconstructed]
    matching = jax.tree.map(lambda *parts: jnp.concatenate(parts), *matching)
    distances = spec.distance(params, jnp.concatenate(list(reconstructed.values())), matching)
    return dict(zip(reconstructed, distances.reshape(len(reconstructed), -1).mean(1), strict=True))


@jax.named_scope("generator_loss_gradient")
def generator_loss_gradient(
    spec: Spec, d: NetworkState, fakes: Inputs, labels: jax.Array
) -> tuple[Inputs, dict, Metrics]:
    """Gradient of G's loss with respect to what D takes of generated images, D's batch-norm state after, metrics."""

    def loss_of(fakes: Inputs) -> tuple[jax.Array, dict]:
        output, stats = discriminate(spec, d, fakes, labels)
        return losses.generator_loss(output.logits), stats

    (loss, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(fakes)
    return gradient, stats, {"loss/g": loss}
