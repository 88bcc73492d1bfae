"""Shows what a trained discriminator knows of images: its decoders' reconstructions, or those of fresh decoders."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli.arguments import add_run_arguments, read_step, run_tool, tool_parser
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    import numpy as np

    from fastgan_jax.inference.probe import ProbeResult

QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
DISTANCES = ("lpips", "l1", "l2")
MAP_SIDES = {"f1": "16x16", "f2": "8x8"}
NUMBERS = [(when, name) for name in MAP_SIDES for when in ("before", "after")]
EXAMPLES = """examples:
  python tools/reconstruct.py --run runs/mine --images a.jpg b.jpg folder/ --out reconstructions.png
  python tools/reconstruct.py --run runs/mine --images a.jpg --quadrant bottom-right --out reconstructions.png
  python tools/reconstruct.py --run runs/mine --probe --iterations 2000 --out probe.png
  python tools/reconstruct.py --run runs/mine --probe --iterations 2000 --step 0 --out untrained.png

The first two write one row for each image: real | what each of the discriminator's decoders rebuilds of it, with the
quadrant that "part" rebuilds before it.
The others test the discriminator as a feature extractor: it is frozen, fresh decoders learn to rebuild the training
images from its maps f1 (16x16) and f2 (8x8), and the distance of their reconstructions of held-out images is
printed and written (probe.json) beside rows of real | f1 | f2. Lower is better; the discriminator before training
(--step 0) is what to compare with."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a .png file; with --probe, numbers go into a .json of the same name")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--images", nargs="+", metavar="PATH", help="image files, or folders of them")
    what.add_argument("--probe", action="store_true", help="test the discriminator as a feature extractor")
    parser.add_argument("--quadrant", choices=QUADRANTS, default="top-left", help="of --images (default: top-left)")
    probe = parser.add_argument_group("with --probe")
    probe.add_argument("--iterations", type=int, default=1000, metavar="N", help="of the decoders (default: 1000)")
    probe.add_argument("--batch-size", type=int, default=8, metavar="B", help="images an iteration (default: 8)")
    probe.add_argument("--learning-rate", type=float, default=2e-4, metavar="R", help="of Adam (default: 2e-4)")
    probe.add_argument("--held-out", type=float, default=0.15, metavar="S", help="share of images (default: 0.15)")
    probe.add_argument("--seed", type=int, default=0, metavar="S", help="of everything random (default: 0)")
    probe.add_argument("--distance", choices=DISTANCES, default="lpips", help="lpips (default) needs weights")
    probe.add_argument("--net", choices=tuple(PERCEPTUAL), help="default: the run's perceptual_net")
    probe.add_argument("--weights", metavar="FILE", help="local file with the weights of --net")
    probe.add_argument("--data", metavar="PATH", help="folder or zip of real images (default: the training set)")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Reconstructs and writes."""
    from fastgan_jax.errors import UserError

    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: give a .png file")
    if arguments.probe:
        run_probe(arguments, out)
    else:
        run_decoders(arguments, out)


def run_decoders(arguments: argparse.Namespace, out: Path) -> None:
    """Reconstructs the images of --images with the discriminator's own decoders."""
    from fastgan_jax.data.image_files import image_files, read_images
    from fastgan_jax.errors import UserError
    from fastgan_jax.inference.reconstruction import reconstruct_all
    from fastgan_jax.inference.restore import load_discriminator

    files = image_files(arguments.images)
    check_outputs([out], arguments.overwrite)
    trained = load_discriminator(arguments.run, read_step(arguments.step))
    if not trained.discriminator.decoders:
        raise UserError(f"the discriminator of {arguments.run} has no decoders (model.decoders is empty): try --probe")
    images = read_images(files, trained.config)
    quadrant = QUADRANTS.index(arguments.quadrant)
    made = reconstruct_all(trained.discriminator, trained.config.model.resize, trained.variables, images, quadrant)
    write_columns(out, made, facts_of(arguments, trained.step) | {"quadrant": arguments.quadrant})
    print(f"{len(files)} images, {' | '.join(made)}, iteration {trained.step}")
    print(out)


