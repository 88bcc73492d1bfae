"""Makes a video of an interpolation between latents.

It returns to its start, unless --open is given. A path without a suffix is a folder of PNGs.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress

EXAMPLES = """examples:
  fastgan interpolate --run runs/demo --seeds 0-5 --out interpolation.gif
  fastgan interpolate --run runs/demo --seeds 3,14,15 --frames 20 --fps 10 --easing smooth --out interpolation.gif
  fastgan interpolate --run runs/mine --latents projected/projected.npz --open --out between.webp
  fastgan interpolate --run runs/demo --seeds 0-11 --grid 2x3 --out six.webp"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--step", "--truncation")
    options.add_out(parser, "a .gif, .webp or .mp4 file (mp4 needs the extra video), or a folder")
    which = parser.add_mutually_exclusive_group().add_argument
    which("--seeds", type=options.seeds, default="0-5", metavar="S,S-S", help="keyframes: the first latent of each")
    which("--latents", type=options.path, metavar="FILE", help="keyframes: z [N, nz] in an .npz, as of project")
    add("--frames", type=options.count, default=30, metavar="N", help="between two keyframes (default: 30)")
    add("--fps", type=float, default=30, metavar="N", help="frames per second (default: 30)")
    add("--open", action="store_true", help="end at the last keyframe")
    add("--linear", action="store_true", help="in straight lines (default: along great circles)")
    add("--easing", choices=("linear", "smooth"), default="linear", help="smooth: at rest at each keyframe")
    add(
        "--grid",
        type=options.grid,
        default="1x1",
        metavar="RxC",
        help="show R x C of them at once; the keyframes are divided among them",
    )
    add("--label", type=int, metavar="L", help="class, for a conditional model (default: that of --latents)")
    add("--noise-seed", type=options.seed, metavar="S", help="of the noise (default: that of --latents, or 0)")


def run(arguments: argparse.Namespace) -> None:
    """Makes the video."""
    import numpy as np

    from fastgan_jax.inference.interpolation import interpolate_keyframes
    from fastgan_jax.inference.latents import latents_of, read_latents
    from fastgan_jax.inference.sampler import CHUNK
    from fastgan_jax.inference.video import HELD, check_video, write_video
    from fastgan_jax.utils.grids import image_grid

    check_video(arguments.out, arguments.fps, arguments.overwrite)
    chosen = arguments.seeds if arguments.latents is None else read_latents(arguments.latents)
    sampler = options.load_generator(arguments)
    given = latents_of(sampler, chosen, arguments.truncation)
    keyframes = given.z
    noise_seed = (given.noise_seed or 0) if arguments.noise_seed is None else arguments.noise_seed
    label = options.label_of(arguments, sampler, given)
    tiles = arguments.grid[0] * arguments.grid[1]
    if len(keyframes) % tiles or len(keyframes) < 2 * tiles:
        found = f"{len(keyframes)} keyframes for {tiles} interpolation(s)"
        raise UserError(f"{found}: give the same number for each, two or more")
    way = {"closed": not arguments.open, "spherical": not arguments.linear, "easing": arguments.easing}
    parts = [interpolate_keyframes(own, arguments.frames, **way) for own in np.split(keyframes, tiles)]
    latents = np.stack(parts, axis=1)  # [frames, tiles, nz]

    if arguments.out.suffix.lower() in HELD:
        options.check_room_for(len(latents) * tiles, sampler, "write an .mp4 or a folder, or fewer frames")

    def frames() -> Iterator[Any]:
        together = max(1, CHUNK // tiles)  # in a device call
        for start in range(0, len(latents), together):
            z = np.concatenate(latents[start : start + together])
            images = sampler.generate(z, labels=None if label is None else [label] * len(z), noise_seed=noise_seed)
            for first in range(0, len(images), tiles):
                yield image_grid(images[first : first + tiles], arguments.grid[1])

    written = write_video(arguments.out, Progress(frames(), title="frames", total=len(latents)), arguments.fps)
    print(f"{written} frames of iteration {sampler.step}, {written / arguments.fps:.1f} s: {arguments.out}")
