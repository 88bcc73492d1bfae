"""Generates images: a grid, a PNG file for each, or a zip of them.

The image of a checkpoint, a seed and an index is always the same, however many are generated. With --pick K, image n is
the best of the indices K n to K n + K - 1, and its PNG names the index.
"""

import argparse
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import LARGEST_SEED
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs, replacing

if TYPE_CHECKING:
    import numpy as np

    from fastgan_jax.inference.sampler import Sampler

BATCH = 8  # images of one step of the progress bar
SINGLE = "seed{:04d}_{:06d}.png"  # the image of a seed and an index, in a folder or a zip
EXAMPLES = """examples:
  fastgan sample --run runs/demo --num 16 --seed 0 --out samples.png          one grid
  fastgan sample --run runs/demo --num 100 --out samples/ --truncation 0.8    one file each
  fastgan sample --run runs/demo --seeds 0-99 --out samples.zip               the first image of each seed
  fastgan sample --run runs/demo --num 16 --pick 8 --out best.png             each the best of 8"""

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--step", "--truncation", "--columns")
    options.add_out(parser, "a .png file for a grid, a .zip, or a folder")
    add("--num", type=options.count, metavar="N", help="images of each seed (default: 16; 1 with --seeds)")
    which = parser.add_mutually_exclusive_group().add_argument
    which("--seed", type=options.seed, default=0, metavar="S", help="from 0 to 2^32 - 1 (default: 0)")
    which("--seeds", type=options.seeds, metavar="S,S-S", help="several seeds, such as 0,3,7-9")
    add(
        "--pick",
        type=options.count,
        default=1,
        metavar="K",
        help="each is the best of K by FastGAN's discriminator",
    )
    add("--first", type=options.index, default=0, metavar="I", help="index of the first image (default: 0)")
    add(
        "--labels",
        type=options.numbers,
        metavar="L,L,...",
        help="class of each image, or one for all (default: by index, in turn)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Generates the images and writes them."""
    import numpy as np

    from fastgan_jax.utils.grids import image_grid, save_png

    out, kind = arguments.out, arguments.out.suffix.lower()
    options.check_suffix(out, "be a .png file for a grid, a .zip, or a folder", ".png", ".zip")
    chosen = list(dict.fromkeys(arguments.seeds or [arguments.seed]))  # one named twice would name its files twice
    num = arguments.num or (16 if arguments.seeds is None else 1)
    if (total := len(chosen) * num * arguments.pick) > options.MOST_SEEDS:
        raise UserError(f"{total} images are more than {options.MOST_SEEDS}: give fewer")
    if (last := arguments.pick * (arguments.first + num) - 1) > LARGEST_SEED:
        raise UserError(f"the last image would have the index {last}, above {LARGEST_SEED}: give a smaller --first")
    if kind != ".png":
        options.refuse(arguments, "--columns", with_="single images, of which there is no grid")
    drawn = [(own, number) for own in chosen for number in range(arguments.first, arguments.first + num)]
    names = [SINGLE.format(own, number) for own, number in drawn]
    check_outputs([out] if kind in (".png", ".zip") else [out / name for name in names], arguments.overwrite)

    sampler = options.load_generator(arguments)
    if kind == ".png":
        options.check_room_for(len(drawn), sampler, "write a folder or a .zip, or fewer")
    labels = class_labels(arguments.labels, drawn, sampler.generator.num_classes)
    facts = options.facts_of(arguments, sampler.step) | {"truncation": f"{arguments.truncation:g}"}
    if arguments.pick > 1:
        drawn = pick(arguments, sampler, drawn, labels)
        facts["pick"] = arguments.pick
    own_facts = [facts | {"seed": own, "index": number} for own, number in drawn]
    if labels is not None:
        own_facts = [own | {"class": label} for own, label in zip(own_facts, labels, strict=True)]
    images = generate(sampler, drawn, labels, arguments.truncation)
    if kind == ".png":
        facts |= {"seed": arguments.seeds or arguments.seed, "first": arguments.first}
        save_png(out, image_grid(np.stack(list(images)), arguments.columns), facts)
    elif kind == ".zip":
        write_zip(out, zip(names, images, own_facts, strict=True))
    else:
        for name, image, own in zip(names, images, own_facts, strict=True):
            save_png(out / name, image, own)
    others = 0 if kind else len({path.name for path in out.glob("*.png")} - {*names})  # of other seeds or runs, say
    beside = f", beside {others} other{'s' * (others > 1)}" if others else ""
    print(f"{len(drawn)} image{'s' * (len(drawn) > 1)} of iteration {sampler.step}: {out}{beside}")


def pick(
    arguments: argparse.Namespace, sampler: "Sampler", drawn: list[tuple[int, int]], labels: list[int] | None
) -> list[tuple[int, int]]:
    """For each pair (seed, n), that of (seed, K n), ..., (seed, K n + K - 1) whose image the discriminator prefers."""
    import numpy as np

    from fastgan_jax.inference.picking import realness
    from fastgan_jax.inference.restore import load_discriminator

    trained, count = load_discriminator(arguments.run, arguments.step), arguments.pick
    candidates = [(own, count * number + j) for own, number in drawn for j in range(count)]
    classes = None if labels is None else [label for label in labels for _ in range(count)]
    images = generate(sampler, candidates, classes, arguments.truncation, title="candidates")
    classes, scores = sampler.check_labels(classes, len(candidates)), []
    for start in range(0, len(candidates), BATCH):
        batch = np.stack(list(itertools.islice(images, BATCH)))
        scores.append(realness(trained, batch, classes[start : start + BATCH]))
    best = np.concatenate(scores).reshape(len(drawn), count).argmax(1)
    return [candidates[row * count + own] for row, own in enumerate(best)]


def generate(
    sampler: "Sampler",
    drawn: list[tuple[int, int]],
    labels: list[int] | None,
    truncation: float,
    title: str = "images",
) -> Iterator["np.ndarray"]:
    """The images uint8 [H, W, C] of pairs of seed and index, one after the other."""
    import numpy as np

    with Progress(total=len(drawn), title=title) as bar:
        for start in range(0, len(drawn), BATCH):
            batch = drawn[start : start + BATCH]
            z = [sampler.latents(1, own, first=number, truncation=truncation) for own, number in batch]
            yield from sampler.generate(np.concatenate(z), labels=labels and labels[start : start + BATCH])
            bar.update(len(batch))


def write_zip(path: Path, files: "Iterable[tuple[str, np.ndarray, dict[str, Any]]]") -> None:
    """Writes images as PNGs into a zip, which appears when it is complete."""
    import zipfile

    from fastgan_jax.utils.grids import encode_png

    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, image, facts in files:
            archive.writestr(zipfile.ZipInfo(name), encode_png(image, facts))


def class_labels(labels: list[int] | None, drawn: list[tuple[int, int]], num_classes: int) -> list[int] | None:
    """One class for each image; for a conditional model without --labels, by the index, every class in turn.

    Raises:
        UserError: if the classes do not fit the model, or are not one or as many as images.
    """
    if labels is None:
        labels = [number % num_classes for _, number in drawn] if num_classes else None
        if labels and len(labels) > 1 and len(set(labels)) == 1:
            log.warning("all images are of class %d, since that goes by the index; --labels chooses", labels[0])
        return labels
    text = ",".join(map(str, labels))
    if not num_classes:
        raise UserError(f"--labels {text}: this model is unconditional; leave --labels out")
    labels = labels * len(drawn) if len(labels) == 1 else labels
    if len(labels) != len(drawn) or not all(0 <= label < num_classes for label in labels):
        raise UserError(
            f"--labels {text}: give one class, or one for each of the {len(drawn)} images, from 0 to {num_classes - 1}"
        )
    return labels
