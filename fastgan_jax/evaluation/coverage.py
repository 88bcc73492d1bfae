"""Which real images have a sample near them (Naeem et al., 2020): a figure, and the names of those that have none."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgan_jax.metrics.precision_recall import Nearest
from fastgan_jax.utils.grids import captioned, equally_high, image_grid
from fastgan_jax.utils.images import evenly_spread, rgb

MOST_SHOWN, COLUMNS = 48, 12
RULE = "nearer than its 5th nearest other real image"


def coverage_report(nearest: Nearest, names: Sequence[str]) -> dict[str, Any]:
    """For JSON: how many real images are covered, by which rule, and the names of the others, farthest first.

    Also how many are the nearest of any sample: a spread that is seen where samples are still too far to cover any.
    """
    order = np.argsort(-nearest.distances, kind="stable")
    uncovered = [names[row] for row in order if not nearest.covered[row]]
    counts = {"covered": int(nearest.covered.sum()), "nearest_of_samples": int(nearest.approached.sum())}
    return {"rule": f"covered: a sample is {RULE}", **counts, "uncovered": uncovered}


def coverage_grid(real: Any, samples: Any, nearest: Nearest, title: str) -> np.ndarray:
    """Real images above their nearest samples, from the nearest pair to the farthest: uint8 [H', W', 3].

    Of more than MOST_SHOWN images, so many are shown, evenly spread. Below each pair stands its distance in units of
    the distance of the real image from its 5th nearest other: covered below 1.

    Args:
        real, samples: sequences of images, uint8 [N, H, W, C] and [M, H, W, C], of which single ones are read.
        nearest: of the features of both.
        title: the line below all.
    """
    order = np.argsort(nearest.distances, kind="stable")
    chosen = order[evenly_spread(len(order), MOST_SHOWN)]
    tiles = []
    for row in chosen.tolist():
        sample = int(nearest.rows[row])
        pair = rgb(np.concatenate([np.asarray(real[row]), np.asarray(samples[sample : sample + 1])[0]]))
        tiles.append(captioned(pair, f"{nearest.distances[row]:.2f}{'' if nearest.covered[row] else ' far'}"))
    return captioned(image_grid(equally_high(tiles), columns=COLUMNS), title)
