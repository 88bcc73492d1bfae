"""Value range and layout of images [B, H, W, C] in one place: [-1, 1] <-> uint8, resizes, quadrants."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np


def to_unit(images: jax.Array, dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Maps uint8 in [0, 255] to floating point in [-1, 1]."""
    return images.astype(dtype) / 127.5 - 1


def to_uint8(images: jax.Array) -> jax.Array:
    """Maps floating point in [-1, 1] to the nearest uint8 in [0, 255]; what lies outside the range is clipped."""
    return jnp.clip(jnp.round((images + 1) * 127.5), 0, 255).astype(jnp.uint8)


def resize_nearest(images: jax.Array, side: int) -> jax.Array:
    """Nearest-neighbor resize to [B, side, side, C]; output pixel i reads input pixel floor(i * in / side).

    This is the convention of the reference's interpolation (the top-left sample of each block when halving), which
    differs from `jax.image.resize`, whose samples sit at block centers.
    """
    rows = np.arange(side) * images.shape[1] // side
    columns = np.arange(side) * images.shape[2] // side
    return images[:, rows][:, :, columns]


def resize_antialias(images: jax.Array, side: int) -> jax.Array:
    """Linear resize to [B, side, side, C] with the filter widened when shrinking, so that nothing aliases."""
    shape = (images.shape[0], side, side, images.shape[3])
    return jax.image.resize(images, shape, "linear", antialias=True)


RESIZES = {"nearest": resize_nearest, "antialias": resize_antialias}


def crop_quadrant(images: jax.Array, quadrant: jax.Array) -> jax.Array:
    """One quadrant of [B, H, W, C] as [B, H/2, W/2, C]: 0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right."""
    height, width = images.shape[1] // 2, images.shape[2] // 2
    zero = jnp.zeros((), jnp.int32)
    quadrant = jnp.asarray(quadrant, jnp.int32)
    start = (zero, quadrant // 2 * height, quadrant % 2 * width, zero)
    return jax.lax.dynamic_slice(images, start, (images.shape[0], height, width, images.shape[3]))


def rgb(images: np.ndarray) -> np.ndarray:
    """Images of 1, 3 or 4 channels as RGB: gray repeated, transparency on white; uint8 [N, H, W, 3]."""
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.float32) / 255
        return np.uint8(np.round(images[..., :3] * alpha + 255 * (1 - alpha)))
    return np.asarray(images)


def padded_batches(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Consecutive chunks of `size` rows of an array, the last one padded with zeros, each with the number in it."""
    for start in range(0, len(rows), size):
        chunk = np.asarray(rows[start : start + size])
        padding = np.zeros((size - len(chunk), *chunk.shape[1:]), chunk.dtype)
        yield np.concatenate([chunk, padding]), len(chunk)
