"""Makes a film of the same latents through all kept checkpoints of a run."""

import argparse
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import check_label, run_tool, tool_parser
from fastgan_jax.utils.checks import check_at_least_one, check_seed
from fastgan_jax.utils.console import Progress

EXAMPLES = """examples:
  python tools/progress.py --run runs/demo --out progress.mp4
  python tools/progress.py --run runs/demo --num 4 --seed 3 --fps 2 --out progress.gif

Set train.keep=None before training to keep all checkpoints. A path without a suffix is a folder of PNGs."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder")
    parser.add_argument("--out", required=True, metavar="PATH", help="a .mp4, .gif or .webp file, or a folder")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="number of latents (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the latents (default: 0)")
    parser.add_argument("--fps", type=float, default=2, metavar="F", help="checkpoints per second (default: 2)")
    parser.add_argument("--columns", type=int, metavar="C", help="of the grid (default: about square)")
    parser.add_argument("--no-caption", action="store_true", help="leave the iteration out of the image")
    parser.add_argument("--label", type=int, metavar="L", help="class, for a conditional model (default: each in turn)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Makes the film."""
    import fastgan_jax
    from fastgan_jax.inference.video import check_video, write_video
    from fastgan_jax.runs.checkpoint import checkpoint_steps, find_checkpoint
    from fastgan_jax.utils.grids import captioned, image_grid

    check_at_least_one(**{"--num": arguments.num, "--columns": arguments.columns})
    check_seed(arguments.seed, "--seed")
    check_video(arguments.out, arguments.fps, arguments.overwrite)
    folder = find_checkpoint(arguments.run).parent  # of all checkpoints, also where --run is one of them
    steps = checkpoint_steps(folder)

    def frames():
        for step in Progress(steps, title="checkpoints"):
            sampler = fastgan_jax.load(folder, step)
            labels = None
            if arguments.label is not None:
                labels = [check_label(arguments.label, sampler.generator.num_classes)] * arguments.num
            images = sampler.sample(arguments.num, arguments.seed, labels=labels)
            grid = image_grid(images, arguments.columns)
            yield grid if arguments.no_caption else captioned(grid, f"iteration {step}")

    write_video(arguments.out, frames(), arguments.fps)
    print(f"iterations {', '.join(map(str, steps))}: {Path(arguments.out)}")


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
