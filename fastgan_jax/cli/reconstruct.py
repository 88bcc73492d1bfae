"""Shows what a trained discriminator knows of images: reconstructions by its own decoders, or by fresh ones.

With --images: one row for each image, real | the reconstruction of each of the discriminator's decoders, with the
quadrant (or, with model.part=eighth, the cell of an 8x8 division) that "part" reconstructs before it.
With --probe: a test of the discriminator as a feature extractor. It is frozen, fresh decoders learn to reconstruct the
training images from its maps f1 (16x16) and f2 (8x8), and the distance of their reconstructions of held-out images is
printed and written (probe.json) beside rows of real | f1 | f2. Lower is better; the discriminator before training
(--step 0) is what to compare with.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.inference.options import ProbeOptions
from fastgan_jax.pretrained.registry import PERCEPTUAL, PIXELS
from fastgan_jax.utils.console import Progress, announced
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    from fastgan_jax.inference.restore import TrainedDiscriminator

QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
DISTANCES = ("lpips", "l1", "l2")
HELP = {
    "iterations": "of the decoders",
    "batch_size": "images per iteration",
    "learning_rate": "Adam's learning rate",
    "held_out": "share of images",
    "seed": "of everything random",
}
EXAMPLES = """examples:
  fastgan reconstruct --run runs/mine --images a.jpg b.jpg folder/ --out reconstructions.png
  fastgan reconstruct --run runs/mine --images a.jpg --quadrant bottom-right --out reconstructions.png
  fastgan reconstruct --run runs/mine --probe --iterations 2000 --out probe.png
  fastgan reconstruct --run runs/mine --probe --iterations 2000 --step 0 --out untrained.png"""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_shared(parser, "--run", "--step")
    what = "a .png file; with --probe, numbers go into a .json of the same name"
    options.add_out(parser, what, kind=options.png_path)
    action = parser.add_mutually_exclusive_group(required=True).add_argument
    action("--images", type=options.path, nargs="+", metavar="PATH", help="image files, or folders of them")
    action("--probe", action="store_true", help="test the discriminator as a feature extractor")
    which = f"of --images: {', '.join(QUADRANTS)}, or with model.part=eighth 0 to 63, row by row (default: the first)"
    parser.add_argument("--quadrant", metavar="Q", help=which)
    probe = parser.add_argument_group("with --probe")
    options.add_fields(probe, ProbeOptions, HELP)
    probe.add_argument(
        "--distance",
        choices=DISTANCES,
        help="default: lpips of RGB if a perceptual network is on this machine, else l1",
    )
    options.add_shared(probe, "--net", "--weights", "--data")


def run(arguments: argparse.Namespace) -> None:
    """Reconstructs and writes."""
    training = options.read_fields(arguments, ProbeOptions)
    if arguments.images:
        probe = (f"--{name.replace('_', '-')}" for name in HELP)
        options.refuse(arguments, *probe, "--distance", "--net", "--weights", "--data", with_="--images")
    else:
        options.refuse(arguments, "--quadrant", with_="--probe")
    if arguments.distance in ("l1", "l2"):
        options.refuse(arguments, "--net", "--weights", with_=f"--distance {arguments.distance}")

    from fastgan_jax.data.image_files import image_files
    from fastgan_jax.inference.restore import load_discriminator
    from fastgan_jax.utils.devices import keep_compiled_programs

    options.check_not_among(arguments.out, arguments.images or [])
    files = None if arguments.probe else image_files(arguments.images)
    beside = arguments.out.with_suffix(".json")
    check_outputs([arguments.out] if files else [arguments.out, beside], arguments.overwrite)
    keep_compiled_programs()
    with announced(f"loading {arguments.run}"):
        trained = load_discriminator(arguments.run, arguments.step)
    if files:
        run_decoders(arguments, trained, files)
    else:
        run_probe(arguments, trained, training, beside)


def run_decoders(arguments: argparse.Namespace, trained: "TrainedDiscriminator", files: list[Path]) -> None:
    """Reconstructs the images of --images with the discriminator's own decoders."""
    from fastgan_jax.data.image_files import read_images
    from fastgan_jax.inference.reconstruction import reconstruct_all
    from fastgan_jax.utils.grids import save_png, titled_columns

    if not trained.discriminator.decoders:
        raise UserError(f"the discriminator of {arguments.run} has no decoders (model.decoders is empty): try --probe")
    images = read_images(files, trained.config)
    cells = cells_of(trained.discriminator.part)
    if arguments.quadrant not in (None, *cells):
        allowed = f"one of {', '.join(cells)}" if len(cells) == 4 else f"from 0 to {cells[-1]} for this run"
        raise UserError(f"--quadrant {arguments.quadrant}: must be {allowed}")
    if "part" not in trained.discriminator.decoders:
        options.refuse(arguments, "--quadrant", with_="decoders of whole images alone (model.decoders)")
    arguments.quadrant = arguments.quadrant or cells[0]
    cell = cells.index(arguments.quadrant)
    columns = reconstruct_all(trained.discriminator, trained.config.model.resize, trained.variables, images, cell)
    save_png(arguments.out, titled_columns(columns), options.facts_of(arguments, trained.step, "quadrant"))
    print(f"{len(files)} image{'s' * (len(files) > 1)}, {' | '.join(columns)}, iteration {trained.step}")
    print(arguments.out)


