"""Converts checkpoints of the PyTorch FastGAN program: a .pth file to a run folder, and a run folder to a .pth file."""

import argparse
import shlex
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import read_step, run_tool
from fastgan_jax.utils.console import announced

BASE_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "base.py"
EXAMPLE = """examples:
  python tools/convert_pytorch.py import --checkpoint all_50000.pth --out runs/imported
  python tools/sample.py --run runs/imported --out samples.png
  python tools/convert_pytorch.py export --run runs/imported --out exported.pth

An import takes sizes, learning rate and betas from the file, and every other setting from configs/base.py; those can be
set as --config.GROUP.FIELD=VALUE. An export needs PyTorch (pip install 'fastgan_jax[torch]'), an import does not."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments; `settings` are those of an import, --config.GROUP.FIELD=VALUE."""
    options = {"epilog": EXAMPLE, "formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = argparse.ArgumentParser(description=__doc__, **options)
    variants = parser.add_subparsers(dest="form", required=True, metavar="import|export")
    to_run = variants.add_parser("import", help="from a .pth file to a run folder", description=__doc__, **options)
    to_run.add_argument("--checkpoint", required=True, metavar="FILE", help="the .pth file")
    to_run.add_argument("--out", required=True, metavar="DIR", help="run folder to make")
    to_file = variants.add_parser("export", help="from a run folder to a .pth file", description=__doc__, **options)
    to_file.add_argument("--run", required=True, metavar="DIR", help="run folder, or one checkpoint's folder")
    to_file.add_argument("--out", required=True, metavar="FILE", help="the .pth file to make")
    to_file.add_argument("--step", default="latest", metavar="STEP", help="latest (default), best, or an iteration")
    for form in (to_run, to_file):
        form.add_argument("--overwrite", action="store_true", help="replace what is there")
    arguments, settings = parser.parse_known_args(argv)
    if any(not word.startswith("--config.") for word in settings) or (settings and arguments.form == "export"):
        parser.error(f"unrecognized arguments: {' '.join(settings)}")
    arguments.settings = settings
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


def run(arguments: argparse.Namespace) -> None:
    """Converts in the direction that was asked for."""
    export_run(arguments) if arguments.form == "export" else import_file(arguments)


def import_file(arguments: argparse.Namespace) -> None:
    """Makes a run folder and prints what is in it, and how to go on."""
    from fastgan_jax.interop.importing import import_checkpoint
    from fastgan_jax.runs import config as configuration

    config = configuration.load_config(str(BASE_CONFIG))
    base = configuration.flatten(config)
    configuration.apply_overrides(config, configuration.split_overrides(arguments.settings)[0])
    with announced(f"importing {arguments.checkpoint}"):
        imported = import_checkpoint(arguments.checkpoint, arguments.out, config, overwrite=arguments.overwrite)
    model = imported.config.model
    print(
        f"{arguments.out}: iteration {imported.step}, resolution {model.resolution}, ngf {model.ngf}, ndf {model.ndf}, "
        f"nz {model.nz}, {model.channels} channels"
    )
    for note in imported.notes:
        print(f"note: {note}")
    changed = {name: value for name, value in configuration.flatten(imported.config).items() if value != base[name]} | (
        {} if imported.config.data.path else {"data.path": "DIR"}
    )
    words = [f"--config.{name}={value}" for name, value in changed.items()]
    print(f"sample:   python tools/sample.py --run {shlex.quote(arguments.out)} --out samples.png")
    print(
        "train on: python -m fastgan_jax.main --config configs/base.py "
        f"--workdir {shlex.quote(arguments.out)} {shlex.join(words)}"
    )


def export_run(arguments: argparse.Namespace) -> None:
    """Makes a .pth file and says so."""
    from fastgan_jax.interop.exporting import export_checkpoint

    step = read_step(arguments.step)
    with announced(f"exporting {arguments.run}"):
        found = export_checkpoint(arguments.run, arguments.out, step, overwrite=arguments.overwrite)
    print(f"{arguments.out}: iteration {found} of {arguments.run}, with g, d, g_ema, opt_g and opt_d")


if __name__ == "__main__":
    sys.exit(main())
