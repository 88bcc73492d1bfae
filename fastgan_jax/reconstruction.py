"""What the discriminator's decoders make of given pictures (paper, section 3.2 and figure 4)."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.image_ops import RESIZES, crop_quadrant, to_uint8, to_unit
from fastgan_jax.models.discriminator import Discriminator, decoder_side
from fastgan_jax.models.generator import small_side

CHUNK = 8  # pictures per device call where there may be any number


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


def reconstruct_all(
    discriminator: Discriminator, resize: str, variables: dict, images: np.ndarray, quadrant: int = 0
) -> dict[str, np.ndarray]:
    """`reconstruct` for any number of pictures, uint8 [N, R, R, C], in the order in which they are shown.

    Returns:
        {"real", each decoder's name: uint8 [N, side, side, C]}; before "part", "quadrant" is what that is to rebuild.
    """
    labels = jnp.zeros(CHUNK, jnp.int32)  # classes play a part in logits only
    parts = []
    for chunk, size in padded_chunks(images, CHUNK):
        made = reconstruct(discriminator, resize, variables, chunk, labels, quadrant)
        made["quadrant"] = _shown_quadrant(decoder_side(discriminator.resolution), chunk, quadrant)
        parts.append({name: np.asarray(x)[:size] for name, x in made.items()})
    names = ["real"]
    for decoder in discriminator.decoders:
        names += ["quadrant", "part"] if decoder == "part" else [decoder]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def padded_chunks(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Consecutive chunks of `size` rows of an array, the last one padded with zeros, each with the number in it."""
    for start in range(0, len(rows), size):
        chunk = np.asarray(rows[start : start + size])
        padding = np.zeros((size - len(chunk), *chunk.shape[1:]), chunk.dtype)
        yield np.concatenate([chunk, padding]), len(chunk)


@partial(jax.jit, static_argnums=0)
def _shown_quadrant(side: int, images: jax.Array, quadrant: int | jax.Array) -> jax.Array:
    return to_uint8(RESIZES["antialias"](crop_quadrant(to_unit(images), quadrant), side))
