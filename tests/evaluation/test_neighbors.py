"""Nearest training images: a copy finds its original, the order is that of distances, and what is a copy is marked."""

import json
import re

import numpy as np
import pytest
from random_networks import cache_random_squeezenet

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation import neighbors
from fastgan_jax.inference.restore import load_training_set
from fastgan_jax.metrics import perceptual
from fastgan_jax.metrics.perceptual import mean_nearest, real_nearness
from fastgan_jax.pretrained.networks import PerceptualDistance, load_perceptual


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder with a random SqueezeNet as the only weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        cache_random_squeezenet()
        yield


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return PerceptualDistance("squeeze_caffe", load_perceptual("squeeze_caffe"))


@pytest.fixture(scope="module")
def config(smoke_run):
    return fastgan_jax.load(smoke_run).config


@pytest.fixture(scope="module")
def real(smoke_run, config) -> np.ndarray:
    """The demo images that the smoke run is trained on, uint8 [20, 64, 64, 3]."""
    return load_training_set(smoke_run, config).images


@pytest.fixture(scope="module")
def noise(real) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (3, *real.shape[1:])).astype(np.uint8)


def test_a_training_image_is_nearest_to_itself(distance, real):
    found = neighbors.nearest_neighbors(distance, real[[7, 2]], real, 3, mirrored=False)
    assert found.rows[:, 0].tolist() == [7, 2]
    np.testing.assert_array_equal(found.distances[:, 0], 0)
    assert (found.distances[:, 1:] > 0).all()


def test_neighbors_are_the_least_of_all_distances_in_order(distance, real, noise, monkeypatch):
    monkeypatch.setattr(neighbors, "AT_ONCE", 7)  # so that the set is searched in parts
    found = neighbors.nearest_neighbors(distance, noise, real, 4, mirrored=False)
    for image, rows, distances in zip(noise, found.rows, found.distances, strict=True):
        every = distance.pairs(np.repeat(image[None], len(real), axis=0), np.asarray(real))
        assert rows.tolist() == np.argsort(every, kind="stable")[:4].tolist()
        np.testing.assert_allclose(distances, np.sort(every)[:4], rtol=1e-4)
        assert (np.diff(distances) >= 0).all()


def test_of_equal_images_the_first_comes_first(distance, real):
    doubled = np.concatenate([real[3:4], real[:4]])
    assert neighbors.nearest_neighbors(distance, real[3:4], doubled, 2, mirrored=False).rows.tolist() == [[0, 4]]


@pytest.mark.parametrize("count", [0, 21])
def test_more_neighbors_than_images_are_refused(distance, real, count):
    with pytest.raises(UserError, match=f"neighbors={count}: must be from 1 to 20"):
        neighbors.nearest_neighbors(distance, real[:1], real, count, mirrored=False)


def report_of(distance, images, real, count=1, mirrored=False, **options):
    found = neighbors.nearest_neighbors(distance, images, real, count, mirrored=mirrored)
    names = [f"{i}.png" for i in range(len(real))]
    return neighbors.neighbor_report(distance, real, found, names, mirrored=mirrored, **options)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_report_has_the_means_of_the_evaluation(distance, real, noise, mirrored):
    report = report_of(distance, noise, real, 2, mirrored)
    assert real_nearness(distance, real, mirrored=mirrored).items() <= report["means"].items()
    expected = mean_nearest(distance, noise, real, mirrored=mirrored)
    assert report["means"]["nearest"] == pytest.approx(expected, rel=1e-6)
    assert report["means"]["nearest_searched"] == pytest.approx(expected, rel=1e-6)
    assert [sample["index"] for sample in report["samples"]] == [0, 1, 2]
    assert all(len(sample["neighbours"]) == 2 for sample in report["samples"])
    assert not report["warnings"] and "*" not in neighbors.table(report)
    json.dumps(report, allow_nan=False)


def test_copies_are_marked_and_warned_of(distance, real, noise):
    report = report_of(distance, np.concatenate([real[4:6], noise[:1]]), real)
    lines = neighbors.table(report).splitlines()
    assert [line for line in lines if re.search(r"0\.0000\* +[45]\.png$", line)] == lines[2:4]
    assert lines[-1].startswith("* far nearer than training images") and lines[-1].endswith("2 of 3 samples")
    warned = report_of(distance, real[4:6], real)
    (warning,) = warned["warnings"]
    assert warning.startswith("memorization: ") and neighbors.table(warned).endswith(warning)
    others = report_of(distance, real[4:6], real, trained_on=False)
    assert not others["warnings"] and not {"*", "training"} & {*re.findall(r"\*|training", neighbors.table(others))}


def test_mirrored_copies_are_marked_where_training_mirrors(distance, real):
    images = real[4:6, :, ::-1]
    assert report_of(distance, images, real)["means"]["nearest"] > 0
    report = report_of(distance, images, real, 2, mirrored=True)
    assert report["means"]["nearest"] == 0
    assert [sample["neighbours"][0]["mirrored"] for sample in report["samples"]] == [True, True]
    lines = neighbors.table(report).splitlines()
    assert len([line for line in lines if re.search(r"0\.0000\* +[45]\.png \(mirrored\)$", line)]) == 2
    (warning,) = report["warnings"]
    assert warning.startswith("memorization: ") and lines[-1] == warning
    found = neighbors.nearest_neighbors(distance, images, real, 1, mirrored=True)
    grid = neighbors.neighbor_grid(images, real, found)
    np.testing.assert_array_equal(grid[:64, 66:], images[0])


def test_samples_and_real_images_are_judged_among_the_same(distance, real, monkeypatch):
    """A copy that only the whole set holds says nothing about the mean among the images that are searched."""
    monkeypatch.setattr(perceptual, "MOST_SEARCHED", 10)  # every second one
    monkeypatch.setattr(PerceptualDistance, "matrix", counted := Counted(PerceptualDistance.matrix))
    report = report_of(distance, real[[1, 3]], real)
    assert counted.calls == 2  # samples with all, real images among each other
    assert report["means"]["nearest"] == 0 < report["means"]["nearest_searched"] and not report["warnings"]


class Counted:
    """A method that counts its calls."""

    def __init__(self, method):
        self.method, self.calls = method, 0

    def __get__(self, instance, owner):
        def call(*arguments):
            self.calls += 1
            return self.method(instance, *arguments)

        return call


def test_a_set_of_one_image(distance, real, noise):
    report = report_of(distance, noise, real[:1])
    assert report["means"]["nearest_real"] is None
    json.dumps(report, allow_nan=False)
    assert " -   a training image from its nearest other (1 among 1)" in neighbors.table(report)


def test_where_a_part_was_searched_both_means_are_told(distance, real, noise):
    report = report_of(distance, noise, real)
    assert "of them" not in neighbors.table(report)
    assert "nearest of 12 of them" in neighbors.table(report | {"searched": 12})


def test_the_grid_shows_sample_and_neighbors(distance, real, noise):
    found = neighbors.nearest_neighbors(distance, noise, real, 2, mirrored=False)
    grid = neighbors.neighbor_grid(noise, real, found)
    assert grid.shape[1] == 3 * 64 + 2 * 2
    height = (len(grid) + 2) // 3
    assert len(grid) == 3 * height - 2 and height > 64 + 8  # with captions
    for index in range(3):
        row = grid[index * height :]
        np.testing.assert_array_equal(row[:64, :64], noise[index])
        for column, near in enumerate(found.rows[index], 1):
            np.testing.assert_array_equal(row[:64, column * 66 : column * 66 + 64], real[near])
        assert (row[64 : height - 2, :64] < 128).any()  # the caption
