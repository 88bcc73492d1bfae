"""Makes a video of an interpolation between latents.

It returns to its start, unless --open is given. A path without a suffix is a folder of PNGs.
"""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress

if TYPE_CHECKING:
    import numpy as np

    from fastgan_jax.inference.sampler import Sampler

EXAMPLES = """examples:
  fastgan interpolate --run runs/demo --seeds 0-5 --out interpolation.mp4
  fastgan interpolate --run runs/demo --seeds 3,14,15 --frames 20 --fps 10 --easing smooth --out interpolation.gif
  fastgan interpolate --run runs/mine --latents projected/projected.npz --open --out between.webp
  fastgan interpolate --run runs/demo --seeds 0-11 --grid 2x3 --out six.mp4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add = parser.add_argument
    options.add_run(parser)
    options.add_out(parser, "a .mp4, .gif or .webp file, or a folder")
    keyframes = parser.add_mutually_exclusive_group()
    keyframes.add_argument(
        "--seeds", type=options.seeds, default="0-5", metavar="S,S-S", help="keyframes: the first latent of each seed"
    )
    keyframes.add_argument(
        "--latents",
        type=options.path,
        metavar="FILE",
        help="keyframes: z [N, nz] in an .npz, as fastgan project writes",
    )
    add("--frames", type=options.count, default=30, metavar="N", help="between two keyframes (default: 30)")
    add("--fps", type=float, default=30, metavar="N", help="frames per second (default: 30)")
    add("--open", action="store_true", help="end at the last keyframe")
    add("--linear", action="store_true", help="in straight lines (default: along great circles)")
    add("--easing", choices=("linear", "smooth"), default="linear", help="smooth: at rest at each keyframe")
    options.add_truncation(parser)
    add(
        "--grid",
        type=options.grid,
        default="1x1",
        metavar="RxC",
        help="several side by side, which share the keyframes out",
    )
    add("--label", type=int, metavar="L", help="class, for a conditional model (default: that of --latents)")
    add(
        "--noise-seed",
        type=options.seed,
        metavar="S",
        help="of the noise of all frames (default: that of --latents, or 0)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the video."""
    import numpy as np

    from fastgan_jax.inference.interpolation import interpolate_keyframes
    from fastgan_jax.inference.latents import latents_of, read_latents
    from fastgan_jax.inference.video import check_video, write_video

    check_video(arguments.out, arguments.fps, arguments.overwrite)
    chosen = arguments.seeds if arguments.latents is None else read_latents(arguments.latents)
    sampler = options.load_generator(arguments)
    given = latents_of(sampler, chosen)
    keyframes = np.float32(arguments.truncation) * given.z
    noise_seed = (given.noise_seed or 0) if arguments.noise_seed is None else arguments.noise_seed
    label = options.check_label(
        given.label if arguments.label is None else arguments.label, sampler.generator.num_classes
    )
    rows, columns = arguments.grid
    tiles = rows * columns
    if len(keyframes) % tiles or len(keyframes) < 2 * tiles:
        raise UserError(
            f"{len(keyframes)} keyframes for {tiles} interpolation(s): give the same number for each, two or more"
        )
    latents = [
        interpolate_keyframes(
            own, arguments.frames, closed=not arguments.open, spherical=not arguments.linear, easing=arguments.easing
        )
        for own in np.split(keyframes, tiles)
    ]
    frames = frames_of(sampler, np.stack(latents, axis=1), columns, label, noise_seed)
    written = write_video(arguments.out, Progress(frames, title="frames", total=len(latents[0])), arguments.fps)
    print(f"{written} frames of iteration {sampler.step}, {written / arguments.fps:.1f} s: {arguments.out}")


def frames_of(
    sampler: "Sampler", latents: "np.ndarray", columns: int, label: int | None, noise_seed: int
) -> Iterator["np.ndarray"]:
    """The frames uint8 [H, W, C] of latents [frames, tiles, nz], as many in a device call as fit."""
    from fastgan_jax.inference.sampler import CHUNK
    from fastgan_jax.utils.grids import image_grid

    frames, tiles, size = latents.shape
    together = max(1, CHUNK // tiles)
    for start in range(0, frames, together):
        z = latents[start : start + together].reshape(-1, size)
        images = sampler.generate(z, labels=None if label is None else [label] * len(z), noise_seed=noise_seed)
        for first in range(0, len(images), tiles):
            yield image_grid(images[first : first + tiles], columns)
