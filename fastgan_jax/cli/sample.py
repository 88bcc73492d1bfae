"""Generates images: a grid, a PNG file for each, or a zip of them.

The image of a checkpoint, a seed and an index is always the same, however many are generated.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli.arguments import (
    MOST_SEEDS,
    add_out,
    add_run,
    add_truncation,
    count,
    facts_of,
    index,
    load_generator,
    numbers,
    seed,
    seeds,
)
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs, replacing

if TYPE_CHECKING:
    import numpy as np

    from fastgan_jax.inference.sampler import Sampler

    Files = Iterable[tuple[str, np.ndarray, dict[str, Any]]]

BATCH = 8  # images of one step of the progress bar
OTHER_FORMATS = (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")  # else they would name folders
EXAMPLES = """examples:
  fastgan sample --run runs/demo --num 16 --seed 0 --out samples.png          one grid
  fastgan sample --run runs/demo --num 100 --out samples/ --truncation 0.8    one file each
  fastgan sample --run runs/demo --seeds 0-99 --out samples.zip               the first image of each seed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_out(parser, "a .png file for a grid, a .zip, or a folder")
    parser.add_argument("--num", type=count, metavar="N", help="images of each seed (default: 16; 1 with --seeds)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=seed, default=0, metavar="S", help="from 0 to 2^32 - 1 (default: 0)")
    which.add_argument("--seeds", type=seeds, metavar="S,S-S", help="several seeds, such as 0,3,7-9")
    parser.add_argument("--first", type=index, default=0, metavar="I", help="index of the first image (default: 0)")
    add_truncation(parser)
    parser.add_argument("--labels", type=numbers, metavar="L,L,...", help="class of each image, or one (default: each)")
    parser.add_argument("--columns", type=count, metavar="C", help="of the grid (default: about square)")


def run(arguments: argparse.Namespace) -> None:
    """Generates the images and writes them."""
    out, kind = arguments.out, arguments.out.suffix.lower()
    if kind in OTHER_FORMATS:
        raise UserError(f"--out {out}: must be a .png file for a grid, a .zip, or a folder")
    chosen = list(dict.fromkeys(arguments.seeds or [arguments.seed]))  # one named twice would name its files twice
    num = arguments.num or (16 if arguments.seeds is None else 1)
    if len(chosen) * num > MOST_SEEDS:
        raise UserError(f"{len(chosen) * num} images are more than {MOST_SEEDS}: give fewer")
    drawn = [(own, number) for own in chosen for number in range(arguments.first, arguments.first + num)]
    names = [f"seed{own:04d}_{number:06d}.png" for own, number in drawn]
    check_outputs([out] if kind in (".png", ".zip") else [out / name for name in names], arguments.overwrite)

    sampler = load_generator(arguments)
    labels = class_labels(arguments.labels, drawn, sampler.generator.num_classes)
    facts = facts_of(arguments, sampler.step) | {"truncation": f"{arguments.truncation:g}"}
    own_facts = [facts | {"seed": own, "index": number} for own, number in drawn]
    if labels is not None:
        own_facts = [own | {"class": label} for own, label in zip(own_facts, labels, strict=True)]
    images = generate(sampler, drawn, labels, arguments.truncation)
    if kind == ".png":
        facts |= {"seed": arguments.seeds or arguments.seed, "first": arguments.first}
        write_grid(out, images, arguments.columns, facts)
    else:
        write = write_zip if kind == ".zip" else write_folder
        write(out, zip(names, images, own_facts, strict=True))
    print(f"{len(drawn)} image{'s' * (len(drawn) > 1)} of iteration {sampler.step}: {out}")


def generate(
    sampler: "Sampler", drawn: list[tuple[int, int]], labels: list[int] | None, truncation: float
) -> Iterator["np.ndarray"]:
    """The images uint8 [H, W, C] of pairs of seed and index, one after the other."""
    import numpy as np

    with Progress(total=len(drawn), title="images") as bar:
        for start in range(0, len(drawn), BATCH):
            batch = drawn[start : start + BATCH]
            z = [sampler.latents(1, own, first=number, truncation=truncation) for own, number in batch]
            yield from sampler.generate(np.concatenate(z), labels=labels and labels[start : start + BATCH])
            bar.update(len(batch))


def write_grid(path: Path, images: Iterable["np.ndarray"], columns: int | None, facts: dict[str, Any]) -> None:
    """Writes all images as one PNG."""
    import numpy as np

    from fastgan_jax.utils.grids import image_grid, save_png

    save_png(path, image_grid(np.stack(list(images)), columns), facts)


def write_folder(folder: Path, files: "Files") -> None:
    """Writes images as PNGs into a folder."""
    from fastgan_jax.utils.grids import save_png

    for name, image, facts in files:
        save_png(folder / name, image, facts)


def write_zip(path: Path, files: "Files") -> None:
    """Writes images as PNGs into a zip, which appears when it is complete."""
    import zipfile

    from fastgan_jax.utils.grids import encode_png

    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, image, facts in files:
            archive.writestr(zipfile.ZipInfo(name), encode_png(image, facts))


def class_labels(labels: list[int] | None, drawn: list[tuple[int, int]], num_classes: int) -> list[int] | None:
    """One class for each image; for a conditional model without --labels, every class in turn.

    Raises:
        UserError: if the classes do not fit the model, or are not one or as many as images.
    """
    if labels is None:
        return [number % num_classes for _, number in drawn] if num_classes else None
    text = ",".join(map(str, labels))
    if not num_classes:
        raise UserError(f"--labels {text}: this model is unconditional; leave --labels out")
    labels = labels * len(drawn) if len(labels) == 1 else labels
    if len(labels) != len(drawn) or not all(0 <= label < num_classes for label in labels):
        raise UserError(
            f"--labels {text}: give one class, or one for each of the {len(drawn)} images, from 0 to {num_classes - 1}"
        )
    return labels
