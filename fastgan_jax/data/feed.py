"""How batches reach the training step: drawn on the device from a resident set, or streamed from the host."""

from collections.abc import Iterator

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

    A context whose value is an iterator of (images uint8 [K, B, H, W, C], labels int32 [K, B]).
    """

    def __init__(
        self, image_set: ImageSet, seed: int, batch_size: int, iterations_per_call: int, *, first_iteration: int = 0
    ):
        """Starts at `first_iteration`, K = `iterations_per_call` iterations at a time."""

        def read(call: int) -> tuple[np.ndarray, np.ndarray]:
            first = first_iteration + call * iterations_per_call
            rows = batch_indices(seed, first, iterations_per_call, batch_size, len(image_set.images))
            return image_set.images[rows], image_set.labels[rows]

        self._read = read

    def __enter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        import grain.python as grain

        options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=BUFFERED_CALLS)
        self._iterator = iter(grain.MapDataset.range(ENDLESS).map(self._read).to_iter_dataset(options))
        return self._iterator

    def __exit__(self, *exception: object) -> None:
        self._iterator.close()
