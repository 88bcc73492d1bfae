"""Shows a set of images as the networks will see it, and says how long training takes here.

Prints counts, sizes and shapes with advice, near-duplicates, and what was measured on this device: time per 1,000
iterations and memory. The sheet holds the images as they are fitted, the least square ones in every fit, each
augmentation, and near-duplicates.
"""

import argparse
import logging
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.cli.train import add_settings, read_config
from fastgan_jax.utils.console import announced, show_log, watched
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  fastgan look /my/images --out sheet.png
  fastgan look /my/images --preset art1024 --config.data.fit=crop --out sheet.png --no-timing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser)
    options.add_out(parser, "a .png file", kind=options.png_path)
    parser.add_argument("--no-timing", action="store_true", help="do not compile and time training")
    parser.set_defaults(workdir=None, mode="look")


def run(arguments: argparse.Namespace) -> None:
    """Writes the sheet, prints what it shows, and times training."""
    from fastgan_jax.errors import UserError
    from fastgan_jax.runs import config as configuration

    if arguments.images is None:
        raise UserError("nothing to look at: give a folder or zip of images")
    options.check_not_among(arguments.out, [arguments.images])
    check_outputs([arguments.out], arguments.overwrite)
    show_log(logging.INFO)
    config = read_config(arguments)
    with announced("starting"):
        configuration.validate(config)
        from fastgan_jax.data.dataset import check_tasks, load_image_set
        from fastgan_jax.utils.devices import keep_compiled_programs

    keep_compiled_programs()
    shape = {name: config.model[name] for name in ("resolution", "channels", "num_classes")}
    images = load_image_set(config.data, **shape, run_dir=".")
    check_tasks(config.model, images)
    write_sheet(arguments, config, images)
    if not arguments.no_timing:
        print_timing(config, images)


def write_sheet(arguments: argparse.Namespace, config: Any, images: Any) -> None:
    """Writes the sheet and prints its text."""
    import jax

    from fastgan_jax.build import spec_from_config
    from fastgan_jax.data.decode import Format
    from fastgan_jax.data.source import open_source
    from fastgan_jax.data.statistics import describe_shapes, near_duplicates
    from fastgan_jax.report import sheet
    from fastgan_jax.utils.grids import save_png

    target = Format(config.model.resolution, config.model.channels, config.data.fit, config.data.background)
    groups = near_duplicates(images.images)
    lines = describe_shapes(images.files.read, target.resolution, target.fit)
    if groups:
        more = sum(map(len, groups)) - len(groups)
        lines.append(f"near-duplicates: {more} of {len(images.names)} images, beyond the first of these groups:")
        lines += [f"    {', '.join(images.names[row] for row in group[:4])}" for group in groups[:5]]
    else:
        lines.append("near-duplicates: none")
    print("\n".join(lines))

    def draw() -> Any:
        source = open_source(config.data.path)
        try:
            fits = sheet.fit_section(images, source, target)
        finally:
            source.close()
        sections = [sheet.set_section(images, target.fit), sheet.duplicate_section(images, groups), fits]
        sections += sheet.augmentation_sections(images, spec_from_config(config), jax.random.key(0))
        counts = images.files.summary(f"{target.resolution}x{target.resolution}x{target.channels}", target.fit)
        return sheet.contact_sheet(counts[0], [*counts[1:], *lines], [section for section in sections if section])

    save_png(arguments.out, watched("drawing the sheet", draw))
    print(arguments.out)


def print_timing(config: Any, images: Any) -> None:
    """Compiles and runs a few iterations as training will, and prints time and memory."""
    from fastgan_jax.benchmark.estimate import duration, measure

    found = measure(config, images)
    whole = duration(config.train.iterations * found.seconds)
    print(f"1,000 iterations take {duration(1000 * found.seconds)} here, all {config.train.iterations:,} {whole}")
    memory, resident = found.memory / 1e9, found.resident / 1e9
    print(f"training needs {memory:.1f} GB of memory here, of which the images {resident:.2g} GB")
