"""The order in which images are seen."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan_jax.data.order import batch_indices, epoch_order

sizes = st.integers(1, 40)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), sizes)
def test_each_epoch_is_a_permutation(seed, epoch, size):
    assert sorted(epoch_order(seed, epoch, size)) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(sizes, st.integers(1, 12), st.integers(0, 20), st.integers(1, 9))
def test_batches_run_through_the_epochs_and_resume_anywhere(size, batch, first, iterations):
    whole = batch_indices(3, 0, first + iterations, batch, size)
    np.testing.assert_array_equal(batch_indices(3, first, iterations, batch, size), whole[first:])
    flat = whole.ravel()
    for epoch in range(len(flat) // size):
        np.testing.assert_array_equal(flat[epoch * size : (epoch + 1) * size], epoch_order(3, epoch, size))


def test_order_is_frozen():
    assert epoch_order(0, 0, 10).tolist() == [3, 7, 6, 4, 1, 0, 2, 8, 5, 9]  # may never change
    assert not np.array_equal(epoch_order(0, 0, 10), epoch_order(0, 1, 10))
