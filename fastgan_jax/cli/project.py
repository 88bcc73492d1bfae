"""Finds the latents whose images come nearest to given images: latent back-tracking.

Writes one PNG for each image, side_by_side.png (image | projection), table.json and projected.npz with the latents
`z`, the image files `names` and `noise_seed`: generate(z, noise_seed=noise_seed) gives the PNGs again.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli.arguments import (
    add_network,
    add_options,
    add_out,
    add_run,
    facts_of,
    load_generator,
    numbers,
    options_of,
    path,
    seeds,
    text_or_none,
)
from fastgan_jax.errors import UserError
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    import numpy as np

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
    """Adds the arguments."""
    add_run(parser)
    add_out(parser, "a folder")
    targets = parser.add_mutually_exclusive_group(required=True)
    targets.add_argument("--images", type=path, nargs="+", metavar="PATH", help="image files, or folders of them")
    targets.add_argument("--training", type=seeds, metavar="N,N-N", help="images of the training set, from 0")
    parser.add_argument(
        "--data", type=path, metavar="PATH", help="of --training: folder or zip, if it is no longer where it was"
    )
    parser.add_argument("--distance", default="lpips", choices=("lpips", "l2"), help="lpips (default) needs weights")
    add_network(parser, use="network of lpips")
    add_options(parser, ProjectionOptions, HELP)
    parser.add_argument("--labels", type=numbers, metavar="L,L,...", help="class of each image, or one class for all")


def run(arguments: argparse.Namespace) -> None:
    """Projects the images and writes what was found."""
    options = options_of(arguments, ProjectionOptions)

    from fastgan_jax.data.image_files import image_files
    from fastgan_jax.inference.projection import project
    from fastgan_jax.inference.projection_files import projection_paths, projection_table, write_projection

    if arguments.training is None:
        files = image_files(arguments.images)
    else:
        files = [Path(f"training_{number:06d}") for number in arguments.training]
    paths = projection_paths(arguments.out, files)
    check_outputs(paths, arguments.overwrite)
    options = dataclasses.replace(options, batch_size=min(options.batch_size, len(files)))
    sampler = load_generator(arguments)
    targets, labels = read_targets(arguments, files, sampler.config)
    if arguments.labels is not None:
        labels = arguments.labels * len(files) if len(arguments.labels) == 1 else arguments.labels
    network, params = find_network(arguments, sampler.config)
    with Progress(total=options.updates * -(-len(files) // options.batch_size), title="projecting") as bar:
        projection = project(sampler, targets, network, params, options, labels=labels, on_progress=bar.update)
    facts = facts_of(arguments, sampler.step) | {"distance": network or "l2"}
    facts |= {name: getattr(options, name) for name in HELP if name != "batch_size"}
    print(projection_table(write_projection(arguments.out, files, targets, projection, facts), projection.measure))
    print("\n".join(map(str, paths)))


def read_targets(
    arguments: argparse.Namespace, files: list[Path], config: Any
) -> "tuple[np.ndarray, list[int] | None]":
    """The images uint8 [N, R, R, C], and their classes where the training set has them, otherwise None.

    Raises:
        UserError: if they cannot be read, or there are not so many training images.
    """
    from fastgan_jax.data.image_files import read_images
    from fastgan_jax.inference.restore import load_training_set

    if arguments.training is None:
        return read_images(files, config), None
    training = load_training_set(arguments.run, config, text_or_none(arguments.data))
    if max(arguments.training) >= len(training.images):
        raise UserError(f"--training {arguments.training}: the set has {len(training.images)} images, counted from 0")
    rows = list(arguments.training)
    has_classes = config.model.num_classes and arguments.data is None
    return training.images[rows], training.labels[rows].tolist() if has_classes else None


def find_network(arguments: argparse.Namespace, config: Any) -> tuple[str | None, Any]:
    """Name and parameters of the perceptual network; (None, None) for --distance l2.

    Raises:
        UserError: if its weights cannot be had; the line ends with what can be done here.
    """
    from fastgan_jax.inference.restore import load_run_perceptual

    if arguments.distance == "l2":
        return None, None
    try:
        return load_run_perceptual(config, arguments.net, arguments.weights)
    except UserError as error:
        raise UserError(f"{error}, or --distance l2") from None
