"""Resident and streamed feeds."""

import dataclasses
import os

import numpy as np
import pytest

from configs import base
from fastgan_jax.data import feed as feeding
from fastgan_jax.data.accounting import Accounting, ReadFile
from fastgan_jax.data.cache import mapped
from fastgan_jax.data.dataset import ImageSet, check_tasks
from fastgan_jax.data.feed import feed, is_resident, reader
from fastgan_jax.data.order import batch_indices
from fastgan_jax.errors import UserError


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


def test_a_mapped_set_is_read_from_its_file_and_what_cannot_be_read_is_an_error(tmp_path):
    path, whole = tmp_path / "images.npy", np.random.RandomState(0).randint(0, 256, (5, 8, 8, 3), np.uint8)
    np.save(path, whole)
    rows = np.array([[4, 0], [2, 2]])
    read = reader(mapped(path))
    np.testing.assert_array_equal(read(rows), whole[rows])
    path.rename(tmp_path / "away.npy")
    np.testing.assert_array_equal(read(rows), whole[rows])
    os.truncate(tmp_path / "away.npy", 400)
    with pytest.raises(OSError, match="the cached set is shorter than it was"):
        read(rows)


def test_facts_take_the_place_of_labels():
    images = np.zeros((3, 2, 2, 3), np.uint8)
    files = [ReadFile(str(width), width, 8, "RGB") for width in (8, 16, 4)]
    known = ImageSet(images, np.array([0, 1, 1], np.int32), Accounting("three", files), "f")
    with feed(known, True, 1, 2, 1, facts=True) as resident, feed(known, False, 1, 2, 1, facts=True) as streamed:
        (_, everything, rows), (_, facts) = next(resident), next(streamed)
    np.testing.assert_allclose(everything.log_aspect, np.log([1, 2, 0.5]), rtol=1e-6)
    assert everything.instance.tolist() == [0, 1, 2] and everything.label.tolist() == [0, 1, 1]
    for name in facts._fields:
        np.testing.assert_array_equal(getattr(facts, name), getattr(everything, name)[rows])
    model = base.get_config().model
    model.update(num_instances=3, self_supervision="contrastive,aspect")
    check_tasks(model, known)
    with pytest.raises(UserError, match="self_supervision=contrastive,aspect: all images have the same aspect"):
        check_tasks(model, dataclasses.replace(known, files=Accounting("three", files[:1] * 3)))
    model.num_instances = 4
    with pytest.raises(UserError, match=r"model.num_instances=4: the set has 3 images; set 3"):
        check_tasks(model, known)
    assert known.of_class(1).labels.tolist() == [1, 1] and known.of_class(1).names == ["16", "4"]


def test_residence_by_size_or_by_setting(numbered, monkeypatch):
    assert is_resident(numbered, "auto") and not is_resident(numbered, "false")
    monkeypatch.setattr(feeding, "RESIDENT_BYTES", 10)
    assert not is_resident(numbered, "auto") and is_resident(numbered, "true")
