"""Shows the training images nearest to samples, by a perceptual distance: has the generator learned them by heart?"""

import argparse
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import add_run_arguments, read_step, run_tool, tool_parser
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.checks import check_at_least_one, check_seed
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  python tools/nearest.py --run runs/mine --out runs/mine/nearest.png
  python tools/nearest.py --run runs/mine --num 8 --neighbours 5 --net squeeze --out nearest.png
  python tools/nearest.py --run runs/mine --data /moved/images --out nearest.png

Writes an image, sample | nearest | second | ... in each row, and a table beside it (nearest.json). Below the samples'
distances stand those of training images from each other and from mirrored and cropped copies of themselves: samples
that are far nearer than all these are copies. A run trained with data.flip has seen mirror images too: they are
searched as well, and are then nothing to compare with.

tools/report.py shows the nearest.png of the run folder."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a .png file; the table goes into a .json of the same name")
    parser.add_argument("--num", type=int, default=16, metavar="N", help="samples (default: 16)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the samples (default: 0)")
    parser.add_argument("--neighbors", "--neighbours", type=int, default=3, metavar="K", help="of each sample (default: 3)")
    parser.add_argument("--data", metavar="PATH", help="folder or zip of real images (default: the training set)")
    parser.add_argument("--net", choices=tuple(PERCEPTUAL), help="default: the run's perceptual_net")
    parser.add_argument("--weights", metavar="FILE", help="local file with the weights of --net")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Searches, and writes image and table."""
    import json

    import fastgan_jax
    from fastgan_jax.errors import UserError
    from fastgan_jax.evaluation.neighbors import nearest_neighbors, neighbor_grid, neighbor_report, table
    from fastgan_jax.inference.restore import load_run_perceptual, load_training_set
    from fastgan_jax.pretrained.networks import PerceptualDistance
    from fastgan_jax.utils.files import write_text
    from fastgan_jax.utils.grids import save_png

    check_at_least_one(**{"--num": arguments.num, "--neighbors": arguments.neighbors})
    check_seed(arguments.seed, "--seed")
    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give a .png file")
    beside = out.with_suffix(".json")
    check_outputs([out, beside], arguments.overwrite)

    sampler = fastgan_jax.load(arguments.run, read_step(arguments.step))
    distance = PerceptualDistance(*load_run_perceptual(sampler.config, arguments.net, arguments.weights))
    training = load_training_set(arguments.run, sampler.config, arguments.data)
    samples = sampler.sample(arguments.num, arguments.seed)
    neighbors = nearest_neighbors(
        distance,
        samples,
        training.images,
        arguments.neighbors,
        mirrored=sampler.config.data.flip,
    )
    report = neighbor_report(distance, training.images, neighbors, training.names, mirrored=sampler.config.data.flip)

    facts = {"run": run_name(arguments.run), "step": sampler.step, "seed": arguments.seed}
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {name: str(value) for name, value in (facts | {"measure": distance.measure}).items()}
    save_png(out, neighbor_grid(samples, training.images, neighbors), metadata)
    write_text(beside, json.dumps(facts | report, indent=2) + "\n")
    print(table(report))
    print(f"{out}\n{beside}")


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
