"""Every random number of one training iteration, drawn in one place: the step itself is a pure function of them."""

import jax
from flax import struct

from fastgan_jax.gan import augment
from fastgan_jax.gan.spec import Spec


@struct.dataclass
class StepDraws:
    """The random draws of one iteration for a batch of B images with L logits each."""

    z: jax.Array  # latents [B, nz], standard normal
    noise: tuple[jax.Array, ...]  # standard normal maps [B, side, side, 1] of the generator's sites, in order
    flip: jax.Array  # bool [B]: mirror this real image
    quadrant: jax.Array  # int32 scalar 0..3: what the decoder "part" reconstructs
    real_margins: jax.Array  # [B, L] uniform in [0, 1), see losses.margins
    fake_margins: jax.Array  # [B, L] the same
    augment_real: dict[str, jax.Array]  # see augment.draw
    augment_full: dict[str, jax.Array]  # of the generated images
    augment_small: dict[str, jax.Array]  # of their small copies


def draw_step(key: jax.Array, spec: Spec, batch: int) -> StepDraws:
    """Draws what one iteration of `batch` images needs from the iteration's key."""
    z_key, noise_key, flip_key, quadrant_key, real_key, fake_key, *augment_keys = jax.random.split(key, 9)
    sides = spec.generator.noise_sides
    noise_keys = jax.random.split(noise_key, len(sides))
    logits = (batch, spec.discriminator.num_logits)
    augment_real, augment_full, augment_small = (augment.draw(k, spec.policy, batch) for k in augment_keys)
    return StepDraws(
        z=jax.random.normal(z_key, (batch, spec.latent_size)),
        noise=tuple(jax.random.normal(k, (batch, side, side, 1)) for k, side in zip(noise_keys, sides, strict=True)),
        flip=jax.random.bernoulli(flip_key, 0.5, (batch,)),
        quadrant=jax.random.randint(quadrant_key, (), 0, 4),
        real_margins=jax.random.uniform(real_key, logits),
        fake_margins=jax.random.uniform(fake_key, logits),
        augment_real=augment_real,
        augment_full=augment_full,
        augment_small=augment_full if spec.augment_shared else augment_small,
    )
