"""Finds the latents whose images come nearest to given images: latent back-tracking.

Writes one PNG for each image, side_by_side.png (image | projection), table.json and projected.npz with the latents
`z`, the image files `names` and `noise_seed`: generate(z, noise_seed=noise_seed) gives the PNGs again.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.pretrained.registry import PIXELS
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

HELP = {
    "updates": "of Adam",
    "learning_rate": "of Adam",
    "prior_weight": "weight of keeping the length of z usual",
    "starts": "number of sampled latents, from the nearest of which a search starts",
    "seed": "of these latents",
    "noise_seed": "of the noise that all images share",
    "batch_size": "images at a time, at most",
}
EXAMPLES = """examples:
  fastgan project --run runs/mine --images me.jpg you.png --out projected/
  fastgan project --run runs/mine --images folder/ --out projected/ --updates 300 --distance l2
  fastgan project --run runs/demo --training 0-3 --out projected/ --net squeeze"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--step")
    options.add_out(parser, "a folder")
    targets = parser.add_mutually_exclusive_group(required=True).add_argument
    targets("--images", type=options.path, nargs="+", metavar="PATH", help="image files, or folders of them")
    targets("--training", type=options.seeds, metavar="N,N-N", help="images of the training set, from 0")
    add("--data", type=options.path, metavar="PATH", help="of --training: folder or zip, if it was moved")
    add("--distance", choices=("lpips", "l2"), help="default: lpips where a network is here, else l2")
    options.add_shared(parser, "--net", "--weights")
    options.add_fields(parser, ProjectionOptions, HELP)
    add("--labels", type=options.numbers, metavar="L,L,...", help="class of each image, or one class for all")


def run(arguments: argparse.Namespace) -> None:
    """Projects the images and writes what was found."""
    search = options.read_fields(arguments, ProjectionOptions)

    from fastgan_jax.data.image_files import image_files
    from fastgan_jax.inference.projection import project
    from fastgan_jax.inference.projection_files import projection_paths, projection_table, write_projection

    training = arguments.training
    files = [Path(f"training_{n:06d}") for n in training] if training else image_files(arguments.images)
    paths = projection_paths(arguments.out, files)
    check_outputs(paths, arguments.overwrite)
    search = dataclasses.replace(search, batch_size=min(search.batch_size, len(files)))
    sampler = options.load_generator(arguments)
    targets, labels = read_targets(arguments, files, sampler.config)
    if arguments.labels is not None:
        labels = arguments.labels * len(files) if len(arguments.labels) == 1 else arguments.labels
    network = None, None
    if arguments.distance != "l2":
        network = options.load_network(arguments, sampler.config, otherwise="--distance l2")
        if network[0] == PIXELS:
            network = None, None  # the mean squared difference at full size
    with Progress(total=search.updates * -(-len(files) // search.batch_size), title="projecting") as bar:
        projection = project(sampler, targets, *network, search, labels=labels, on_progress=bar.update)
    facts = options.facts_of(arguments, sampler.step) | {"distance": network[0] or "l2"}
    facts |= {name: getattr(search, name) for name in HELP if name != "batch_size"}
    print(projection_table(write_projection(arguments.out, files, targets, projection, facts), projection.measure))
    print("\n".join(map(str, paths)))


def read_targets(arguments: argparse.Namespace, files: list[Path], config: Any) -> tuple[Any, list[int] | None]:
    """The images uint8 [N, R, R, C], and their classes where the training set has them, otherwise None."""
    from fastgan_jax.data.image_files import read_images
    from fastgan_jax.inference.restore import load_training_set

    if arguments.training is None:
        return read_images(files, config), None
    training = load_training_set(arguments.run, config, arguments.data)
    if max(arguments.training) >= len(training.images):
        raise UserError(f"--training {arguments.training}: the set has {len(training.images)} images, counted from 0")
    rows = list(arguments.training)
    has_classes = config.model.num_classes and arguments.data is None
    return training.images[rows], training.labels[rows].tolist() if has_classes else None
