"""Finds the latents whose images come nearest to given images: latent back-tracking."""

import argparse
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import add_run_arguments, read_seeds, run_tool, tool_parser
from fastgan_jax.cli.inputs import load_generator
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

BATCH = 8  # images searched for together, at most
EXAMPLES = """examples:
  python tools/project.py --run runs/mine --images me.jpg you.png --out projected/
  python tools/project.py --run runs/mine --images folder/ --out projected/ --updates 300 --distance l2
  python tools/project.py --run runs/demo --training 0-3 --out projected/ --net squeeze

Writes one PNG for each image, side_by_side.png (image | projection), table.json and projected.npz with the latents
`z`, the image files `names` and `noise_seed`: generate(z, noise_seed=noise_seed) gives the PNGs again."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    add_run_arguments(parser, out="a folder")
    targets = parser.add_mutually_exclusive_group(required=True)
    targets.add_argument("--images", nargs="+", metavar="PATH", help="image files, or folders of them")
    targets.add_argument("--training", metavar="N,N-N", help="images of the run's own training set, from 0")
    parser.add_argument("--data", metavar="PATH", help="of --training: folder or zip, if it is no longer where it was")
    parser.add_argument("--distance", default="lpips", choices=("lpips", "l2"), help="lpips (default) needs weights")
    parser.add_argument(
        "--net", choices=tuple(PERCEPTUAL), help="network of lpips (default: the run's)"
    )
    parser.add_argument("--weights", metavar="FILE", help="local file with the weights of --net")
    parser.add_argument("--updates", type=int, default=1000, metavar="N", help="of Adam (default: 1000)")
    parser.add_argument("--learning-rate", type=float, default=0.1, metavar="R", help="of Adam (default: 0.1)")
    parser.add_argument(
        "--prior-weight", type=float, default=0.01, metavar="W", help="keeps the length of z usual (default: 0.01)"
    )
    parser.add_argument("--starts", type=int, default=64, metavar="K", help="sampled latents to begin at (default: 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of these latents (default: 0)")
    parser.add_argument("--noise-seed", type=int, default=0, metavar="S", help="of the fixed noise (default: 0)")
    parser.add_argument("--labels", metavar="L,L,...", help="class of each image, or one class for all")
    parser.add_argument("--batch-size", type=int, metavar="B", help=f"images at a time (default: all, up to {BATCH})")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


def run(arguments: argparse.Namespace) -> None:
    """Projects the images and writes what was found."""
    from fastgan_jax.data.image_files import image_files

    if arguments.training is None:
        files = image_files(arguments.images)
    else:
        files = [Path(f"training_{number:06d}") for number in read_seeds(arguments.training, "--training")]
    out = Path(arguments.out)
    names = [f"{index:03d}_{file.stem}.png" for index, file in enumerate(files)]
    check_outputs(
        [out / name for name in (*names, "side_by_side.png", "table.json", "projected.npz")], arguments.overwrite
    )
    labels = read_labels(arguments.labels, len(files))

    from fastgan_jax.inference.options import ProjectionOptions
    from fastgan_jax.inference.projection import project

    sampler = load_generator(arguments)
    targets, own_labels = read_targets(arguments, files, sampler.config)
    network, params = find_network(arguments, sampler.config)
    batch_size = min(len(files), BATCH) if arguments.batch_size is None else arguments.batch_size
    with Progress(total=arguments.updates * -(-len(files) // max(batch_size, 1)), title="projecting") as bar:
        options = ProjectionOptions(
            updates=arguments.updates,
            learning_rate=arguments.learning_rate,
            prior_weight=arguments.prior_weight,
            starts=arguments.starts,
            seed=arguments.seed,
            noise_seed=arguments.noise_seed,
            batch_size=batch_size,
        )
        labels = own_labels if labels is None else labels
        projection = project(sampler, targets, network, params, options, labels=labels, on_progress=bar.update)
    write(out, [out / name for name in names], files, targets, projection, facts(arguments, sampler.step, network))


def read_targets(arguments: argparse.Namespace, files: list[Path], config) -> tuple:
    """The images uint8 [N, R, R, C], and their classes where the training set has them, otherwise None.

    Raises:
        UserError: if they cannot be read, or there are not so many training images.
    """
    from fastgan_jax.data.image_files import read_images
    from fastgan_jax.errors import UserError
    from fastgan_jax.inference.restore import load_training_set

    if arguments.training is None:
        return read_images(files, config), None
    numbers = read_seeds(arguments.training, "--training")
    training = load_training_set(arguments.run, config, arguments.data)
    if max(numbers) >= len(training.images):
        raise UserError(f"--training {arguments.training}: the set has {len(training.images)} images, counted from 0")
    has_classes = config.model.num_classes and arguments.data is None
    return training.images[numbers], training.labels[numbers].tolist() if has_classes else None


def find_network(arguments: argparse.Namespace, config) -> tuple:
    """Name and parameters of the perceptual network, (None, None) if none is asked for.

    Raises:
        UserError: if its weights cannot be had; the line ends with what can be done here.
    """
    from fastgan_jax.errors import UserError
    from fastgan_jax.inference.restore import load_run_perceptual

    if arguments.distance == "l2":
        return None, None
    try:
        return load_run_perceptual(config, arguments.net, arguments.weights)
    except UserError as error:
        raise UserError(f"{error}, or --distance l2") from None


def read_labels(text: str | None, count: int) -> list[int] | None:
    """The classes in --labels, one for each image.

    Raises:
        UserError: if they are no numbers.
    """
    from fastgan_jax.errors import UserError

    if text is None:
        return None
    try:
        labels = [int(label) for label in text.split(",")]
    except ValueError:
        raise UserError(f"--labels {text}: give numbers joined by commas") from None
    return labels * count if len(labels) == 1 else labels


def facts(arguments: argparse.Namespace, step: int, network: str | None) -> dict:
    """How the projection was made."""
    made = {"run": run_name(arguments.run), "step": step, "distance": network or "l2"}
    options = ("updates", "learning_rate", "prior_weight", "starts", "seed", "noise_seed")
    return made | {name: getattr(arguments, name) for name in options}


def write(out: Path, paths: list[Path], files: list[Path], targets, projection, made: dict) -> None:
    """Writes the files, prints their paths and the table."""
    import json

    import numpy as np

    from fastgan_jax.utils.files import write_text
    from fastgan_jax.utils.grids import image_grid, save_png

    out.mkdir(parents=True, exist_ok=True)
    metadata = {name: str(value) for name, value in made.items()}
    for path, file, image in zip(paths, files, projection.images, strict=True):
        save_png(path, image, metadata | {"target": file.name})
    pairs = np.stack([targets, projection.images], 1).reshape(-1, *targets.shape[1:])
    columns = 2 * max(1, round((len(files) / 2) ** 0.5))
    save_png(out / "side_by_side.png", image_grid(pairs, columns), metadata)

    arrays = {"z": projection.z, "names": np.array([str(file) for file in files])}
    if projection.labels is not None:
        arrays["labels"] = np.array(projection.labels)
    np.savez(out / "projected.npz", noise_seed=projection.noise_seed, **arrays)

    lengths = np.linalg.norm(projection.z, axis=1) / projection.z.shape[1] ** 0.5
    columns = (files, projection.start_distances.tolist(), projection.distances.tolist(), lengths.tolist())
    rows = [
        {"picture": str(file), "before": before, "after": after, "length": length}
        for file, before, after, length in zip(*columns, strict=True)
    ]
    write_text(
        out / "table.json", json.dumps(made | {"measure": projection.measure, "pictures": rows}, indent=2) + "\n"
    )
    print(table(rows, projection.measure))
    for path in (*paths, out / "side_by_side.png", out / "table.json", out / "projected.npz"):
        print(path)


def table(rows: list[dict], measure: str) -> str:
    """Distances before and after, and |z| / sqrt(nz), as lines of text."""
    width = max(len("picture"), *(len(Path(row["picture"]).name) for row in rows))
    lines = [measure, f"{'picture':{width}}  before   after  fell to  |z|/sqrt(nz)"]
    total = {key: sum(row[key] for row in rows) / len(rows) for key in ("before", "after", "length")}
    for row in [*rows, {"picture": "mean"} | total]:
        share = row["after"] / row["before"] if row["before"] else 1
        name = Path(row["picture"]).name
        lines.append(f"{name:{width}}  {row['before']:.4f}  {row['after']:.4f}  {share:7.1%}  {row['length']:12.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
