"""The order in which images are seen: without replacement in each epoch, a function of (seed, epoch) alone.

Position p of the run belongs to epoch p // size and is slot p % size of it; iteration i takes the positions from
i * batch to (i + 1) * batch. So the state of the data is the number of iterations, and resuming is exact.
"""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """A permutation int32 [size], by numpy's frozen RandomState: always the same, on every machine."""
    order = np.random.RandomState([seed, epoch]).permutation(size).astype(np.int32)
    order.setflags(write=False)
    return order


def batch_indices(seed: int, first_iteration: int, iterations: int, batch_size: int, size: int) -> np.ndarray:
    """Rows int32 [iterations, batch_size] of a set of `size` images that the iterations from the first one on take.

    A batch that exceeds the set spans epochs.
    """
    positions = np.arange(first_iteration * batch_size, (first_iteration + iterations) * batch_size, dtype=np.int64)
    epochs, slots = positions // size, positions % size
    rows = np.empty(len(positions), np.int32)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        rows[here] = epoch_order(seed, int(epoch), size)[slots[here]]
    return rows.reshape(iterations, batch_size)
