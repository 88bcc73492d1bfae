"""Value range and layout of images [B, H, W, C] in one place: [-1, 1] <-> uint8, resizes, crops, RGB, batches."""

from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from fastgan_jax.utils.devices import BATCH_AXIS, along_batch, local_mesh, on_all


def to_unit(images: jax.Array) -> jax.Array:
    """Maps uint8 in [0, 255] to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


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


def crop_cell(images: jax.Array, cell: jax.Array, divisions: int = 2) -> jax.Array:
    """One of the divisions^2 cells of [B, H, W, C], numbered row by row, as [B, H / divisions, W / divisions, C].

    Of two divisions, the quadrants: 0 top-left, 1 top-right, 2 bottom-left, 3 bottom-right.
    """
    height, width = images.shape[1] // divisions, images.shape[2] // divisions
    zero = jnp.zeros((), jnp.int32)
    cell = jnp.asarray(cell, jnp.int32)
    start = (zero, cell // divisions * height, cell % divisions * width, zero)
    return jax.lax.dynamic_slice(images, start, (images.shape[0], height, width, images.shape[3]))


def rgb(images: np.ndarray) -> np.ndarray:
    """Images uint8 [..., C] of 1, 3 or 4 channels as RGB: gray repeated, transparency laid on white; [..., 3]."""
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4 and images.ndim > 3:  # one by one: in float32 a set would need 16 times its memory
        result = np.empty((*images.shape[:-1], 3), np.uint8)
        for index, image in enumerate(images):
            result[index] = rgb(image)
        return result
    if images.shape[-1] == 4:
        alpha = images[..., 3:].astype(np.float32) / 255
        return np.uint8(np.round(images[..., :3] * alpha + 255 * (1 - alpha)))
    return np.asarray(images)


def rgb_of_units(images: jax.Array) -> jax.Array:
    """Images in [-1, 1] of 1, 3 or 4 channels as RGB, like `rgb`: transparency is laid on white."""
    if images.shape[-1] == 1:
        return jnp.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        alpha = (images[..., 3:] + 1) / 2
        return images[..., :3] * alpha + 1 - alpha
    return images


def evenly_spread(count: int, most: int) -> np.ndarray:
    """Up to `most` of the numbers 0 to count - 1, ascending, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def padded_batches(size: int, *arrays: np.ndarray) -> Iterator[tuple[list[np.ndarray], int]]:
    """Consecutive batches of `size` rows of arrays of equal length, the last padded with zeros, and their rows' number.

    There is always a first batch, if only of zeros.
    """
    for start in range(0, max(len(arrays[0]), 1), size):
        chunks = [np.asarray(array[start : start + size]) for array in arrays]
        rows = len(chunks[0])
        yield [np.concatenate([x, np.zeros((size - rows, *x.shape[1:]), x.dtype)]) for x in chunks], rows


def map_batches(function: Callable[..., Any], size: int, *arrays: np.ndarray) -> Any:
    """Applies a device function of batches to arrays [N, ...] of any N, in `padded_batches`: it is compiled once.

    The function takes an array [size, ...] for each and gives a tree of such, which becomes one of numpy [N, ...].
    """
    batches = padded_batches(size, *arrays)
    parts = [jax.tree.map(lambda x, rows=rows: np.asarray(x)[:rows], function(*batch)) for batch, rows in batches]
    return jax.tree.map(lambda *own: np.concatenate(own), *parts)


class OverBatches:
    """A device function of batches as one of arrays [N, ...], of any N, on all devices of this process.

    A device computes batches of the same size however many devices there are: so an image's result does not depend on
    that. A single batch is computed on the first one.
    """

    def __init__(self, function: Callable[..., Any], size: int, *, static: tuple = (), fixed: tuple = ()):
        """`function` takes what is `static` (hashable), what is `fixed` (arrays), and an array [size, ...] for each."""
        self._function, self._size, self._static, self._fixed = function, size, static, fixed

    def __call__(self, *arrays: np.ndarray) -> Any:
        """The results, see `map_batches`."""
        mesh = local_mesh()
        if mesh is None or len(arrays[0]) <= self._size:
            return map_batches(partial(self._function, *self._static, *self._fixed), self._size, *arrays)
        shared = partial(_on_each_device(self._function, self._static, mesh), self._fixed_on_all)
        return map_batches(lambda *batch: shared(batch), mesh.size * self._size, *arrays)

    @cached_property
    def _fixed_on_all(self) -> tuple:
        return jax.device_put(self._fixed, on_all(local_mesh()))


@cache
def _on_each_device(function: Callable[..., Any], static: tuple, mesh: Mesh) -> Callable[[tuple, tuple], Any]:
    """A function of what is fixed and of batches, of which each device computes its part as if it were alone."""
    specs = {"in_specs": (PartitionSpec(), PartitionSpec(BATCH_AXIS)), "out_specs": PartitionSpec(BATCH_AXIS)}

    def of_device(fixed: tuple, batch: tuple) -> Any:
        return function(*static, *fixed, *batch)

    shared = jax.shard_map(of_device, mesh=mesh, check_vma=False, **specs)
    return jax.jit(shared, in_shardings=(on_all(mesh), along_batch(mesh)))
