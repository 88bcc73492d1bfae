"""Makes images with a trained generator: a grid, one PNG each, or a zip of them."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastgan_jax.cli.arguments import MOST_SEEDS, add_run_arguments, check_truncation, read_seeds, run_tool, tool_parser
from fastgan_jax.cli.inputs import load_generator
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.checks import check_at_least_one, check_seed
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    import numpy as np

    from fastgan_jax.inference.sampler import Sampler

BATCH = 8  # images of one step of the progress bar
NOT_WRITTEN = (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")  # else they would name folders
EXAMPLES = """examples:
  python tools/sample.py --run runs/demo --num 16 --seed 0 --out samples.png          one grid
  python tools/sample.py --run runs/demo --num 100 --out samples/ --truncation 0.8    one file each
  python tools/sample.py --run runs/demo --seeds 0-99 --out samples.zip               the first image of each seed

The image of a checkpoint, a seed and an index is always the same, however many are made."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a .png file for a grid, a .zip, or a folder")
    parser.add_argument("--num", type=int, metavar="N", help="images of each seed (default: 16; 1 with --seeds)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=0, metavar="S", help="from 0 to 2^32 - 1 (default: 0)")
    which.add_argument("--seeds", metavar="S,S-S", help="several seeds, such as 0,3,7-9")
    parser.add_argument("--first", type=int, default=0, metavar="I", help="index of the first image (default: 0)")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T", help="factor on the latents (default: 1)")
    parser.add_argument("--labels", metavar="L,L,...", help="class of each image, or one (default: by index)")
    parser.add_argument("--columns", type=int, metavar="C", help="of the grid (default: about square)")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Makes the images and writes them."""
    from fastgan_jax.errors import UserError

    check_at_least_one(**{"--num": arguments.num, "--columns": arguments.columns})
    check_truncation(arguments.truncation)
    if arguments.first < 0:
        raise UserError(f"--first {arguments.first}: indices start at 0")
    seeds = [check_seed(arguments.seed, "--seed")] if arguments.seeds is None else read_seeds(arguments.seeds)
    seeds = list(dict.fromkeys(seeds))  # one named twice would name its files twice
    count = arguments.num or (16 if arguments.seeds is None else 1)
    if len(seeds) * count > MOST_SEEDS:
        raise UserError(f"{len(seeds) * count} images are more than {MOST_SEEDS}: give fewer")
    indices = [(seed, index) for seed in seeds for index in range(arguments.first, arguments.first + count)]
    names = [f"seed{seed:04d}_{index:06d}.png" for seed, index in indices]
    out = Path(arguments.out)
    kind = out.suffix.lower()
    if kind in NOT_WRITTEN:
        raise UserError(f"--out {out}: give a .png file for a grid, a .zip, or a folder")
    check_outputs([out] if kind in (".png", ".zip") else [out / name for name in names], arguments.overwrite)

    sampler = load_generator(arguments)
    labels = class_labels(arguments.labels, indices, sampler.generator.num_classes)
    facts = {
        "run": run_name(arguments.run),
        "step": str(sampler.step),
        "truncation": f"{arguments.truncation:g}",
    }
    own_facts = [facts | {"seed": str(seed), "index": str(index)} for seed, index in indices]
    if labels is not None:
        own_facts = [own | {"class": str(label)} for own, label in zip(own_facts, labels, strict=True)]
    images = make(sampler, indices, labels, arguments.truncation)
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".png":
        seeds_text = arguments.seeds or str(arguments.seed)
        write_grid(out, images, arguments.columns, facts | {"seed": seeds_text, "first": str(arguments.first)})
    elif kind == ".zip":
        write_zip(out, zip(names, images, own_facts, strict=True))
    else:
        write_folder(out, zip(names, images, own_facts, strict=True))
    print(f"{len(indices)} image{'s' * (len(indices) > 1)} of iteration {sampler.step}: {out}")


def make(
    sampler: "Sampler", indices: list[tuple[int, int]], labels: list[int] | None, truncation: float
) -> Iterator["np.ndarray"]:
    """The images uint8 [H, W, C] of pairs of seed and index, one after the other."""
    import numpy as np

    with Progress(total=len(indices), title="pictures") as bar:
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            z = [sampler.latents(1, seed, first=index, truncation=truncation) for seed, index in batch]
            yield from sampler.generate(np.concatenate(z), labels=labels and labels[start : start + BATCH])
            bar.update(len(batch))


def write_grid(path: Path, images: Iterator["np.ndarray"], columns: int | None, facts: dict[str, str]) -> None:
    """Writes all images as one PNG."""
    import numpy as np

    from fastgan_jax.utils.grids import image_grid, save_png

    save_png(path, image_grid(np.stack(list(images)), columns), facts)


def write_folder(folder: Path, files: Iterator[tuple[str, "np.ndarray", dict[str, str]]]) -> None:
    """Writes images as PNGs into a folder."""
    from fastgan_jax.utils.grids import save_png

    for name, image, facts in files:
        folder.mkdir(exist_ok=True)
        save_png(folder / name, image, facts)


def write_zip(path: Path, files: Iterator[tuple[str, "np.ndarray", dict[str, str]]]) -> None:
    """Writes images as PNGs into a zip, which appears when it is complete."""
    import zipfile

    from fastgan_jax.utils.grids import encode_png

    temporary = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, image, facts in files:
                archive.writestr(zipfile.ZipInfo(name), encode_png(image, facts))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def class_labels(text: str | None, indices: list[tuple[int, int]], num_classes: int) -> list[int] | None:
    """The classes in --labels, one for each image; without it, every class in turn for a conditional model."""
    from fastgan_jax.errors import UserError

    if text is None:
        return [index % num_classes for _, index in indices] if num_classes else None
    try:
        labels = [int(label) for label in text.split(",")]
    except ValueError:
        raise UserError(f"--labels {text}: give numbers joined by commas") from None
    if not num_classes:
        raise UserError(f"--labels {text}: this model is unconditional; leave --labels out")
    labels = labels * len(indices) if len(labels) == 1 else labels
    if len(labels) != len(indices) or not all(0 <= label < num_classes for label in labels):
        raise UserError(
            f"--labels {text}: give one class, or one for each of the {len(indices)} images, from 0 to "
            f"{num_classes - 1}"
        )
    return labels


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
