"""How batches reach the training step: as rows of a set that lives on the device, or streamed from the host."""

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.order import batch_indices
from fastgan_jax.utils.devices import along_batch, placed

RESIDENT_BYTES = 2 * 2**30  # largest set that "auto" puts into device memory
WORKERS = 4
ENDLESS = 2**40  # calls of the device program
BUFFERED_CALLS = 4  # calls of the device program whose batches are read ahead


def is_resident(image_set: ImageSet, setting: str) -> bool:
    """Whether the whole set goes to the device: "true", "false", or "auto" for sets up to RESIDENT_BYTES."""
    return image_set.images.nbytes <= RESIDENT_BYTES if setting == "auto" else setting == "true"


@contextlib.contextmanager
def feed(
    image_set: ImageSet,
    resident: bool,
    seed: int,
    batch_size: int,
    per_call: int,
    first_iteration: int = 0,
    *,
    mesh: Mesh | None = None,
    facts: bool = False,
) -> Iterator[Iterator[tuple[jax.Array, ...]]]:
    """The inputs, on the device, of each call of the device program for K = `per_call` iterations of B images.

    Of a resident set images [N, H, W, C], labels [N] and rows [K, B]; else images [K, B, H, W, C] and labels [K, B],
    which threads read ahead (grain). Images are uint8, the others int32; with `facts` the labels are `Facts`. The
    devices of a `mesh` share each batch: a resident set is on all of them, and of a streamed one each process reads
    what its own devices need.
    """
    images, labels = image_set.images, image_set.facts() if facts else image_set.labels
    size = len(images)
    own = slice(None) if mesh is None else _own_part(mesh, batch_size)

    def rows(call: int) -> np.ndarray:
        return batch_indices(seed, first_iteration + call * per_call, per_call, batch_size, size)[:, own]

    def put(array: np.ndarray) -> jax.Array:
        if mesh is None:
            return jax.device_put(array)
        shape = (per_call, batch_size, *array.shape[2:])
        return jax.make_array_from_process_local_data(along_batch(mesh, axis=1), array, shape)

    if resident:
        # Of a copy: CPUs would go on reading the file that is mapped.
        arrays = _on_devices((np.array(images), labels), mesh)
        yield ((*arrays, put(rows(call))) for call in itertools.count())
        return

    import grain.python as grain

    read_images = reader(images)

    def read(call: int) -> tuple[np.ndarray, Any]:
        return read_images(rows(call)), jax.tree.map(lambda x: x[rows(call)], labels)

    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=BUFFERED_CALLS)
    with contextlib.closing(iter(grain.MapDataset.range(ENDLESS).map(read).to_iter_dataset(options))) as batches:
        yield (jax.tree.map(put, batch) for batch in batches)


def reader(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function of rows [...] that returns those images of a set [N, H, W, C]: [..., H, W, C].

    Of a set that the cache has mapped, the file is read, which raises an OSError where the storage fails; a map ends
    the process.
    """
    if not isinstance(images, np.memmap):
        return lambda rows: images[rows]

    def read(rows: np.ndarray) -> np.ndarray:
        batch = np.empty((rows.size, *images.shape[1:]), images.dtype)
        for image, row in zip(batch, rows.ravel().tolist(), strict=True):
            if os.preadv(images.descriptor, [image], images.offset + row * image.nbytes) != image.nbytes:
                raise OSError(errno.EIO, "the cached set is shorter than it was", images.filename)
        return batch.reshape(*rows.shape, *images.shape[1:])

    return read


def _on_devices(arrays: Any, mesh: Mesh | None) -> Any:
    return jax.block_until_ready(jax.device_put(arrays) if mesh is None else placed(arrays, mesh))


def _own_part(mesh: Mesh, size: int) -> slice:
    """Which images of a batch the devices of this process have."""
    parts = along_batch(mesh).addressable_devices_indices_map((size,)).values()
    return slice(min(part.start for (part,) in parts), max(part.stop for (part,) in parts))
