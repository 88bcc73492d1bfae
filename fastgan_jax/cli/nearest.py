"""Shows the training images nearest to samples: does the generator memorize?

Writes an image, sample | nearest | second | ... in each row, and a table beside it (nearest.json). Below the samples'
distances stand those of training images from each other and from mirrored and cropped copies of themselves: samples
that are far nearer than all these are copies. A run trained with data.flip has seen mirror images too: they are
searched as well, and are then not compared with. fastgan report shows the nearest.png of the run folder.
"""

import argparse

from fastgan_jax.cli.arguments import (
    add_data,
    add_network,
    add_out,
    add_run,
    count,
    facts_of,
    load_generator,
    png_path,
    seed,
    text_or_none,
)
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  fastgan nearest --run runs/mine --out runs/mine/nearest.png
  fastgan nearest --run runs/mine --num 8 --neighbors 5 --net squeeze --out nearest.png
  fastgan nearest --run runs/mine --data /moved/images --out nearest.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add_run(parser)
    add_out(parser, "a .png file; the table goes into a .json of the same name", kind=png_path)
    parser.add_argument("--num", type=count, default=16, metavar="N", help="samples (default: 16)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the samples (default: 0)")
    parser.add_argument(
        "--neighbors", "--neighbours", type=count, default=3, metavar="K", help="of each sample (default: 3)"
    )
    add_data(parser)
    add_network(parser)


def run(arguments: argparse.Namespace) -> None:
    """Searches, and writes image and table."""
    from fastgan_jax.evaluation.neighbors import nearest_neighbors, neighbor_grid, neighbor_report, table
    from fastgan_jax.inference.restore import load_run_perceptual, load_training_set
    from fastgan_jax.pretrained.networks import PerceptualDistance
    from fastgan_jax.utils.files import write_json
    from fastgan_jax.utils.grids import save_png

    out, beside = arguments.out, arguments.out.with_suffix(".json")
    check_outputs([out, beside], arguments.overwrite)
    sampler = load_generator(arguments)
    distance = PerceptualDistance(*load_run_perceptual(sampler.config, arguments.net, arguments.weights))
    training = load_training_set(arguments.run, sampler.config, text_or_none(arguments.data))
    samples, mirrored = sampler.sample(arguments.num, arguments.seed), sampler.config.data.flip
    neighbors = nearest_neighbors(distance, samples, training.images, arguments.neighbors, mirrored=mirrored)
    report = neighbor_report(distance, training.images, neighbors, training.names, mirrored=mirrored)
    facts = facts_of(arguments, sampler.step, "seed")
    save_png(out, neighbor_grid(samples, training.images, neighbors), facts | {"measure": distance.measure})
    write_json(beside, facts | report)
    print(table(report))
    print(f"{out}\n{beside}")