def cells_of(part: str) -> tuple[str, ...]:
    """The names of the cells that --quadrant may choose from, in order, where "part" reconstructs such a part."""
    from fastgan_jax.models.discriminator import PART_DIVISIONS

    return QUADRANTS if part == "quadrant" else tuple(map(str, range(PART_DIVISIONS[part] ** 2)))


def run_probe(
    arguments: argparse.Namespace, trained: "TrainedDiscriminator", training: ProbeOptions, beside: Path
) -> None:
    """Trains fresh decoders on the frozen discriminator."""
    from fastgan_jax.inference import probe
    from fastgan_jax.inference.restore import find_training_set
    from fastgan_jax.utils.files import write_json
    from fastgan_jax.utils.grids import save_png, titled_columns

    decode = find_training_set(arguments.run, trained.config, arguments.data)  # before a network is downloaded
    measure, distance, params = find_distance(arguments, trained.config)
    data = decode()
    with Progress(total=training.iterations, title="training decoders") as bar:
        result = probe.run_probe(trained, distance, params, data.images, training, on_progress=bar.update)
    facts = options.facts_of(arguments, trained.step) | {"measure": measure}
    facts |= {name: getattr(training, name) for name in HELP if name != "held_out"}
    save_png(arguments.out, titled_columns(result.shown), facts)
    report = facts | probe.report(result, data.names)
    write_json(beside, report)
    print(f"{probe.table(report)}\n{arguments.out}\n{beside}")


def find_distance(arguments: argparse.Namespace, config: Any) -> tuple[str, Any, Any]:
    """The distance of --distance, --net and --weights: its name, the distance, and its parameters."""
    from fastgan_jax.gan.losses import RECONSTRUCTION

    if arguments.distance in ("l1", "l2"):
        return arguments.distance, RECONSTRUCTION[arguments.distance]("", None), None
    if config.model.channels != 3:
        if not (arguments.distance or arguments.net or arguments.weights):
            log.warning("the distance is l1: lpips takes 3 channels, and the run has %d", config.model.channels)
            return "l1", RECONSTRUCTION["l1"]("", None), None
        raise UserError(f"--distance lpips takes 3 channels, and the run has {config.model.channels}: --distance l1")
    name, params = options.load_network(arguments, config, otherwise="--distance l1")
    if name == PIXELS:
        return "l1", RECONSTRUCTION["l1"]("", None), None
    return PERCEPTUAL[name].measure, RECONSTRUCTION["lpips"](PERCEPTUAL[name].backbone, None), params
