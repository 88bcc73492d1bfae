"""How batches reach the training step: drawn on the device from a resident set, or streamed from the host."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.order import batch_indices

RESIDENT_BYTES = 2 * 2**30  # largest set that "auto" puts into device memory
WORKERS = 4
BUFFERED_CALLS = 4  # calls of the device program whose batches are read ahead


def is_resident(image_set: ImageSet, setting: str) -> bool:
    """Whether the whole set goes to the device: "true", "false", or "auto" for sets up to RESIDENT_BYTES."""
    return image_set.images.nbytes <= RESIDENT_BYTES if setting == "auto" else setting == "true"


class ResidentFeed:
    """Batches as row numbers into arrays that live on the device."""

    def __init__(self, image_set: ImageSet, seed: int, batch_size: int):
        """For a run with this seed and batch size."""
        self.arrays = (np.ascontiguousarray(image_set.images), image_set.labels)
        self._seed, self._batch_size = seed, batch_size

    def indices(self, first_iteration: int, iterations: int) -> np.ndarray:
        """Rows int32 [iterations, B] of the iterations from `first_iteration` on."""
        return batch_indices(self._seed, first_iteration, iterations, self._batch_size, len(self.arrays[0]))


class StreamedFeed:
    """Batches read ahead by background threads (grain), in the same order as a resident set's.

    An iterator of (images uint8 [K, B, H, W, C], labels int32 [K, B]); use it as a context.
    """

    def __init__(
        self, image_set: ImageSet, seed: int, batch_size: int, iterations_per_call: int, *, first_iteration: int = 0
    ):
        """Starts at `first_iteration`, K = `iterations_per_call` iterations at a time."""
        self._arguments = (image_set, seed, batch_size, iterations_per_call)
        self._next_iteration = first_iteration
        self._iterator: Any = None

    def __enter__(self) -> "StreamedFeed":
        import grain.python as grain

        image_set, seed, batch_size, per_call = self._arguments
        calls = _Calls(image_set, seed, batch_size, per_call, self._next_iteration)
        options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=BUFFERED_CALLS)
        self._iterator = iter(grain.MapDataset.source(calls).to_iter_dataset(options))
        return self

    def __exit__(self, *exception: object) -> None:
        self._iterator.close()
        self._iterator = None

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        batch = next(self._iterator)
        self._next_iteration += self._arguments[3]
        return batch


class _Calls:
    """Random access to the batches of each call: what grain reads from."""

    FOREVER = 2**40

    def __init__(self, image_set: ImageSet, seed: int, batch_size: int, per_call: int, first_iteration: int):
        self._image_set, self._seed = image_set, seed
        self._batch_size, self._per_call, self._first = batch_size, per_call, first_iteration

    def __len__(self) -> int:
        return self.FOREVER

    def __getitem__(self, call: int) -> tuple[np.ndarray, np.ndarray]:
        first = self._first + call * self._per_call
        size = len(self._image_set.images)
        rows = batch_indices(self._seed, first, self._per_call, self._batch_size, size)
        return self._image_set.images[rows], self._image_set.labels[rows]
