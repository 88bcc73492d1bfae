"""How batches reach the training step: as rows of a set that lives on the device, or streamed from the host."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.order import batch_indices

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
    facts: bool = False,
) -> Iterator[Iterator[tuple[jax.Array, ...]]]:
    """The inputs, on the device, of each call of the device program for K = `per_call` iterations of B images.

    Of a resident set images [N, H, W, C], labels [N] and rows [K, B]; else images [K, B, H, W, C] and labels [K, B],
    which threads read ahead (grain). Images are uint8, the others int32. With `facts` the labels are `Facts`.
    """
    images, labels = image_set.images, image_set.facts() if facts else image_set.labels

    def rows(call: int) -> np.ndarray:
        return batch_indices(seed, first_iteration + call * per_call, per_call, batch_size, len(images))

    if resident:
        arrays = jax.device_put((np.ascontiguousarray(images), labels))
        yield ((*arrays, jax.device_put(rows(call))) for call in itertools.count())
        return

    import grain.python as grain

    def read(call: int) -> tuple[np.ndarray, Any]:
        return images[rows(call)], jax.tree.map(lambda x: x[rows(call)], labels)

    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=BUFFERED_CALLS)
    with contextlib.closing(iter(grain.MapDataset.range(ENDLESS).map(read).to_iter_dataset(options))) as batches:
        yield (jax.device_put(batch) for batch in batches)
