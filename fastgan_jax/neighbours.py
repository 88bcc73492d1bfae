"""The training pictures nearest to samples (paper, appendix E and table 8): has the generator learned them by heart?"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgan_jax.comparison import PictureDistance, compared_rows, mean_nearest, real_nearness, searched_of
from fastgan_jax.diagnosis import MEMORISED, PREFIX, diagnose, is_copy
from fastgan_jax.errors import UserError
from fastgan_jax.metrics.names import METRICS
from fastgan_jax.writers import captioned, image_grid

AT_ONCE = 256  # training pictures between two steps of a progress bar
BASELINES = METRICS["nearest"][1:]  # means over training pictures alone


@dataclass(frozen=True)
class Neighbours:
    """The nearest training pictures of each of M pictures, nearest first.

    Attributes:
        rows: of the training set, int [M, k].
        distances: float32 [M, k].
    """

    rows: np.ndarray
    distances: np.ndarray


def nearest_neighbours(
    distance: PictureDistance,
    pictures: np.ndarray,
    real: np.ndarray,
    count: int,
    show: Callable[[Sequence], Iterable] = iter,
) -> Neighbours:
    """Searches the whole training set; of equally near pictures, the first comes first.

    Args:
        distance: perceptual.
        pictures: uint8 [M, H, W, C].
        real: the training set, uint8 [N, H, W, C].
        count: neighbours of each picture, k.
        show: wraps the parts of the search in a progress bar.

    Raises:
        UserError: if there are fewer than `count` training pictures.
    """
    if not 1 <= count <= len(real):
        raise UserError(f"neighbours={count}: the training set has {len(real)} pictures; give 1 to {len(real)}")
    starts = range(0, len(real), AT_ONCE)
    parts = [distance.matrix(pictures, np.asarray(real[start : start + AT_ONCE])) for start in show(starts)]
    distances = np.concatenate(parts, axis=1)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return Neighbours(rows, np.take_along_axis(distances, rows, axis=1))


def neighbour_report(
    distance: PictureDistance, pictures: np.ndarray, real: np.ndarray, neighbours: Neighbours, names: Sequence[str]
) -> dict[str, Any]:
    """What table 8 of the paper tells, for JSON.

    Args:
        distance: perceptual.
        pictures: samples, uint8 [M, H, W, C].
        real: the training set, uint8 [N, H, W, C].
        neighbours: of the samples.
        names: of the training pictures.

    Returns:
        "measure": what the distance is called; "num_real": N; "searched", "compared": how many training pictures the
        means over training pictures are taken from; "means": those of `real_nearness`, and of samples "nearest" in the
        whole set and "nearest_searched" among the searched ones; "samples": of each, its index and its neighbours'
        names and distances, nearest first; "warnings": in words.
    """
    searched = len(searched_of(real))
    means = {
        "nearest": float(neighbours.distances[:, 0].mean()),
        "nearest_searched": mean_nearest(distance, pictures, real),
        **real_nearness(distance, real),
    }
    means = {name: value if math.isfinite(value) else None for name, value in means.items()}
    samples = []
    for index, (rows, distances) in enumerate(zip(neighbours.rows, neighbours.distances, strict=True)):
        found = [{"name": names[row], "distance": float(d)} for row, d in zip(rows, distances, strict=True)]
        samples.append({"index": index, "neighbours": found})
    evaluation = {"step": 0} | {f"{PREFIX}{name}": value for name, value in means.items()}
    return {
        "measure": distance.measure,
        "num_real": len(real),
        "searched": searched,
        "compared": len(compared_rows(searched)),
        "means": means,
        "samples": samples,
        "warnings": diagnose([evaluation], "fid"),
    }


def table(report: dict[str, Any]) -> str:
    """A report of `neighbour_report` as lines of text; * marks what is near enough to be a copy."""
    means = report["means"]
    usual = [means[name] for name in BASELINES if means[name] is not None]
    lines = [f"{report['measure']}, nearest of {report['num_real']} training pictures", "sample  distance   picture"]
    for sample in report["samples"]:
        for rank, found in enumerate(sample["neighbours"]):
            label = "" if rank else sample["index"]
            mark = "*" if is_copy(found["distance"], usual) else " "
            lines.append(f"{label:>6}  {found['distance']:8.4f}{mark}  {found['name']}")
    searched, compared = report["searched"], report["compared"]
    described = {
        "nearest": "a sample from its nearest training picture",
        "nearest_searched": f"a sample from its nearest of {searched} of them",
        "nearest_real": f"a training picture from its nearest other ({compared} among {searched})",
        "nearest_flipped": f"a training picture from itself mirrored ({compared})",
        "nearest_cropped": f"a training picture from its central 0.8 crop ({compared})",
    }
    if searched == report["num_real"]:
        del described["nearest_searched"]
    lines.append("mean distance of")
    for name, text in described.items():
        value = "-" if means[name] is None else f"{means[name]:.4f}"
        lines.append(f"{'':6}  {value:>8}   {text}")
    marked = sum(is_copy(sample["neighbours"][0]["distance"], usual) for sample in report["samples"])
    if marked:
        lines.append(
            f"* far nearer than training pictures are to each other, mirrored and cropped (below {MEMORISED} of the "
            f"least of these): {marked} of {len(report['samples'])} samples"
        )
    return "\n".join([*lines, *report["warnings"]])


def neighbour_grid(pictures: np.ndarray, real: np.ndarray, neighbours: Neighbours) -> np.ndarray:
    """One row for each sample: the sample with its index, then its neighbours with their distances, nearest first.

    Args:
        pictures: samples, uint8 [M, H, W, C].
        real: the training set, uint8 [N, H, W, C].
        neighbours: of the samples, k each.

    Returns:
        uint8 [H', W', C], of k + 1 columns.
    """
    tiles = []
    for index, picture in enumerate(pictures):
        tiles.append(captioned(picture, f"sample {index}"))
        for row, value in zip(neighbours.rows[index], neighbours.distances[index], strict=True):
            tiles.append(captioned(np.asarray(real[row]), f"{value:.3f}"))
    height = max(len(tile) for tile in tiles)  # that of a caption depends on its letters
    padded = [np.pad(tile, ((0, height - len(tile)), (0, 0), (0, 0)), constant_values=255) for tile in tiles]
    return image_grid(np.stack(padded), columns=1 + neighbours.rows.shape[1])
