"""Mixes content and style: a table of images whose rows keep content and whose columns keep style.

The first column shows the content, the first row the style. Style enters through the skip-layer excitation of the maps
of the given sides (paper, section 4.3 and figures 7 and 9), by default of all that the model has.
"""

import argparse
from typing import TYPE_CHECKING

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    from fastgan_jax.inference.latents import SavedLatents

PARTS = {"content": "0-3", "style": "4-8"}  # and their default seeds
EXAMPLES = """examples:
  fastgan style-mix --run runs/mine --content 0-3 --style 4-8 --out mix.png
  fastgan style-mix --run runs/mine --content 0-3 --style 4-8 --resolutions 64,128 --out mix.png
  fastgan style-mix --run runs/mine --content-latents projected/projected.npz --style 0-4 --out mix.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add = parser.add_argument
    options.add_run(parser)
    options.add_out(parser, "a .png file", kind=options.png_path)
    for part, default in PARTS.items():
        latents = parser.add_mutually_exclusive_group()
        latents.add_argument(
            f"--{part}", type=options.seeds, default=default, metavar="S,S-S", help=f"seeds (default: {default})"
        )
        latents.add_argument(
            f"--{part}-latents", type=options.path, metavar="FILE", help="instead: z [N, nz] in an .npz"
        )
    add(
        "--resolutions",
        type=options.numbers,
        metavar="R,R,...",
        help="sides of the maps that take the style (default: all)",
    )
    options.add_truncation(parser)
    add("--label", type=int, metavar="L", help="class, for a conditional model (default: that of --content-latents)")
    add(
        "--noise-seed",
        type=options.seed,
        metavar="S",
        help="of one noise for all images (default: that of the .npz, if given; else each has its own)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Makes the table."""
    import numpy as np

    from fastgan_jax.inference.latents import latents_of
    from fastgan_jax.utils.grids import image_grid, save_png

    check_outputs([arguments.out], arguments.overwrite)
    chosen = [read_part(arguments, part) for part in PARTS]
    noise_seed = shared_noise(arguments.noise_seed, chosen)
    sampler = options.load_generator(arguments)
    if not sampler.style_resolutions:
        raise UserError(f"{arguments.run}: this model has no skip-layer excitation, through which style would enter")
    given = [latents_of(sampler, part) for part in chosen]
    label = options.check_label(
        given[0].label if arguments.label is None else arguments.label, sampler.generator.num_classes
    )
    content, style = (np.float32(arguments.truncation) * latents.z for latents in given)
    contents, styles = (
        sampler.generate(z, labels=None if label is None else [label] * len(z), noise_seed=noise_seed)
        for z in (content, style)
    )
    resolutions = arguments.resolutions
    mixed = [
        sampler.style_mix(content[row : row + 1], style, resolutions, labels=label, noise_seed=noise_seed)[0]
        for row in Progress(range(len(content)), title="rows")
    ]
    blank = np.full_like(styles[0], 255)
    rows = [np.stack([blank, *styles])] + [np.stack([own, *row]) for own, row in zip(contents, mixed, strict=True)]
    used = ",".join(map(str, resolutions or sampler.style_resolutions))
    facts = options.facts_of(arguments, sampler.step) | {"resolutions": used, "truncation": f"{arguments.truncation:g}"}
    facts |= {part: getattr(arguments, f"{part}_latents") or getattr(arguments, part) for part in PARTS}
    save_png(arguments.out, image_grid(np.concatenate(rows), columns=len(styles) + 1), facts)
    print(f"{len(content)} x {len(style)} of iteration {sampler.step}, style at {used}: {arguments.out}")


def read_part(arguments: argparse.Namespace, part: str) -> "list[int] | SavedLatents":
    """The seeds of --content or --style, or the latents of their files."""
    from fastgan_jax.inference.latents import read_latents

    file = getattr(arguments, f"{part}_latents")
    return getattr(arguments, part) if file is None else read_latents(file)


def shared_noise(given: int | None, chosen: "list[list[int] | SavedLatents]") -> int | None:
    """The seed of the noise that all images share; None: each latent has its own.

    Raises:
        UserError: if two files of latents need different ones.
    """
    if given is not None:
        return given
    needed = {part.noise_seed for part in chosen if not isinstance(part, list)} - {None}
    if len(needed) > 1:
        raise UserError(f"the two files of latents have the noise seeds {sorted(needed)}: choose one with --noise-seed")
    return needed.pop() if needed else None
