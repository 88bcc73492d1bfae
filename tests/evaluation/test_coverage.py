"""The figure of coverage: pairs in order, the rule, and the names of what is not covered."""

import numpy as np

from fastgan_jax.evaluation.coverage import COLUMNS, MOST_SHOWN, coverage_grid, coverage_report
from fastgan_jax.metrics.precision_recall import Nearest

NEAREST = Nearest(
    np.array([1, 0, 1]), np.array([1.5, 0.5, 2.0]), np.array([False, True, False]), np.array([True, True, False])
)


def test_the_report_names_what_is_not_covered_the_farthest_first():
    report = coverage_report(NEAREST, ["a", "b", "c"])
    assert report["covered"] == 1 and report["uncovered"] == ["c", "a"] and "5th nearest" in report["rule"]
    assert report["nearest_of_samples"] == 2


def test_pairs_stand_in_order_of_distance():
    real, samples = (
        np.full((3, 8, 8, 3), np.arange(3)[:, None, None, None] * 10 + first, np.uint8) for first in (0, 100)
    )
    grid = coverage_grid(real, samples, NEAREST, "title")
    columns = grid[:16:8, 4::10, 0][:, :3].T.tolist()
    assert columns == [[10, 100], [0, 110], [20, 110]]


def test_of_many_images_some_are_shown():
    count = 5 * MOST_SHOWN
    many = Nearest(np.zeros(count, int), np.linspace(0, 2, count), *np.zeros((2, count), bool))
    gray = np.zeros((count, 16, 16, 1), np.uint8)
    grid = coverage_grid(gray, gray, many, "a title as long as it needs to be")
    assert grid.shape[1] == COLUMNS * 18 - 2 and grid.shape[0] > MOST_SHOWN / COLUMNS * 32
