"""The files of a projection: images, a table, and the latents for further use."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.inference.projection import Projection
from fastgan_jax.utils.files import remove_former, replacing, write_json
from fastgan_jax.utils.grids import image_grid, save_png

COMMON_FILES = ("side_by_side.png", "table.json", "projected.npz")
LONGEST_NAME = 120  # bytes; file systems take 255, encrypted ones 143


def projection_paths(folder: Path, files: Sequence[Path]) -> list[Path]:
    """What `write_projection` writes: a PNG for each of the target's files, then the common ones."""
    names = [f"{index:03d}_{_shortened(file.stem)}.png" for index, file in enumerate(files)]
    return [folder / name for name in (*names, *COMMON_FILES)]


def _shortened(name: str) -> str:
    """The first characters of a name, so that with a number and a suffix it is no longer than file systems allow."""
    while len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:-1]
    return name


def write_projection(
    folder: Path, files: Sequence[Path], targets: np.ndarray, projection: Projection, facts: dict[str, Any]
) -> list[dict[str, Any]]:
    """Writes what was found for targets uint8 [N, H, W, C] that come from N files, in place of an earlier projection.

    `facts` say how it was made; they go into the images' metadata and the table. Returns the table's rows:
    {"picture": file, "before", "after": distances, "length": |z| / sqrt(nz)}.
    """
    *paths, side_by_side, table, latents = projection_paths(folder, files)
    former = _former_files(table)
    for path, file, image in zip(paths, files, projection.images, strict=True):
        save_png(path, image, facts | {"target": file.name})
    pairs = np.stack([targets, projection.images], 1).reshape(-1, *targets.shape[1:])
    save_png(side_by_side, image_grid(pairs, 2 * max(1, round((len(files) / 2) ** 0.5))), facts)

    arrays = {"z": projection.z, "names": np.array([str(file) for file in files])}
    if projection.labels is not None:
        arrays["labels"] = np.array(projection.labels)
    with replacing(latents) as temporary:
        np.savez(temporary, noise_seed=projection.noise_seed, **arrays)

    lengths = np.linalg.norm(projection.z, axis=1) / projection.z.shape[1] ** 0.5
    columns = (column.tolist() for column in (projection.start_distances, projection.distances, lengths))
    names = ("picture", "before", "after", "length")
    rows = [dict(zip(names, row, strict=True)) for row in zip(map(str, files), *columns, strict=True)]
    write_json(table, facts | {"measure": projection.measure, "pictures": rows})
    remove_former(projection_paths(folder, former)[: len(former)], paths)
    return rows


def _former_files(table: Path) -> list[Path]:
    """The target's files of an earlier projection by its table; none if there is none, or another file of its name."""
    try:
        return [Path(row["picture"]) for row in json.loads(table.read_text(encoding="utf-8"))["pictures"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def projection_table(rows: Sequence[dict[str, Any]], measure: str) -> str:
    """Rows of `write_projection` and their mean as lines of text."""
    total = {key: sum(row[key] for row in rows) / len(rows) for key in ("before", "after", "length")}
    rows = [row | {"picture": Path(row["picture"]).name} for row in rows] + [{"picture": "mean"} | total]
    width = max(len("image"), *(len(row["picture"]) for row in rows))
    lines = [measure, f"{'image':{width}}  before   after  fell to  |z|/sqrt(nz)"]
    for row in rows:
        share = row["after"] / row["before"] if row["before"] else 1
        numbers = f"{row['before']:.4f}  {row['after']:.4f}  {share:7.1%}  {row['length']:12.3f}"
        lines.append(f"{row['picture']:{width}}  {numbers}")
    return "\n".join(lines)
