"""The training images nearest to samples (paper, appendix E and table 8): has the generator memorized them?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.diagnosis import MEMORIZED, baselines, diagnose, is_copy
from fastgan_jax.metrics.perceptual import compared_rows, mirror, real_nearness, searched_of
from fastgan_jax.pretrained.networks import PerceptualDistance
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.grids import captioned, equally_high, image_grid

AT_ONCE = 256  # training images per step of the progress bar


@dataclass(frozen=True)
class Neighbors:
    """The nearest training images of each of M images, nearest first."""

    rows: np.ndarray  # of the training set, int [M, k]
    distances: np.ndarray  # float32 [M, k]
    mirrored: np.ndarray  # whether it is the neighbor's mirror image that is so near, bool [M, k]
    among_searched: np.ndarray  # distance of each image from the nearest of `searched_of` the set, float32 [M]

    def of_each(self) -> Iterator[list[tuple[int, float, bool]]]:
        """The neighbors of each image as (row, distance, mirrored)."""
        for columns in zip(self.rows.tolist(), self.distances.tolist(), self.mirrored.tolist(), strict=True):
            yield list(zip(*columns, strict=True))


def nearest_neighbors(
    distance: PerceptualDistance, images: np.ndarray, real: np.ndarray, count: int, *, mirrored: bool
) -> Neighbors:
    """The `count` training images nearest to each of M images, both uint8 [N, H, W, C]; of equally near, the first one.

    `mirrored`: whether to search the mirror images too, which a generator trained with data.flip has seen as well.

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
    distance: PerceptualDistance,
    real: np.ndarray,
    neighbors: Neighbors,
    names: Sequence[str],
    *,
    mirrored: bool,
    trained_on: bool = True,
) -> dict[str, Any]:
    """The numbers of table 8 of the paper, for JSON, from samples' neighbors among real images [N, H, W, C].

    These are the training set, or, unless the run was `trained_on` them, others, near to which a sample is no copy.

    Returns:
        "measure": what the distance is called; "num_real": N; "trained_on", "mirrored"; "searched", "compared": how
        many real images the means over real images are taken from; "means": those of `real_nearness`, and of samples
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
    for index, found in enumerate(neighbors.of_each()):
        near = [{"name": names[row], "distance": value, "mirrored": across} for row, value, across in found]
        samples.append({"index": index, "neighbours": near})
    # Among the same images as were searched for the real images that the samples are compared with.
    evaluation = means | {"nearest": means["nearest_searched"]}
    return {
        "measure": distance.measure,
        "num_real": len(real),
        "trained_on": trained_on,
        "mirrored": mirrored,
        "searched": searched,
        "compared": len(compared_rows(searched)),
        "means": means,
        "samples": samples,
        "warnings": diagnose([evaluation], "fid", mirrored=mirrored, trained_on=trained_on),
    }


def table(report: dict[str, Any]) -> str:
    """A report of `neighbor_report` as lines of text; * marks what is near enough to be a copy."""
    means, mirrored, num_real = report["means"], report["mirrored"], report["num_real"]
    searched, compared = report["searched"], report["compared"]
    usual = baselines(means, mirrored).values()
    among = " and their mirror images" if mirrored else ""
    kind = "training" if report["trained_on"] else "real"
    lines = [f"{report['measure']}, nearest of {num_real} {kind} images{among}", "sample  distance   image"]
    marked = 0
    for sample in report["samples"]:
        for rank, found in enumerate(sample["neighbours"]):
            copy = report["trained_on"] and is_copy(found["distance"], usual)
            marked += copy and rank == 0
            note = " (mirrored)" if found["mirrored"] else ""
            label, mark = "" if rank else sample["index"], "*" if copy else " "
            lines.append(f"{label:>6}  {found['distance']:8.4f}{mark}  {found['name']}{note}")
    described = {
        "nearest": f"a sample from its nearest {kind} image",
        "nearest_searched": f"a sample from its nearest of {searched} of them",
        "nearest_real": f"a {kind} image from its nearest other ({compared} among {searched})",
        "nearest_flipped": f"a {kind} image from itself mirrored ({compared})",
        "nearest_cropped": f"a {kind} image from its central 0.8 crop ({compared})",
    }
    if searched == num_real:
        del described["nearest_searched"]
    lines.append("mean distance of")
    for name, text in described.items():
        value = "-" if means[name] is None else f"{means[name]:.4f}"
        lines.append(f"{'':6}  {value:>8}   {text}")
    if marked:
        lines.append(
            f"* far nearer than training images are to each other{'' if mirrored else ', mirrored'} and cropped (below "
            f"{MEMORIZED} of the least of these): {marked} of {len(report['samples'])} samples"
        )
    return "\n".join([*lines, *report["warnings"]])


def neighbor_grid(images: np.ndarray, real: np.ndarray, neighbors: Neighbors) -> np.ndarray:
    """One row for each sample: it with its index, then its k neighbors with their distances: uint8 [H', W', C].

    A neighbor whose mirror image is the nearer one is shown mirrored. `images` are the samples, uint8 [M, H, W, C],
    `real` the training set, uint8 [N, H, W, C].
    """
    tiles = []
    for index, found in enumerate(neighbors.of_each()):
        tiles.append(captioned(images[index], f"sample {index}"))
        for row, value, across in found:
            near = np.asarray(real[row : row + 1])
            tile, note = (mirror(near), " mirrored") if across else (near, "")
            tiles.append(captioned(tile[0], f"{value:.3f}{note}"))
    return image_grid(equally_high(tiles), columns=1 + neighbors.rows.shape[1])
