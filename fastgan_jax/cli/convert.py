"""Converts checkpoints of the PyTorch FastGAN program: a .pth file to a run folder, and a run folder to a .pth file.

An import takes sizes, learning rate and betas from the file, and every other setting from configs/base.py; all but
sizes can be set as --config.GROUP.FIELD=VALUE. An export needs PyTorch (pip install 'fastgan_jax[torch]'), an import
does not.
"""

import argparse
import shlex

from fastgan_jax.cli import options
from fastgan_jax.cli.train import make_paths_absolute
from fastgan_jax.utils.console import announced

EXAMPLES = """examples:
  fastgan convert import --checkpoint all_50000.pth --out runs/imported
  fastgan sample --run runs/imported --out samples.png
  fastgan convert export --run runs/imported --out exported.pth"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_texts = {"description": parser.description, "epilog": parser.epilog}
    directions = parser.add_subparsers(dest="direction", required=True, metavar="import|export")
    to_run = directions.add_parser("import", help="from a .pth file to a run folder", **help_texts)
    to_run.add_argument("--checkpoint", type=options.path, required=True, metavar="FILE", help="the .pth file")
    options.add_out(to_run, "run folder to make")
    options.take_overrides(to_run)
    to_file = directions.add_parser("export", help="from a run folder to a .pth file", **help_texts)
    options.add_shared(to_file, "--run", "--step")
    options.add_out(to_file, "the .pth file to make")


def run(arguments: argparse.Namespace) -> None:
    """Converts in the given direction."""
    from fastgan_jax.utils.devices import keep_compiled_programs

    keep_compiled_programs()
    export_run(arguments) if arguments.direction == "export" else import_file(arguments)


def import_file(arguments: argparse.Namespace) -> None:
    """Makes a run folder and prints what is in it, and how to go on."""
    from fastgan_jax.interop.importing import import_checkpoint
    from fastgan_jax.runs import config as configuration

    config = configuration.load_config("base")
    base = configuration.flatten(config)
    configuration.apply_overrides(config, arguments.overrides)
    make_paths_absolute(config)
    given = [name for name, _ in arguments.overrides]
    with announced(f"importing {arguments.checkpoint}"):
        imported = import_checkpoint(arguments.checkpoint, arguments.out, config, given, overwrite=arguments.overwrite)
    model = imported.config.model
    print(
        f"{arguments.out}: iteration {imported.step}, resolution {model.resolution}, ngf {model.ngf}, ndf {model.ndf}, "
        f"nz {model.nz}, {model.channels} channels"
    )
    for note in imported.notes:
        print(f"note: {note}")
    named = any(imported.config.data[source] is not None for source in configuration.SOURCES)
    images = shlex.quote(imported.config.data.path or "") if named else "IMAGES"
    changed = {name: value for name, value in configuration.flatten(imported.config).items() if value != base[name]}
    if imported.step >= imported.config.train.iterations:
        changed["train.iterations"] = 2 * imported.step
    words = [f"--config.{name}={value}" for name, value in changed.items() if name != "data.path"]
    out = shlex.quote(str(arguments.out))
    print(f"sample:   fastgan sample --run {out} --out samples.png")
    print(f"continue: fastgan train {images} --preset base --workdir {out} {shlex.join(words)}")


def export_run(arguments: argparse.Namespace) -> None:
    """Makes a .pth file and says so."""
    from fastgan_jax.interop.exporting import export_checkpoint

    with announced(f"exporting {arguments.run}"):
        found = export_checkpoint(arguments.run, arguments.out, arguments.step, overwrite=arguments.overwrite)
    print(f"{arguments.out}: iteration {found} of {arguments.run}, with g, d, g_ema, opt_g and opt_d")
