"""The training images nearest to samples (paper, appendix E and table 8): has the generator memorized them?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.diagnosis import MEMORIZED, baselines, diagnose, is_copy, to_line
from fastgan_jax.metrics.perceptual import compared_rows, mirror, real_nearness, searched_of
from fastgan_jax.pretrained.networks import PerceptualDistance
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.grids import captioned, image_grid

AT_ONCE = 256  # training images per step of the progress bar


@dataclass(frozen=True)
class Neighbors:
    """The nearest training images of each of M images, nearest first.

    Attributes:
        rows: of the training set, int [M, k].
        distances: float32 [M, k].
        mirrored: whether it is the neighbor's mirror image that is so near, bool [M, k].
        among_searched: distance of each image from the nearest of `searched_of` the set, float32 [M].
    """

    rows: np.ndarray
    distances: np.ndarray
    mirrored: np.ndarray
    among_searched: np.ndarray


def nearest_neighbors(
    distance: PerceptualDistance, images: np.ndarray, real: np.ndarray, count: int, *, mirrored: bool
) -> Neighbors:
    """Searches the whole training set; of equally near images, the first comes first.

    Args:
        distance: perceptual.
        images: uint8 [M, H, W, C].
        real: the training set, uint8 [N, H, W, C].
        count: neighbors of each image, k.
        mirrored: whether to search the mirror images too, which a generator trained with data.flip has seen as well.

    Raises:
        UserError: if there are fewer than `count` training images.
    """
    if not 1 <= count <= len(real):
        raise UserError(f"neighbors={count}: must be from 1 to {len(real)}, the number of training images")
    queries = (images, mirror(images)) if mirrored else (images,)
    parts = [
        np.stack([distance.matrix(query, np.asarray(real[start : start + AT_ONCE])) for query in queries])
        for start in Progress(range(0, len(real), AT_ONCE), title="searching")
    ]
    both = np.concatenate(parts, axis=2)  # [queries, M, N]
    distances, nearer = both.min(0), both.argmin(0) == 1
    rows = np.argsort(distances, axis=1, kind="stable")[:, :count]
    found = (np.take_along_axis(values, rows, axis=1) for values in (distances, nearer))
    return Neighbors(rows, *found, searched_of(distances.T).min(0))


def neighbor_report(
    distance: PerceptualDistance, real: np.ndarray, neighbors: Neighbors, names: Sequence[str], *, mirrored: bool
) -> dict[str, Any]:
    """The numbers of table 8 of the paper, for JSON.

    Args:
        distance: perceptual.
        real: the training set, uint8 [N, H, W, C].
        neighbors: of the samples.
        names: of the training images.
        mirrored: as for `nearest_neighbors`.

    Returns:
        "measure": what the distance is called; "num_real": N; "mirrored"; "searched", "compared": how many training
        images the means over training images are taken from; "means": those of `real_nearness`, and of samples
        "nearest" in the whole set and "nearest_searched" among the searched ones; "samples": of each, its index and its
        neighbors' names, distances and whether they are mirrored, nearest first; "warnings": in words.
    """
    searched = len(searched_of(real))
    means = {
        "nearest": float(neighbors.distances[:, 0].mean()),
        "nearest_searched": float(neighbors.among_searched.mean()),
        **real_nearness(distance, real, mirrored=mirrored),
    }
    means = {name: value if math.isfinite(value) else None for name, value in means.items()}
    samples = []
    columns = (neighbors.rows, neighbors.distances, neighbors.mirrored)
    for index, each in enumerate(zip(*columns, strict=True)):
        found = [
            {"name": names[row], "distance": float(value), "mirrored": bool(across)}
            for row, value, across in zip(*each, strict=True)
        ]
        samples.append({"index": index, "neighbours": found})
    # Among the same images as were searched for the real images that the samples are compared with.
    evaluation = to_line({"step": 0} | means | {"nearest": means["nearest_searched"]})
    return {
        "measure": distance.measure,
        "num_real": len(real),
        "mirrored": mirrored,
        "searched": searched,
        "compared": len(compared_rows(searched)),
        "means": means,
        "samples": samples,
        "warnings": diagnose([evaluation], "fid", mirrored=mirrored),
    }


def table(report: dict[str, Any]) -> str:
    """A report of `neighbor_report` as lines of text; * marks what is near enough to be a copy."""
    means = report["means"]
    usual = baselines(means, report["mirrored"]).values()
    among = " and their mirror images" if report["mirrored"] else ""
    lines = [
        f"{report['measure']}, nearest of {report['num_real']} training images{among}",
        "sample  distance   image",
    ]
    for sample in report["samples"]:
        for rank, found in enumerate(sample["neighbours"]):
            label = "" if rank else sample["index"]
            mark = "*" if is_copy(found["distance"], usual) else " "
            note = " (mirrored)" if found["mirrored"] else ""
            lines.append(f"{label:>6}  {found['distance']:8.4f}{mark}  {found['name']}{note}")
    searched, compared = report["searched"], report["compared"]
    described = {
        "nearest": "a sample from its nearest training image",
        "nearest_searched": f"a sample from its nearest of {searched} of them",
        "nearest_real": f"a training image from its nearest other ({compared} among {searched})",
        "nearest_flipped": f"a training image from itself mirrored ({compared})",
        "nearest_cropped": f"a training image from its central 0.8 crop ({compared})",
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
            f"* far nearer than training images are to each other{'' if report['mirrored'] else ', mirrored'} and "
            f"cropped (below {MEMORIZED} of the least of these): {marked} of {len(report['samples'])} samples"
        )
    return "\n".join([*lines, *report["warnings"]])


def neighbor_grid(images: np.ndarray, real: np.ndarray, neighbors: Neighbors) -> np.ndarray:
    """One row for each sample: it with its index, then its neighbors with their distances, nearest first.

    A neighbor whose mirror image is the nearer one is shown mirrored.

    Args:
        images: samples, uint8 [M, H, W, C].
        real: the training set, uint8 [N, H, W, C].
        neighbors: of the samples, k each.

    Returns:
        uint8 [H', W', C], of k + 1 columns.
    """
    tiles = []
    for index, image in enumerate(images):
        tiles.append(captioned(image, f"sample {index}"))
        columns = (neighbors.rows[index], neighbors.distances[index], neighbors.mirrored[index])
        for row, value, across in zip(*columns, strict=True):
            near = np.asarray(real[row : row + 1])
            tile, note = (mirror(near), " mirrored") if across else (near, "")
            tiles.append(captioned(tile[0], f"{value:.3f}{note}"))
    height = max(len(tile) for tile in tiles)  # that of a caption depends on its letters
    padded = [np.pad(tile, ((0, height - len(tile)), (0, 0), (0, 0)), constant_values=255) for tile in tiles]
    return image_grid(np.stack(padded), columns=1 + neighbors.rows.shape[1])
