"""What the discriminator's decoders make of given pictures (paper, section 3.2 and figure 4)."""

from functools import partial

import jax
import jax.numpy as jnp

from fastgan_jax.image_ops import RESIZES, to_uint8, to_unit
from fastgan_jax.models.discriminator import Discriminator, decoder_side
from fastgan_jax.models.generator import small_side


@partial(jax.jit, static_argnums=(0, 1))
def reconstruct(
    discriminator: Discriminator,
    resize: str,
    variables: dict,
    images: jax.Array,
    labels: jax.Array | None = None,
    quadrant: int | jax.Array = 0,
) -> dict[str, jax.Array]:
    """Pictures and what each decoder rebuilds of them, with the stored statistics.

    Args:
        discriminator: the module.
        resize: how its small view is made, "nearest" or "antialias".
        variables: {"params", "batch_stats", "spectral"}.
        images: uint8 [B, R, R, C].
        labels: classes int32 [B], for a conditional discriminator.
        quadrant: which quadrant the decoder "part" rebuilds, 0..3.

    Returns:
        {"real" and each decoder's name: uint8 [B, side, side, C]}, side = min(128, R); in no particular order.
    """
    real = to_unit(images)
    small = RESIZES[resize](real, small_side(discriminator.resolution))
    judgement = discriminator.apply(variables, real, small, jnp.asarray(quadrant), labels, train=False)
    shown = RESIZES["antialias"](real, decoder_side(discriminator.resolution))
    return {name: to_uint8(x) for name, x in ({"real": shown} | judgement.reconstructions).items()}
