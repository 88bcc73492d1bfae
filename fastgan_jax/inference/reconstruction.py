"""Reconstructions of given images by the discriminator's decoders (paper, section 3.2 and figure 4)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.models.discriminator import Discriminator, decoder_side
from fastgan_jax.models.generator import small_side
from fastgan_jax.utils.images import RESIZES, crop_cell, map_batches, to_uint8, to_unit

CHUNK = 8  # images per device call where there may be any number


@partial(jax.jit, static_argnums=(0, 1))
def reconstruct(
    discriminator: Discriminator,
    resize: str,
    variables: dict,
    images: jax.Array,
    labels: jax.Array | None = None,
    cell: int | jax.Array = 0,
) -> dict[str, jax.Array]:
    """Images uint8 [B, R, R, C] and each decoder's reconstructions of them, normalized with the stored statistics.

    These are running averages over real and generated images, of which the latter count 70 %, while training decodes
    maps that are normalized by their own batch: so reconstructions look worse here than the logged loss says.

    `resize`, "nearest" or "antialias", makes the small view; `labels` int32 [B] are for a conditional discriminator;
    `cell`, from 0 on, is what the decoder "part" reconstructs.

    Returns:
        {"real" and each decoder's name: uint8 [B, side, side, C]}, side = min(128, R); in no particular order.
    """
    real = to_unit(images)
    small = RESIZES[resize](real, small_side(discriminator.resolution))
    output = discriminator.apply(variables, real, small, jnp.asarray(cell), labels, train=False)
    shown = RESIZES["antialias"](real, decoder_side(discriminator.resolution))
    return {name: to_uint8(x) for name, x in ({"real": shown} | output.reconstructions).items()}


def reconstruct_all(
    discriminator: Discriminator, resize: str, variables: dict, images: np.ndarray, cell: int = 0
) -> dict[str, np.ndarray]:
    """`reconstruct` for any number of images, uint8 [N, R, R, C], in the order in which they are shown.

    Returns:
        {"real", each decoder's name: uint8 [N, side, side, C]}; before "part", its target: "quadrant" or "eighth".
    """
    labels = jnp.zeros(CHUNK, jnp.int32)  # classes only affect logits

    def of_batch(batch: np.ndarray) -> dict[str, jax.Array]:
        shown = {discriminator.part: _shown_cell(discriminator, batch, cell)}
        return reconstruct(discriminator, resize, variables, batch, labels, cell) | shown

    reconstructed = map_batches(of_batch, CHUNK, images)
    names = ["real"]
    for decoder in discriminator.decoders:
        names += [discriminator.part, "part"] if decoder == "part" else [decoder]
    return {name: reconstructed[name] for name in names}


@partial(jax.jit, static_argnums=0)
def _shown_cell(discriminator: Discriminator, images: jax.Array, cell: int | jax.Array) -> jax.Array:
    side, part = decoder_side(discriminator.resolution), crop_cell(to_unit(images), cell, discriminator.part_divisions)
    return to_uint8(RESIZES["antialias"](part, side))
