"""Metrics from nearest neighbors among features: precision and recall, density and coverage.

Distances are Euclidean, in float64 on the device, a block of rows at a time; features are centered on the real mean
first, which changes no distance and keeps digits. Squared distances that differ by less than `TIE` times the largest
squared norm count as equal, so that the stated rule decides about duplicates, never rounding, whatever the block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.features import Array, as_pair

TIE = 1e-11  # rounding is below 1e-13; features of different images differ by 1e-4 and more
BLOCK = 1024  # rows of distances held at once; 41 MB against 5,000 images


def precision_recall(real: Array, fake: Array, neighbors: int = 3) -> dict[str, float]:
    """Improved precision and recall of features [N, D] and [M, D] (Kynkäänniemi et al., 2019, equations 1 and 2).

    An image lies on the manifold of a set if it is within the closed ball around any member that reaches to that
    member's k-th nearest other member (`neighbors`). A duplicate of the member is another member, at distance 0.

    Returns:
        "precision", the share of fakes on the real manifold, and "recall", the share of real images on the fakes'.

    Raises:
        UserError: if features do not fit together, or a set does not have k other members.
    """
    real, fake, tie = _prepare(real, fake)
    real_radii, fake_radii = _radii("real", real, neighbors), _radii("fake", fake, neighbors)
    precise, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, distances in squared_distances(fake, real):
        precise[rows] = (distances <= real_radii[None] + tie).any(1)
        recalled |= (distances <= fake_radii[rows, None] + tie).any(0)
    return {"precision": float(precise.mean()), "recall": float(recalled.mean())}


def density_coverage(real: Array, fake: Array, neighbors: int = 5) -> dict[str, float]:
    """Density and coverage of features [N, D] and [M, D] (Naeem et al., 2020, section 3).

    The balls around real images reach to the k-th nearest other real image (`neighbors`) and are open, as in the
    authors' program: a set without duplicates against itself has density and coverage exactly 1, and a real image with
    k duplicates covers nothing.

    Returns:
        "density", the number of balls that a fake lies in, over k, on average: 1 is expected of a perfect model, more
        is possible; "coverage", the share of balls that hold a fake.

    Raises:
        UserError: if features do not fit together, there is no fake image, or the real set has no more than k.
    """
    real, fake, tie = _prepare(real, fake)
    if not len(fake):
        raise UserError("density and coverage need at least 1 fake image, there is none")
    radii = _radii("real", real, neighbors)
    inside_count, covered = 0, np.zeros(len(real), bool)
    for rows, distances in squared_distances(real, fake):
        inside = distances < radii[rows, None] - tie
        inside_count += int(inside.sum())
        covered[rows] = inside.any(1)
    return {"density": inside_count / (neighbors * len(fake)), "coverage": float(covered.mean())}


class Nearest(NamedTuple):
    """The fake nearest to each of N real images."""

    rows: np.ndarray  # of the fakes, int [N]
    distances: np.ndarray  # in units of the radius of the real image's ball, float64 [N]
    covered: np.ndarray  # whether it lies in that ball, bool [N]
    approached: np.ndarray  # whether the real image is the nearest one of any fake, bool [N]


def nearest_fakes(real: Array, fake: Array, neighbors: int = 5) -> Nearest:
    """Which fake comes nearest to each real image, and how near; arguments and balls as of `density_coverage`."""
    real, fake, tie = _prepare(real, fake)
    radii = _radii("real", real, neighbors)
    rows, nearest = np.empty(len(real), int), np.empty(len(real))
    nearest_real, least = np.zeros(len(fake), int), np.full(len(fake), np.inf)
    for part, distances in squared_distances(real, fake):
        rows[part], nearest[part] = distances.argmin(1), distances.min(1)
        nearest_real = np.where(distances.min(0) < least, part.start + distances.argmin(0), nearest_real)
        least = np.minimum(least, distances.min(0))
    approached = np.isin(np.arange(len(real)), nearest_real)
    relative = np.sqrt(nearest / np.maximum(radii, max(tie, np.finfo(float).tiny)))
    return Nearest(rows, relative, nearest < radii - tie, approached)


def _prepare(real: Array, fake: Array) -> tuple[np.ndarray, np.ndarray, float]:
    """Both sets, checked and centered on the mean of the first, and the difference up to which squares are equal."""
    real, fake = as_pair(real, fake)
    center = real.mean(0) if len(real) else 0.0
    real, fake = real - center, fake - center
    return real, fake, TIE * max((features**2).sum(1).max(initial=0.0) for features in (real, fake))


def _radii(name: str, points: np.ndarray, neighbors: int) -> np.ndarray:
    """Squared distance [N] of each of `points` [N, D] to its k-th nearest other one."""
    if not 1 <= neighbors < len(points):
        raise UserError(
            f"{neighbors} neighbors of each of {len(points)} {name} images: give 1 or more neighbors, and more images "
            "than neighbors"
        )
    radii = np.empty(len(points))
    for rows, distances in squared_distances(points, points):
        distances[np.arange(len(distances)), np.arange(len(points))[rows]] = np.inf  # not a neighbor of itself
        radii[rows] = np.partition(distances, neighbors - 1, axis=1)[:, neighbors - 1]
    return radii


def squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances of all rows of `a` [N, D] to all of `b` [M, D], as (rows, writable float64 [rows, M])."""
    with jax.enable_x64(True):
        references = jnp.asarray(b)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, start + BLOCK)
        # entered anew for each block, so that it does not cover what the caller computes between blocks
        with jax.enable_x64(True):
            distances = np.array(_expanded(a[rows], references))
        yield rows, distances


@jax.jit
def _expanded(a: jax.Array, b: jax.Array) -> jax.Array:
    """|a|^2 + |b|^2 - 2 a . b for all pairs, at least 0."""
    product = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None]
    return jnp.maximum(squares - 2 * product, 0)
