"""Trains FastGAN on a folder or zip of images.

The same command again resumes. Every field of the configuration (--mode=print-config shows it, configs/base.py
describes it) can be set as --config.GROUP.FIELD=VALUE.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.configs import preset_names
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import show_log

DEFAULT_PRESET = "fewshot256"
EXAMPLES = """examples:
  fastgan train /my/images
  fastgan train /my/images --preset art1024 --workdir runs/mine --config.train.precision=bfloat16
  fastgan train --preset demo                                          no images needed
  fastgan train /my/images --preset art1024 --mode=print-config        without training"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", nargs="?", type=options.path, metavar="IMAGES", help="folder (with its subfolders) or .zip of images")
    which = parser.add_mutually_exclusive_group().add_argument
    which("--preset", metavar="NAME", help=f"settings: {', '.join(preset_names())} (default: {DEFAULT_PRESET})")
    which("--config", metavar="FILE", help="settings: a file such as configs/demo.py, a run's config.json, or a preset")
    add("--workdir", type=options.path, metavar="DIR", help="run folder (default: runs/<name of images or settings>)")
    add("--mode", choices=("train", "eval", "print-config"), default="train", help="default: train")
    options.take_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trains, evaluates or prints the configuration, and returns the exit code."""
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.utils.devices import keep_compiled_programs

    config = read_config(arguments)
    if arguments.mode == "print-config":
        configuration.validate(config, check_source=False)
        print(json.dumps(configuration.to_dict(config), indent=2))
        return 0
    configuration.validate(config)
    workdir = arguments.workdir or Path("runs") / default_name(arguments)
    show_log(logging.INFO)
    keep_compiled_programs()
    return evaluate(config, workdir) if arguments.mode == "eval" else train(config, workdir)


def read_config(arguments: argparse.Namespace) -> Any:
    """The configuration that the arguments describe; UserError if they name nothing to train on, or no such thing."""
    from fastgan_jax.runs import config as configuration

    source = arguments.config or arguments.preset
    if source is None and arguments.images is None and arguments.mode != "print-config":
        raise UserError("nothing to train on: give a folder or zip of images, or --preset demo")
    if arguments.preset and arguments.preset not in preset_names():
        raise UserError(f"--preset {arguments.preset}: must be one of {', '.join(preset_names())}")
    config = configuration.load_config(source or DEFAULT_PRESET)
    if arguments.images:
        if not arguments.images.exists():
            raise UserError(f"{arguments.images}: no such folder or zip of images")
        config.data.update(path=str(arguments.images.resolve()), tfds=None, demo_images=None)
    configuration.apply_overrides(config, arguments.overrides)
    return config


def default_name(arguments: argparse.Namespace) -> str:
    """The name of the run folder: that of the images, else that of the settings or of their run."""
    if images := arguments.images and arguments.images.resolve():
        return images.name if images.is_dir() else images.stem
    config = Path(arguments.config or arguments.preset).expanduser().resolve()
    return config.parent.name if config.name == "config.json" else config.stem


def train(config: Any, workdir: Path) -> int:
    """Trains, and returns the exit code."""
    from fastgan_jax.train import Diverged, Interrupted, train_and_evaluate

    try:
        train_and_evaluate(config, str(workdir))
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 128 + error.signal_number
    return 0


def evaluate(config: Any, workdir: Path) -> int:
    """Evaluates every kept checkpoint and leaves the result in the run folder, in place of the one that is there."""
    from fastgan_jax.cli.evaluate import show
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.checkpoint import checkpoint_steps, find_checkpoint, read_config
    from fastgan_jax.runs.folder import RunFolder

    steps = checkpoint_steps(workdir)
    configuration.check_resumable(read_config(find_checkpoint(workdir)), configuration.to_dict(config))
    evaluation = evaluate_run(workdir, steps, config)
    folder = RunFolder(workdir)
    coverage = None if evaluation.coverage is None else folder.coverage
    numbers = folder.evaluation
    show(evaluation, config, workdir, json=numbers, plot=numbers.with_suffix(".png"), coverage=coverage)
    return 0
