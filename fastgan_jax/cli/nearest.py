"""Shows the training images nearest to samples: does the generator memorize?

Writes an image, sample | nearest | second | ... in each row, and a table beside it (nearest.json). Below the samples'
distances stand those of training images from each other and from mirrored and cropped copies of themselves: samples
that are far nearer than all these are copies. A run trained with data.flip has seen mirror images too: they are
searched as well, and are then not compared with. The run's page, report.html, shows the nearest.png of the run folder,
and is refreshed.
"""

import argparse

from fastgan_jax.cli import options
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  fastgan nearest --run runs/mine --out runs/mine/nearest.png
  fastgan nearest --run runs/mine --num 8 --neighbors 5 --net squeeze --out nearest.png
  fastgan nearest --run runs/mine --data /moved/images --out nearest.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--step", "--data", "--net", "--weights")
    options.add_out(parser, "a .png file; the table goes into a .json of the same name", kind=options.png_path)
    add("--num", type=options.num_images, default=16, metavar="N", help="samples (default: 16)")
    add("--seed", type=options.seed, default=0, metavar="S", help="seed of the samples (default: 0)")
    add("--neighbors", "--neighbours", type=options.count, default=3, metavar="K", help="of each sample (default: 3)")


def run(arguments: argparse.Namespace) -> None:
    """Searches, and writes image and table."""
    from fastgan_jax.evaluation.neighbors import nearest_neighbors, neighbor_grid, neighbor_report, table
    from fastgan_jax.inference.restore import find_training_set
    from fastgan_jax.pretrained.networks import PerceptualDistance
    from fastgan_jax.report.page import refresh_report
    from fastgan_jax.runs.checkpoint import image_fingerprint
    from fastgan_jax.utils.files import write_json
    from fastgan_jax.utils.grids import save_png

    out, beside = arguments.out, arguments.out.with_suffix(".json")
    check_outputs([out, beside], arguments.overwrite)
    sampler = options.load_generator(arguments)
    options.check_room_for(arguments.num * (1 + arguments.neighbors), sampler, "give a smaller --num or --neighbors")
    decode = find_training_set(arguments.run, sampler.config, arguments.data)  # before a network is downloaded
    distance = PerceptualDistance(*options.load_network(arguments, sampler.config))
    training = decode()
    samples, mirrored = sampler.sample(arguments.num, arguments.seed), sampler.config.data.flip
    neighbors = nearest_neighbors(distance, samples, training.images, arguments.neighbors, mirrored=mirrored)
    known = image_fingerprint(arguments.run)  # None for a converted checkpoint, which is told its training images
    trained_on = arguments.data is None or known in (None, training.fingerprint)
    report = neighbor_report(
        distance, training.images, neighbors, training.names, mirrored=mirrored, trained_on=trained_on
    )
    facts = options.facts_of(arguments, sampler.step, "seed")
    save_png(out, neighbor_grid(samples, training.images, neighbors), facts | {"measure": distance.measure})
    write_json(beside, facts | report)
    print(table(report))
    for path in (out, beside, refresh_report(arguments.run, [out])):
        if path:
            print(path)
