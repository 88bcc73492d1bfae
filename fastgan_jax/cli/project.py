"""Finds the latents whose images come nearest to given images: latent back-tracking.

Writes one PNG for each image, side_by_side.png (image | projection), table.json and projected.npz with the latents
`z`, the image files `names` and `noise_seed`: generate(z, noise_seed=noise_seed) gives the PNGs again. Of several
checkpoints, each has a folder of its own, and iterations.json the mean distances (paper, table 5).
"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.cli.evaluate import steps
from fastgan_jax.errors import UserError
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.pretrained.registry import PIXELS
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

HELP = {
    "updates": "Adam updates",
    "learning_rate": "Adam's learning rate",
    "prior_weight": "weight of the penalty that keeps the length of z near what is usual",
    "starts": "random latents that are tried first; the search starts from the nearest",
    "seed": "of these latents",
    "noise_seed": "of the noise that all images share",
    "batch_size": "images at a time, at most",
}
EXAMPLES = """examples:
  fastgan project --run runs/mine --images me.jpg you.png --out projected/
  fastgan project --run runs/mine --images folder/ --out projected/ --updates 300 --distance l2
  fastgan project --run runs/mine --training 0-9 --step all --out backtracking/
  fastgan project --run runs/demo --training 0-3 --out projected/ --net squeeze"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run")
    add("--step", type=steps, default="latest", help="latest (default), best, all, or iterations joined by commas")
    options.add_out(parser, "a folder")
    targets = parser.add_mutually_exclusive_group(required=True).add_argument
    targets("--images", type=options.path, nargs="+", metavar="PATH", help="image files, or folders of them")
    targets("--training", type=options.seeds, metavar="N,N-N", help="images of the training set, from 0")
    add("--data", type=options.path, metavar="PATH", help="of --training: folder or zip, if it was moved")
    add("--distance", choices=("lpips", "l2"), help="default: lpips if a perceptual network is here, else l2")
    options.add_shared(parser, "--net", "--weights")
    options.add_fields(parser, ProjectionOptions, HELP)
    add("--labels", type=options.numbers, metavar="L,L,...", help="class of each image, or one class for all")


def run(arguments: argparse.Namespace) -> None:
    """Projects the images by each checkpoint and writes what was found."""
    search = options.read_fields(arguments, ProjectionOptions)

    from fastgan_jax.data.image_files import image_files
    from fastgan_jax.inference.projection_files import projection_paths
    from fastgan_jax.inference.restore import load_each
    from fastgan_jax.runs.checkpoint import checkpoint_steps, find_checkpoint
    from fastgan_jax.utils.devices import keep_compiled_programs
    from fastgan_jax.utils.files import write_json

    if arguments.distance == "l2":
        options.refuse(arguments, "--net", "--weights", with_="--distance l2")
    if arguments.images:
        options.refuse(arguments, "--data", with_="--images")
    options.check_not_among(arguments.out, arguments.images or [])
    training = arguments.training
    files = [Path(f"training_{n:06d}") for n in training] if training else image_files(arguments.images)
    search = dataclasses.replace(search, batch_size=min(search.batch_size, len(files)))
    chosen = checkpoint_steps(arguments.run) if "all" in arguments.step else arguments.step
    chosen = sorted({int(find_checkpoint(arguments.run, step).name) for step in chosen})
    out, several = arguments.out, len(chosen) > 1
    folders = {step: out / str(step) if several else out for step in chosen}
    paths = [path for folder in folders.values() for path in projection_paths(folder, files)]
    paths += [out / "iterations.json"] if several else []
    check_outputs(paths, arguments.overwrite)
    means, paths = [], []
    keep_compiled_programs()
    for sampler in load_each(arguments.run, chosen):
        folder = folders[sampler.step]
        means.append(project_by(arguments, sampler, search, files, folder))
        paths += projection_paths(folder, files)
    if several:
        paths.append(out / "iterations.json")
        write_json(paths[-1], {"iterations": means})
        print("\n".join(["iteration  before   after", *map("{step:9}  {before:.4f}  {after:.4f}".format_map, means)]))
    print("\n".join(map(str, paths)))


def project_by(
    arguments: argparse.Namespace, sampler: "Sampler", search: ProjectionOptions, files: list[Path], folder: Path
) -> dict[str, Any]:
    """Projects the images by a generator, writes into a folder, and returns the mean distances."""
    from fastgan_jax.inference.projection import project
    from fastgan_jax.inference.projection_files import projection_table, write_projection

    targets, labels = read_targets(arguments, files, sampler.config)
    if arguments.labels is not None:
        labels = arguments.labels * len(files) if len(arguments.labels) == 1 else arguments.labels
    if labels is None and sampler.generator.num_classes:
        raise UserError(
            f"{arguments.run} has {sampler.generator.num_classes} classes: give those of the images by --labels"
        )
    network = None, None
    if arguments.distance != "l2":
        network = options.load_network(arguments, sampler.config, otherwise="--distance l2")
        if network[0] == PIXELS:
            network = None, None  # the mean squared difference at full size
    with Progress(total=search.updates * -(-len(files) // search.batch_size), title="projecting") as bar:
        projection = project(sampler, targets, *network, search, labels=labels, on_progress=bar.update)
    facts = options.facts_of(arguments, sampler.step) | {"distance": network[0] or "l2"}
    facts |= {name: getattr(search, name) for name in HELP if name != "batch_size"}
    rows = write_projection(folder, files, targets, projection, facts)
    print(projection_table(rows, projection.measure))
    means = {when: sum(row[when] for row in rows) / len(rows) for when in ("before", "after")}
    return {"step": sampler.step, "measure": projection.measure} | means


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
    has_classes = config.model.num_classes and training.files.classes
    return training.images[rows], training.labels[rows].tolist() if has_classes else None
