"""Every random number of one training iteration, drawn in one place: the step itself is a pure function of them."""

import jax
from flax import struct

from fastgan_jax.gan import augment
from fastgan_jax.gan.self_supervision import QUARTERS, ROTATION
from fastgan_jax.gan.spec import Spec

TURNS_KEY = 100  # folded into the iteration's key


@struct.dataclass
class StepDraws:
    """The random draws of one iteration for a batch of B images with L logits each."""

    z: jax.Array  # latents [B, nz], standard normal
    noise: tuple[jax.Array, ...]  # standard normal maps [B, side, side, 1] of the generator's sites, in order
    flip: jax.Array  # bool [B]: mirror this real image
    cell: jax.Array  # int32 scalar 0..divisions^2 - 1: what the decoder "part" reconstructs, see utils.images.crop_cell
    real_margins: jax.Array  # [B, L] uniform in [0, 1), see losses.margins
    fake_margins: jax.Array  # [B, L] the same
    augment_real: dict[str, jax.Array]  # see augment.draw
    augment_full: dict[str, jax.Array]  # of the generated images
    augment_small: dict[str, jax.Array]  # of their small copies
    # int32 [B] 0..3: quarter turns of the real images that self-supervision is to tell; None without it
    turns: jax.Array | None = None


def draw_step(key: jax.Array, spec: Spec, batch: int) -> StepDraws:
    """Draws what one iteration of `batch` images needs from the iteration's key."""
    z_key, noise_key, flip_key, cell_key, real_key, fake_key, *augment_keys = jax.random.split(key, 9)
    sides = spec.generator.noise_sides
    noise_keys = jax.random.split(noise_key, len(sides))
    logits = (batch, spec.discriminator.num_logits)
    augment_real, augment_full, augment_small = (augment.draw(k, spec.policy, batch) for k in augment_keys)
    return StepDraws(
        z=jax.random.normal(z_key, (batch, spec.latent_size)),
        noise=tuple(jax.random.normal(k, (batch, side, side, 1)) for k, side in zip(noise_keys, sides, strict=True)),
        flip=jax.random.bernoulli(flip_key, 0.5, (batch,)),
        cell=jax.random.randint(cell_key, (), 0, spec.discriminator.part_divisions**2),
        real_margins=jax.random.uniform(real_key, logits),
        fake_margins=jax.random.uniform(fake_key, logits),
        augment_real=augment_real,
        augment_full=augment_full,
        augment_small=augment_full if spec.augment_shared else augment_small,
        turns=_turns(key, batch) if ROTATION in dict(spec.discriminator.heads) else None,
    )


def _turns(key: jax.Array, batch: int) -> jax.Array:
    # Of a key of its own, so that a run without has the same draws.
    return jax.random.randint(jax.random.fold_in(key, TURNS_KEY), (batch,), 0, QUARTERS)
