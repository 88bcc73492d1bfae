"""Makes pictures with a trained generator: a grid, one PNG each, or a zip of them."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastgan_jax.tool_support import add_run_arguments, check_outputs, read_seeds, read_step, run_tool, tool_parser

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """examples:
  python tools/sample.py --run runs/demo --num 16 --seed 0 --out samples.png          one grid
  python tools/sample.py --run runs/demo --num 100 --out samples/ --truncation 0.8    one file each
  python tools/sample.py --run runs/demo --seeds 0-99 --out samples.zip               the first picture of each seed

The picture of a checkpoint, a seed and an index is always the same, however many are made."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a .png file for a grid, a .zip, or a folder")
    parser.add_argument(
        "--num", type=int, default=16, metavar="N", help="pictures of each seed (default: 16; 1 of --seeds)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, default=0, metavar="S", help="from 0 to 2^32 - 1 (default: 0)")
    which.add_argument("--seeds", metavar="S,S-S", help="several seeds, one picture of each")
    parser.add_argument("--first", type=int, default=0, metavar="I", help="index of the first picture (default: 0)")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T", help="factor on the latents (default: 1)")
    parser.add_argument("--labels", metavar="L,L,...", help="class of each picture, or one class for all")
    parser.add_argument("--columns", type=int, metavar="C", help="of the grid (default: about square)")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Makes the pictures and writes them."""
    import numpy as np

    import fastgan_jax
    from fastgan_jax.errors import UserError
    from fastgan_jax.writers import image_grid, save_png

    if arguments.num < 1:
        raise UserError(f"--num {arguments.num}: make at least one picture")
    if arguments.first < 0:
        raise UserError(f"--first {arguments.first}: indices start at 0")
    seeds = read_seeds(str(arguments.seed), "--seed") if arguments.seeds is None else read_seeds(arguments.seeds)
    count = arguments.num if arguments.seeds is None else 1
    indices = [(seed, index) for seed in seeds for index in range(arguments.first, arguments.first + count)]
    names = [f"seed{seed:04d}_{index:06d}.png" for seed, index in indices]
    out = Path(arguments.out)
    kind = out.suffix.lower()
    check_outputs([out] if kind in (".png", ".zip") else [out / name for name in names], arguments.overwrite)

    sampler = fastgan_jax.load(arguments.run, read_step(arguments.step))
    z = np.concatenate(
        [sampler.latents(count, seed, first=arguments.first, truncation=arguments.truncation) for seed in seeds]
    )
    pictures = sampler.generate(z, labels=class_labels(arguments.labels, indices, sampler.generator.num_classes))
    facts = {"run": Path(arguments.run).resolve().name, "step": str(sampler.step)}

    def files() -> Iterator[tuple[str, np.ndarray, dict[str, str]]]:
        for name, (seed, index), picture in zip(names, indices, pictures, strict=True):
            yield name, picture, facts | {"seed": str(seed), "index": str(index)}

    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == ".png":
        seeds_text = arguments.seeds or str(arguments.seed)
        save_png(
            out, image_grid(pictures, arguments.columns), facts | {"seed": seeds_text, "first": str(arguments.first)}
        )
    elif kind == ".zip":
        write_zip(out, files())
    else:
        out.mkdir(exist_ok=True)
        for name, picture, own in files():
            save_png(out / name, picture, own)
    print(f"{len(pictures)} pictures of iteration {sampler.step}: {out}")


def write_zip(path: Path, files: Iterator[tuple[str, "np.ndarray", dict[str, str]]]) -> None:
    """Writes pictures as PNGs into a zip, which appears when it is complete."""
    import zipfile

    from fastgan_jax.writers import encode_png

    temporary = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, picture, facts in files:
            archive.writestr(zipfile.ZipInfo(name), encode_png(picture, facts))
    temporary.replace(path)


def class_labels(text: str | None, indices: list[tuple[int, int]], num_classes: int) -> list[int] | None:
    """The classes in --labels, one for each picture; without it, every class in turn for a conditional model."""
    from fastgan_jax.errors import UserError

    if text is None:
        return [index % num_classes for _, index in indices] if num_classes else None
    try:
        labels = [int(label) for label in text.split(",")]
    except ValueError:
        raise UserError(f"--labels {text}: give numbers joined by commas") from None
    return labels * len(indices) if len(labels) == 1 else labels


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
