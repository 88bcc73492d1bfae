"""Resident and streamed feeds."""

import numpy as np
import pytest

from fastgan_jax.data import feed
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.feed import ResidentFeed, StreamedFeed, is_resident


@pytest.fixture
def numbered():
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return ImageSet(images, np.arange(7, dtype=np.int32), [str(i) for i in range(7)], [], "f")


def test_streamed_and_resident_feeds_give_the_same_batches(numbered):
    resident = ResidentFeed(numbered, seed=1, batch_size=3)
    with StreamedFeed(numbered, 1, 3, 2, first_iteration=4) as streamed:
        for call in range(4):
            images, labels = next(streamed)
            rows = resident.indices(4 + 2 * call, 2)
            np.testing.assert_array_equal(labels, rows)
            np.testing.assert_array_equal(images[..., 0, 0, 0], rows)


def test_residence_by_size_or_by_setting(numbered, monkeypatch):
    assert is_resident(numbered, "auto") and not is_resident(numbered, "false")
    monkeypatch.setattr(feed, "RESIDENT_BYTES", 10)
    assert not is_resident(numbered, "auto") and is_resident(numbered, "true")