def run_probe(arguments: argparse.Namespace, out: Path) -> None:
    """Trains fresh decoders on the frozen discriminator."""
    import json

    from fastgan_jax.inference import probe
    from fastgan_jax.inference.options import ProbeOptions
    from fastgan_jax.inference.restore import load_discriminator, load_training_set
    from fastgan_jax.utils.files import write_text

    beside = out.with_suffix(".json")
    check_outputs([out, beside], arguments.overwrite)
    trained = load_discriminator(arguments.run, read_step(arguments.step))
    measure, distance, pretrained = distance_of(arguments, trained.config)
    training = load_training_set(arguments.run, trained.config, arguments.data)
    with Progress(total=arguments.iterations, title="training decoders") as bar:
        options = ProbeOptions(
            arguments.iterations, arguments.batch_size, arguments.learning_rate, arguments.held_out, arguments.seed
        )
        result = probe.run_probe(trained, distance, pretrained, training.images, options, on_progress=bar.update)
    facts = facts_of(arguments, trained.step) | {"measure": measure}
    facts |= {name: getattr(arguments, name) for name in ("iterations", "batch_size", "learning_rate", "seed")}
    write_columns(out, result.shown, facts)
    report = facts | report_of(result, training.names)
    write_text(beside, json.dumps(report, indent=2) + "\n")
    print(table(report))
    print(f"{out}\n{beside}")


def distance_of(arguments: argparse.Namespace, config: Any) -> tuple[str, Any, Any]:
    """What --distance, --net and --weights name: its description, the distance, and its parameters.

    Raises:
        UserError: if it does not fit the images, or weights cannot be had.
    """
    from fastgan_jax.errors import UserError
    from fastgan_jax.gan.losses import DISTANCES as REFERENCE
    from fastgan_jax.gan.losses import perceptual_distance
    from fastgan_jax.inference.restore import load_run_perceptual

    if arguments.distance != "lpips":
        return arguments.distance, REFERENCE[arguments.distance], None
    if config.model.channels != 3:
        raise UserError(f"--distance lpips takes 3 channels, and the run has {config.model.channels}: --distance l1")
    try:
        name, params = load_run_perceptual(config, arguments.net, arguments.weights)
    except UserError as error:
        raise UserError(f"{error}, or --distance l1") from None
    return PERCEPTUAL[name].measure, perceptual_distance(PERCEPTUAL[name].backbone), params


def report_of(result: "ProbeResult", names: Sequence[str]) -> dict[str, Any]:
    """Mean distances over the held-out images, and each image's."""
    rows = [
        {"name": names[row], **{f"{when}_{name}": float(getattr(result, when)[name][index]) for when, name in NUMBERS}}
        for index, row in enumerate(result.held_out)
    ]
    means = {f"{when}_{name}": float(getattr(result, when)[name].mean()) for when, name in NUMBERS}
    return {"num_learned": len(names) - len(rows), "num_held_out": len(rows), "means": means, "held_out": rows}


def table(report: dict[str, Any]) -> str:
    """A report's means as lines of text."""
    means = report["means"]
    lines = [
        f"{report['run']}, iteration {report['step']}: {report['measure']}",
        f"of {report['num_held_out']} held-out images, by decoders trained for {report['iterations']} iterations on "
        f"{report['num_learned']} others",
        "map         before   after",
    ]
    for name, side in MAP_SIDES.items():
        lines.append(f"{name} {side:8} {means[f'before_{name}']:.4f}  {means[f'after_{name}']:.4f}")
    return "\n".join(lines)


def facts_of(arguments: argparse.Namespace, step: int) -> dict[str, Any]:
    """Where the discriminator comes from."""
    return {"run": run_name(arguments.run), "step": step}


def write_columns(out: Path, columns: dict[str, "np.ndarray"], facts: dict[str, Any]) -> None:
    """Writes images {title: uint8 [N, side, side, C]} as titled columns."""
    import numpy as np

    from fastgan_jax.utils.grids import captioned, image_grid, save_png

    tiles = np.stack(list(columns.values()), axis=1)
    side, channels = tiles.shape[-2:]
    line = np.full((1, side, channels), 255, np.uint8)
    titles = [captioned(line, title) for title in columns]
    height = max(len(title) for title in titles)  # depends on the letters
    titles = [np.pad(title, ((0, height - len(title)), (0, 0), (0, 0)), constant_values=255) for title in titles]
    head = image_grid(np.stack(titles), columns=len(titles))
    grid = image_grid(tiles.reshape(-1, *tiles.shape[2:]), columns=len(titles))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_png(out, np.concatenate([head, grid]), {name: str(value) for name, value in facts.items()})


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
