"""Resident and streamed feeds."""

import numpy as np
import pytest

from fastgan_jax.data import feed as feeding
from fastgan_jax.data.accounting import Accounting
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.feed import feed, is_resident
from fastgan_jax.data.order import batch_indices


@pytest.fixture
def numbered():
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return ImageSet(images, np.arange(7, dtype=np.int32), Accounting("numbers"), "f")


def test_streamed_and_resident_feeds_give_the_same_batches(numbered):
    with feed(numbered, True, 1, 3, 2, 4) as resident, feed(numbered, False, 1, 3, 2, 4) as streamed:
        for call in range(4):
            (all_images, all_labels, rows), (images, labels) = next(resident), next(streamed)
            np.testing.assert_array_equal(rows, batch_indices(1, 4 + 2 * call, 2, 3, 7))
            np.testing.assert_array_equal(labels, all_labels[rows])
            np.testing.assert_array_equal(images, all_images[rows])


def test_residence_by_size_or_by_setting(numbered, monkeypatch):
    assert is_resident(numbered, "auto") and not is_resident(numbered, "false")
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 10)
    assert not is_resident(numbered, "auto") and is_resident(numbered, "true")
