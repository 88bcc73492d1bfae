"""Makes a film of a walk through latents."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastgan_jax.cli.arguments import (
    add_run_arguments,
    check_label,
    check_truncation,
    read_seeds,
    run_tool,
    tool_parser,
)
from fastgan_jax.cli.inputs import load_generator
from fastgan_jax.inference.latents import latents_of, read_latents
from fastgan_jax.utils.checks import check_at_least_one, check_seed
from fastgan_jax.utils.console import Progress

if TYPE_CHECKING:
    import numpy as np

    from fastgan_jax.inference.sampler import Sampler

EXAMPLES = """examples:
  python tools/interpolate.py --run runs/demo --seeds 0-5 --out walk.mp4
  python tools/interpolate.py --run runs/demo --seeds 3,14,15 --frames 20 --fps 10 --easing smooth --out walk.gif
  python tools/interpolate.py --run runs/mine --latents projected/projected.npz --open --out between.webp
  python tools/interpolate.py --run runs/demo --seeds 0-11 --grid 2x3 --out six.mp4

The walk returns to its start, unless --open is given. A path without a suffix is a folder of PNGs."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a .mp4, .gif or .webp file, or a folder")
    stations = parser.add_mutually_exclusive_group()
    stations.add_argument("--seeds", default="0-5", metavar="S,S-S", help="stations: the first latent of each seed")
    stations.add_argument(
        "--latents", metavar="FILE", help="stations: z [N, nz] in an .npz, as tools/project.py writes"
    )
    parser.add_argument(
        "--frames", type=int, default=30, metavar="F", help="from one station to the next (default: 30)"
    )
    parser.add_argument("--fps", type=float, default=30, metavar="N", help="frames per second (default: 30)")
    parser.add_argument("--open", action="store_true", help="end at the last station")
    parser.add_argument("--linear", action="store_true", help="in straight lines (default: along great circles)")
    parser.add_argument("--easing", choices=("linear", "smooth"), default="linear", help="smooth: rest at the stations")
    parser.add_argument("--truncation", type=float, default=1.0, metavar="T", help="factor on the latents (default: 1)")
    parser.add_argument("--grid", default="1x1", metavar="RxC", help="walks side by side, which share the stations out")
    parser.add_argument(
        "--label", type=int, metavar="L", help="class, for a conditional model (default: that of --latents)"
    )
    parser.add_argument(
        "--noise-seed",
        type=int,
        metavar="S",
        help="of the noise of all frames (default: that of --latents, or 0)",
    )
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Makes the film."""
    import numpy as np

    from fastgan_jax.errors import UserError
    from fastgan_jax.inference.interpolation import interpolate_keyframes
    from fastgan_jax.inference.video import check_video, write_video

    check_at_least_one(**{"--frames": arguments.frames})
    check_truncation(arguments.truncation)
    if arguments.noise_seed is not None:
        check_seed(arguments.noise_seed, "--noise-seed")
    rows, columns = read_grid(arguments.grid)
    check_video(arguments.out, arguments.fps, arguments.overwrite)
    chosen = read_seeds(arguments.seeds) if arguments.latents is None else read_latents(arguments.latents)
    sampler = load_generator(arguments)
    given = latents_of(sampler, chosen)
    stations = np.float32(arguments.truncation) * given.z
    noise_seed = (given.noise_seed or 0) if arguments.noise_seed is None else arguments.noise_seed
    label = check_label(given.label if arguments.label is None else arguments.label, sampler.generator.num_classes)
    tiles = rows * columns
    if len(stations) % tiles or len(stations) < 2 * tiles:
        raise UserError(
            f"{len(stations)} stations for {tiles} walk(s): give two or more for each, and the same number for each"
        )
    closed = not arguments.open
    paths = [
        interpolate_keyframes(own, arguments.frames, closed=closed, spherical=not arguments.linear, easing=arguments.easing)
        for own in np.split(stations, tiles)
    ]
    frames = film_frames(sampler, np.stack(paths, axis=1), columns, label, noise_seed)
    count = write_video(arguments.out, frames, arguments.fps)
    print(f"{count} frames of iteration {sampler.step}, {count / arguments.fps:.1f} s: {Path(arguments.out)}")


def film_frames(
    sampler: "Sampler", moments: "np.ndarray", columns: int, label: int | None, noise_seed: int
) -> Iterator["np.ndarray"]:
    """The frames uint8 [H, W, C] of latents [frames, tiles, nz], as many in a device call as fit."""
    from fastgan_jax.inference.sampler import CHUNK
    from fastgan_jax.utils.grids import image_grid

    count, tiles, size = moments.shape
    together = max(1, CHUNK // tiles)
    with Progress(total=count, title="frames") as bar:
        for start in range(0, count, together):
            latents = moments[start : start + together].reshape(-1, size)
            labels = None if label is None else [label] * len(latents)
            images = sampler.generate(latents, labels=labels, noise_seed=noise_seed)
            for first in range(0, len(images), tiles):
                yield image_grid(images[first : first + tiles], columns)
                bar.update()


def read_grid(text: str) -> tuple[int, int]:
    """Rows and columns of "RxC"."""
    from fastgan_jax.errors import UserError

    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise UserError(f"--grid {text}: give rows and columns, such as 2x3")
    return int(sides[0]), int(sides[1])


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
