"""Makes a video of the same latents through all kept checkpoints of a run.

Set train.keep=None before training to keep all checkpoints. A path without a suffix is a folder of PNGs.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.utils.console import Progress

EXAMPLES = """examples:
  fastgan progress --run runs/demo --out progress.gif
  fastgan progress --run runs/demo --num 4 --seed 3 --fps 2 --out progress.gif"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--columns")
    options.add_out(parser, "a .gif, .webp or .mp4 file (mp4 needs the extra video), or a folder")
    add("--num", type=options.num_images, default=16, metavar="N", help="number of latents (default: 16)")
    add("--seed", type=options.seed, metavar="S", help="of the latents (default: the run's train.seed)")
    add("--fps", type=float, default=2, metavar="F", help="checkpoints per second (default: 2)")
    add("--no-caption", action="store_true", help="leave the iteration out of the image")
    add("--label", type=int, metavar="L", help="class, for a conditional model (default: each in turn)")


def run(arguments: argparse.Namespace) -> None:
    """Makes the video."""
    from fastgan_jax.inference.restore import load_each
    from fastgan_jax.inference.video import HELD, check_video, write_video
    from fastgan_jax.runs.checkpoint import checkpoint_steps, find_checkpoint
    from fastgan_jax.utils.devices import keep_compiled_programs
    from fastgan_jax.utils.grids import captioned, image_grid

    check_video(arguments.out, arguments.fps, arguments.overwrite)
    folder = find_checkpoint(arguments.run).parent  # of all checkpoints, also where --run is one of them
    steps, shown = checkpoint_steps(folder), []
    held = len(steps) if arguments.out.suffix.lower() in HELD else 1
    cure = f"give a smaller --num{', or write an .mp4 or a folder' if held > 1 else ''}"
    keep_compiled_programs()

    def frames() -> Iterator[Any]:
        for sampler in Progress(load_each(folder, steps), title="checkpoints", total=len(steps)):
            if not shown:
                options.check_room_for(held * arguments.num, sampler, cure)
            labels = None if arguments.label is None else [options.label_of(arguments, sampler)] * arguments.num
            seed = sampler.config.train.seed if arguments.seed is None else arguments.seed
            images = sampler.sample(arguments.num, seed, labels=labels)
            image = image_grid(images, arguments.columns)
            shown.append(sampler.step)
            text, longest = f"iteration {sampler.step}", f"iteration {steps[-1]}"
            yield image if arguments.no_caption else captioned(image, text, longest)

    write_video(arguments.out, frames(), arguments.fps)
    print(f"iterations {', '.join(map(str, shown))}: {arguments.out}")
