"""Mixes content and style: a table of images whose rows keep content and whose columns keep style.

The first column shows the content, the first row the style. Style enters through the skip-layer excitation of the maps
of the given sides (paper, section 4.3 and figures 7 and 9), by default of all that the model has.
"""

import argparse

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import check_outputs

ROLES = {"content": "0-3", "style": "4-8"}  # and their default seeds
EXAMPLES = """examples:
  fastgan style-mix --run runs/mine --content 0-3 --style 4-8 --out mix.png
  fastgan style-mix --run runs/mine --content 0-3 --style 4-8 --resolutions 64,128 --out mix.png
  fastgan style-mix --run runs/mine --content-latents projected/projected.npz --style 0-4 --out mix.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--step", "--truncation")
    options.add_out(parser, "a .png file", kind=options.png_path)
    for part, default in ROLES.items():
        latents, what = parser.add_mutually_exclusive_group().add_argument, f"seeds (default: {default})"
        latents(f"--{part}", type=options.seeds, default=default, metavar="S,S-S", help=what)
        latents(f"--{part}-latents", type=options.path, metavar="FILE", help="instead: z [N, nz] in an .npz")
    add("--resolutions", type=options.numbers, metavar="R,R,...", help="of maps that take the style (default: all)")
    add("--label", type=int, metavar="L", help="class, for a conditional model (default: that of --content-latents)")
    add("--noise-seed", type=options.seed, metavar="S", help="of one noise for all (default: the .npz's, or one each)")


def run(arguments: argparse.Namespace) -> None:
    """Makes the table."""
    import numpy as np

    from fastgan_jax.inference.latents import latents_of, read_latents
    from fastgan_jax.utils.grids import image_grid, save_png

    check_outputs([arguments.out], arguments.overwrite)
    sources = {part: getattr(arguments, f"{part}_latents") or getattr(arguments, part) for part in ROLES}
    chosen = [own if isinstance(own, list) else read_latents(own) for own in sources.values()]
    noise_seed = arguments.noise_seed
    if noise_seed is None:
        needed = {part.noise_seed for part in chosen if not isinstance(part, list)} - {None}
        if len(needed) > 1:
            found = f"the two files of latents have the noise seeds {sorted(needed)}"
            raise UserError(f"{found}: choose one with --noise-seed")
        noise_seed = needed.pop() if needed else None
    sampler = options.load_generator(arguments)
    if not sampler.style_resolutions:
        raise UserError(f"{arguments.run}: this model has no skip-layer excitation, through which style would enter")
    resolutions = sampler.style_resolutions
    if arguments.resolutions:
        resolutions = sampler.check_style_resolutions(arguments.resolutions)
    rows, columns = (1 + len(part if isinstance(part, list) else part.z) for part in chosen)
    options.check_room_for(rows * columns, sampler, "give fewer of --content or --style")
    given = [latents_of(sampler, part, arguments.truncation) for part in chosen]
    label = options.label_of(arguments, sampler, given[0])
    content, style = (latents.z for latents in given)
    contents, styles = (sampler.generate(z, labels=label, noise_seed=noise_seed) for z in (content, style))
    rows = [np.stack([np.full_like(styles[0], 255), *styles])]
    for z, own in Progress(list(zip(content, contents, strict=True)), title="rows"):
        mixed = sampler.style_mix(z[None], style, resolutions, labels=label, noise_seed=noise_seed)[0]
        rows.append(np.stack([own, *mixed]))
    used = ",".join(map(str, resolutions))
    facts = options.facts_of(arguments, sampler.step) | {"resolutions": used, "truncation": f"{arguments.truncation:g}"}
    save_png(arguments.out, image_grid(np.concatenate(rows), columns=len(styles) + 1), facts | sources)
    print(f"{len(content)} x {len(style)} of iteration {sampler.step}, style at {used}: {arguments.out}")
