"""Precision, recall, density and coverage against loops over pairs, duplicates included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan_jax.errors import UserError
from fastgan_jax.metrics import precision_recall as module
from fastgan_jax.metrics.precision_recall import density_coverage, nearest_fakes, precision_recall


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[np.sqrt(((x - y) ** 2).sum()) for y in b] for x in a])


def radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance to the k-th nearest other point."""
    return np.array([sorted(np.delete(row, i))[k - 1] for i, row in enumerate(distances(points, points))])


def plain_precision_recall(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    between = distances(real, fake)
    real_radii, fake_radii = radii(real, k), radii(fake, k)
    precise = [any(between[i, j] <= real_radii[i] for i in range(len(real))) for j in range(len(fake))]
    recalled = [any(between[i, j] <= fake_radii[j] for j in range(len(fake))) for i in range(len(real))]
    return {"precision": float(np.mean(precise)), "recall": float(np.mean(recalled))}


def plain_density_coverage(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    inside = distances(real, fake) < radii(real, k)[:, None]
    return {"density": float(inside.sum() / (k * len(fake))), "coverage": float(inside.any(1).mean())}


@pytest.fixture(scope="module", params=[5, 1024], autouse=True)
def block(request):
    """Rows of distances at once: what comes of several blocks must be what comes of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", request.param)
        yield


def sets(seed: int, shift: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(31, 5)), random.normal(size=(23, 5)) * 0.9 + shift


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_metrics_agree_with_loops_over_pairs(seed, k):
    real, fake = sets(seed)
    assert precision_recall(real, fake, neighbors=k) == plain_precision_recall(real, fake, k)
    found, wanted = density_coverage(real, fake, neighbors=k), plain_density_coverage(real, fake, k)
    assert found == {"density": pytest.approx(wanted["density"], rel=1e-12), "coverage": wanted["coverage"]}


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), offset=st.sampled_from([0.0, 50.0]), k=st.sampled_from([1, 3]))
def test_ties_and_duplicates_follow_the_rule_and_not_rounding(seed, offset, k):
    """Points of a small grid have many equal distances, exact in small integers, where one rounding would show."""
    random = np.random.default_rng(seed)
    real, fake = (random.integers(0, 3, (count, 2)).astype(float) for count in (12, 9))
    wanted = plain_precision_recall(real, fake, k)
    wanted_density = plain_density_coverage(real, fake, k)
    # an offset and a scale that are no powers of two make rounding decide if nothing else does
    real, fake = real / 3 + offset, fake / 3 + offset
    assert precision_recall(real, fake, neighbors=k) == wanted
    found = density_coverage(real, fake, neighbors=k)
    assert found == {"density": pytest.approx(wanted_density["density"]), "coverage": wanted_density["coverage"]}


def test_defaults_are_those_of_the_papers():
    real, fake = sets(4)
    assert precision_recall(real, fake) == precision_recall(real, fake, neighbors=3)
    assert density_coverage(real, fake) == density_coverage(real, fake, neighbors=5)
    assert density_coverage(real, fake) != density_coverage(real, fake, neighbors=3)


def test_a_set_against_itself_is_perfect():
    real, _ = sets(5)
    assert precision_recall(real, real) == {"precision": 1, "recall": 1}
    assert density_coverage(real, real) == {"density": 1, "coverage": 1}


def test_sets_far_apart_share_nothing():
    real, fake = sets(6)
    assert precision_recall(real, fake + 1000) == {"precision": 0, "recall": 0}
    assert density_coverage(real, fake + 1000) == {"density": 0, "coverage": 0}


def test_copies_of_one_real_image_are_precise_and_recall_little():
    """A collapsed generator: every fake is a copy of a real image, so its own balls have radius 0."""
    real, _ = sets(7)
    assert precision_recall(real, np.repeat(real[:1], 20, 0)) == {"precision": 1, "recall": 1 / len(real)}


def test_results_do_not_depend_on_the_block(monkeypatch):
    real, fake = sets(8)
    wanted = precision_recall(real, fake), density_coverage(real, fake)
    for size in (1, 4, 31, 1000):
        monkeypatch.setattr(module, "BLOCK", size)
        assert (precision_recall(real, fake), density_coverage(real, fake)) == wanted


def test_float32_features_of_usual_size_agree_with_loops():
    """Wide features with a large common mean, as networks give them."""
    random = np.random.default_rng(11)
    real, fake = (np.abs(random.normal(0.4, 0.3, (count, 512))).astype(np.float32) for count in (25, 20))
    wanted = plain_precision_recall(real.astype(float), fake.astype(float), 3)
    assert precision_recall(real, fake) == wanted
    found, wanted = density_coverage(real, fake), plain_density_coverage(real.astype(float), fake.astype(float), 5)
    assert found == {"density": pytest.approx(wanted["density"]), "coverage": wanted["coverage"]}


def test_the_nearest_fake_of_each_real_image():
    real = np.array([[0.0], [1.0], [2.0], [10.0], [12.0]])
    found = nearest_fakes(real, np.array([[11.5], [-1.0], [2.25]]), neighbors=2)  # radii 2, 1, 2, 8, 10
    assert found.rows.tolist() == [1, 2, 2, 0, 0]
    np.testing.assert_allclose(found.distances, [1 / 2, 1.25 / 1, 0.25 / 2, 1.5 / 8, 0.5 / 10])
    assert found.covered.tolist() == [True, False, True, True, True]
    assert found.approached.tolist() == [True, False, True, False, True]  # of -1, 2.25 and 11.5
    real, fake = sets(9)
    assert nearest_fakes(real, fake).covered.mean() == density_coverage(real, fake)["coverage"]
    same = nearest_fakes(np.zeros((7, 2)), np.zeros((3, 2)))  # balls of radius 0 cover nothing
    assert not same.covered.any() and (same.distances == 0).all()


def test_too_few_images_or_neighbors_are_refused():
    real, fake = sets(12)
    with pytest.raises(UserError, match="3 neighbors of each of 3 fake images"):
        precision_recall(real, fake[:3])
    with pytest.raises(UserError, match="5 neighbors of each of 0 real images"):
        density_coverage(real[:0], fake)
    with pytest.raises(UserError, match="0 neighbors of each of 31 real images"):
        density_coverage(real, fake, neighbors=0)
    with pytest.raises(UserError, match="at least 1 fake image"):
        density_coverage(real, fake[:0])
    with pytest.raises(UserError, match="take both from the same network"):
        precision_recall(real, fake[:, :4])
