"""Mixes content and style of latents: a table whose rows keep content and whose columns keep style."""

import argparse
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import (
    add_run_arguments,
    check_label,
    check_truncation,
    read_seeds,
    run_tool,
    tool_parser,
)
from fastgan_jax.cli.inputs import load_generator
from fastgan_jax.inference.latents import SavedLatents, latents_of, read_latents
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.checks import check_seed
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  python tools/style_mix.py --run runs/mine --content 0-3 --style 4-8 --out mix.png
  python tools/style_mix.py --run runs/mine --content 0-3 --style 4-8 --resolutions 64,128 --out mix.png
  python tools/style_mix.py --run runs/mine --content-latents projected/projected.npz --style 0-4 --out mix.png

The first column shows the content, the first row the style. Style enters through the skip-layer excitation of the maps
of the given sides (paper, section 4.3 and figures 7 and 9), by default of all that the model has."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a .png file")
    for part, default in (("content", "0-3"), ("style", "4-8")):
        latents = parser.add_mutually_exclusive_group()
        latents.add_argument(f"--{part}", default=default, metavar="S,S-S", help=f"seeds (default: {default})")
        latents.add_argument(f"--{part}-latents", metavar="FILE", help="z [N, nz] in an .npz, in place of seeds")
    parser.add_argument("--resolutions", metavar="R,R,...", help="sides of the maps that take the style (default: all)")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T", help="factor on the latents (default: 1)")
    parser.add_argument(
        "--label", type=int, metavar="L", help="class, for a conditional model (default: that of --content-latents)"
    )
    parser.add_argument(
        "--noise-seed",
        type=int,
        metavar="S",
        help="of one noise for all images (default: that of the .npz, if given; else each has its own)",
    )
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Makes the table."""
    import numpy as np

    from fastgan_jax.errors import UserError
    from fastgan_jax.utils.grids import image_grid, save_png

    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give a .png file")
    check_outputs([out], arguments.overwrite)
    check_truncation(arguments.truncation)
    resolutions = read_resolutions(arguments.resolutions)
    chosen = [sources(arguments, part) for part in ("content", "style")]
    noise_seed = shared_noise(arguments.noise_seed, chosen)
    sampler = load_generator(arguments)
    if not sampler.style_resolutions:
        raise UserError(f"{arguments.run}: this model has no skip-layer excitation, through which style would enter")
    given = [latents_of(sampler, part) for part in chosen]
    label = check_label(given[0].label if arguments.label is None else arguments.label, sampler.generator.num_classes)
    content, style = (np.float32(arguments.truncation) * latents.z for latents in given)
    contents, styles = (
        sampler.generate(z, labels=None if label is None else [label] * len(z), noise_seed=noise_seed)
        for z in (content, style)
    )
    mixed = [
        sampler.style_mix(content[row : row + 1], style, resolutions, labels=label, noise_seed=noise_seed)[0]
        for row in Progress(range(len(content)), title="rows", unit="rows")
    ]
    blank = np.full_like(styles[0], 255)
    rows = [np.stack([blank, *styles])] + [np.stack([own, *row]) for own, row in zip(contents, mixed, strict=True)]
    out.parent.mkdir(parents=True, exist_ok=True)
    used = sampler.style_resolutions if resolutions is None else resolutions
    facts = {
        "run": run_name(arguments.run),
        "step": str(sampler.step),
        "resolutions": ",".join(map(str, used)),
        "truncation": f"{arguments.truncation:g}",
    }
    facts |= {part: getattr(arguments, f"{part}_latents") or getattr(arguments, part) for part in ("content", "style")}
    save_png(out, image_grid(np.concatenate(rows), columns=len(styles) + 1), facts)
    print(f"{len(content)} x {len(style)} of iteration {sampler.step}, style at {facts['resolutions']}: {out}")


def sources(arguments: argparse.Namespace, part: str) -> list[int] | SavedLatents:
    """What --content or --style, or its form with a file, names."""
    file = getattr(arguments, f"{part}_latents")
    return read_seeds(getattr(arguments, part), f"--{part}") if file is None else read_latents(file)


def shared_noise(given: int | None, chosen: list[list[int] | SavedLatents]) -> int | None:
    """The seed of the noise that all images share; None: each latent has its own.

    Raises:
        UserError: if it is out of range, or two files of latents need different ones.
    """
    from fastgan_jax.errors import UserError

    if given is not None:
        return check_seed(given, "--noise-seed")
    needed = {part.noise_seed for part in chosen if isinstance(part, SavedLatents)} - {None}
    if len(needed) > 1:
        raise UserError(f"the two files of latents have the noise seeds {sorted(needed)}: choose one with --noise-seed")
    return needed.pop() if needed else None


def read_resolutions(text: str | None) -> tuple[int, ...] | None:
    """The sides in --resolutions."""
    from fastgan_jax.errors import UserError

    if text is None:
        return None
    try:
        return tuple(int(side) for side in text.split(","))
    except ValueError:
        raise UserError(f"--resolutions {text}: give numbers joined by commas, such as 64,128") from None


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
