"""Makes pictures with a trained generator: one PNG each, or one grid."""

import argparse
import sys
from pathlib import Path

EXAMPLE = """examples:
  python tools/sample.py --run runs/demo --num 16 --seed 0 --out samples.png          one grid
  python tools/sample.py --run runs/demo --num 100 --out samples/ --truncation 0.8    one file each

The picture of a checkpoint, a seed and an index is always the same, however many are made."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder, or one checkpoint's folder")
    parser.add_argument("--out", required=True, metavar="PATH", help="a .png file for a grid, or a folder")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="number of pictures (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="from 0 to 2^32 - 1 (default: 0)")
    parser.add_argument("--first", type=int, default=0, metavar="I", help="index of the first picture (default: 0)")
    parser.add_argument("--step", default="latest", metavar="STEP", help="latest (default), best, or an iteration")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T", help="factor on the latents (default: 1)")
    parser.add_argument("--labels", metavar="L,L,...", help="class of each picture, or one class for all")
    parser.add_argument("--columns", type=int, metavar="C", help="of the grid (default: about square)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    arguments = parse(argv)
    from fastgan_jax.errors import UserError

    try:
        run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Makes the pictures and writes them."""
    import fastgan_jax
    from fastgan_jax.errors import UserError
    from fastgan_jax.writers import image_grid, save_png

    if arguments.num < 1:
        raise UserError(f"--num {arguments.num}: make at least one picture")
    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed {arguments.seed}: a seed is from 0 to {2**32 - 1}")
    if arguments.first < 0:
        raise UserError(f"--first {arguments.first}: indices start at 0")
    out = Path(arguments.out)
    as_grid = out.suffix.lower() == ".png"
    indices = range(arguments.first, arguments.first + arguments.num)
    names = [f"seed{arguments.seed:04d}_{index:06d}.png" for index in indices]
    paths = [out] if as_grid else [out / name for name in names]
    present = [path for path in paths if path.exists()]
    if present and not arguments.overwrite:
        raise UserError(f"{present[0]} is there already: choose another --out, or add --overwrite")

    sampler = fastgan_jax.load(arguments.run, _step(arguments.step))
    facts = {"run": Path(arguments.run).name, "step": str(sampler.step), "seed": str(arguments.seed)}
    options = {"first": arguments.first, "truncation": arguments.truncation, "labels": _labels(arguments)}
    pictures = sampler.sample(arguments.num, arguments.seed, **options)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    if as_grid:
        save_png(out, image_grid(pictures, arguments.columns), facts | {"first": str(arguments.first)})
    else:
        for path, index, picture in zip(paths, indices, pictures, strict=True):
            save_png(path, picture, facts | {"index": str(index)})
    print(f"{arguments.num} pictures of iteration {sampler.step}: {out}")


def _step(text: str) -> int | str:
    """The checkpoint that --step names."""
    from fastgan_jax.errors import UserError

    if text in ("latest", "best"):
        return text
    if not text.isdecimal():
        raise UserError(f"--step {text}: give latest, best or an iteration")
    return int(text)


def _labels(arguments: argparse.Namespace) -> list[int] | None:
    """The classes in --labels, one for each picture."""
    from fastgan_jax.errors import UserError

    if arguments.labels is None:
        return None
    try:
        labels = [int(label) for label in arguments.labels.split(",")]
    except ValueError:
        raise UserError(f"--labels {arguments.labels}: give numbers joined by commas") from None
    return labels * arguments.num if len(labels) == 1 else labels


if __name__ == "__main__":
    sys.exit(main())
