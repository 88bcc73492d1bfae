"""Trains FastGAN on a folder or zip of images.

The same command again resumes. Every field of the configuration (--mode=print-config shows it, configs/base.py
describes it) can be set as --config.GROUP.FIELD=VALUE.
"""

import argparse
import itertools
import json
import logging
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.configs import preset_names
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import announced, muted, say, show_log
from fastgan_jax.utils.files import user_path
from fastgan_jax.utils.hosts import ending_together, join
from fastgan_jax.utils.plots import check_matplotlib

if TYPE_CHECKING:
    from fastgan_jax.runs.folder import RunFolder

HOSTS = {  # options for a run of several processes
    "--coordinator": {
        "metavar": "HOST:PORT",
        "help": "train with other processes, which meet here: the first one's host (auto: as the cluster says)",
    },
    "--num-processes": {
        "type": options.count,
        "metavar": "N",
        "help": "how many processes there are; 1: this one is alone",
    },
    "--process-id": {"type": options.index, "metavar": "I", "help": "which of them this is, from 0"},
}
DEFAULT_PRESET = "fewshot256"  # where there are no images to choose by

log = logging.getLogger(__name__)
EXAMPLES = """examples:
  fastgan train /my/images
  fastgan train /my/images --preset art1024 --workdir runs/mine --config.train.precision=bfloat16
  fastgan train --preset demo                                          no images needed
  fastgan train /my/images --preset art1024 --mode=print-config        without training"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_settings(parser)
    add("--workdir", type=options.path, metavar="DIR", help="run folder (default: runs/<name of images or settings>)")
    for option, words in HOSTS.items():
        add(option, **words)
    add("--mode", choices=("train", "eval", "print-config"), default="train", help="default: train")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds what `read_config` reads: the images, and their settings."""
    add = parser.add_argument
    add("images", nargs="?", type=options.path, metavar="IMAGES", help="folder (with its subfolders) or .zip of images")
    which = parser.add_mutually_exclusive_group().add_argument
    which("--preset", metavar="NAME", help=f"settings: {', '.join(preset_names())} (default: by device and images)")
    which(
        "--config",
        metavar="FILE",
        help="settings: a file such as configs/demo.py, a run folder or its config.json, or a preset",
    )
    options.take_overrides(parser)


def run(arguments: argparse.Namespace) -> int:
    """Trains, evaluates or prints the configuration, and returns the exit code."""
    from fastgan_jax.data.source import open_source
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.folder import RunFolder

    if arguments.mode == "print-config":
        config = read_config(arguments)
        has_source = any(config.data.get(name) is not None for name in configuration.SOURCES)
        configuration.validate(config, check_source=has_source)
        print(json.dumps(configuration.to_dict(config), indent=2))
        return 0
    show_log(logging.INFO)
    if arguments.mode == "train":
        join(arguments.coordinator, arguments.num_processes, arguments.process_id)
    with ending_together():
        config, workdir = read_config(arguments), run_folder(arguments)
        run = RunFolder(workdir)
        if config.data.get("path") == str(workdir.resolve()):
            open_source(config.data.path).close()  # which refuses a run folder, and says how to go on with it
            raise UserError(f"the run folder {workdir} is that of the images: choose another --workdir")
        if config.data.get("path") and (folder := run.folder_of_own_images(config.data.path)):
            raise UserError(f"{folder} is where the run writes images of its own: choose another --workdir")
        if arguments.mode == "train":
            run.restore_config()
            check_images_of_run(arguments, config, run)
        with announced("starting"):
            configuration.validate(config)
            from fastgan_jax.data.dataset import check_source
            from fastgan_jax.utils.devices import keep_compiled_programs

            check_source(config.data, config.model.num_classes)

        keep_compiled_programs()
        if arguments.mode == "eval":
            return evaluate(config, workdir, [field for field, _ in arguments.overrides])
        return train(config, workdir)


def read_config(arguments: argparse.Namespace) -> Any:
    """The configuration that the arguments describe.

    Raises:
        UserError: if they name nothing to train on, or no such thing; paths and names are checked before anything slow.
    """
    from fastgan_jax.runs import config as configuration

    source, given = arguments.config or arguments.preset, source_given(arguments)
    if source is None and arguments.images is None and given and given[0] == "data.path":
        arguments.images = user_path(given[1])
    images = arguments.images
    if images and given and given[0] == "data.path" and user_path(given[1]).resolve() != images.resolve():
        raise UserError(f"{images} and --config.data.path={given[1]}: name one set of images")
    if source is None and images is None and not given and arguments.mode != "print-config":
        raise UserError("nothing to train on: give a folder or zip of images, or --preset demo")
    if arguments.preset and arguments.preset not in preset_names():
        raise UserError(f"--preset {arguments.preset}: must be one of {', '.join(preset_names())}")
    if images and not images.exists():
        raise UserError(f"{images}: no such folder or zip of images")
    source = source or (preset_for(arguments) if images else preset_without_images(arguments))
    config = configuration.load_config(source)
    if images:
        config.data.update(dict.fromkeys(configuration.SOURCES) | {"path": str(images.resolve())})
    elif given:  # in place of the settings' own
        config.data.update(dict.fromkeys(configuration.SOURCES))
    configuration.apply_overrides(config, arguments.overrides)
    make_paths_absolute(config)
    return config


def make_paths_absolute(config: Any) -> None:
    """Makes the paths in settings absolute, since commands in other folders read them too.

    A label file that is not here may be one among the images, and keeps its name; one that lies among them gets that.
    """
    from fastgan_jax.runs.config import PATHS

    for field in PATHS:
        group, name = field.split(".")
        value = config[group].get(name)
        if not isinstance(value, str) or not value or ("://" in value and field != "data.path"):
            continue  # validation says what is wrong
        path = user_path(value).resolve()
        if field != "data.labels":
            config[group][name] = str(path)
        elif path.exists():
            inside = config.data.path is not None and path.is_relative_to(config.data.path)
            config[group][name] = str(path.relative_to(config.data.path) if inside else path)
    hub = config.data.hf
    if isinstance(hub, str) and hub and "://" not in hub and user_path(hub).exists():  # a local set, not one of the hub
        config.data.hf = str(user_path(hub).resolve())


def source_given(arguments: argparse.Namespace) -> tuple[str, str] | None:
    """The field and the value of --config.data.path, .tfds or .hf; None without any of them."""
    from fastgan_jax.runs.config import SOURCES

    given = {name: value for name, value in arguments.overrides if value not in ("", "None", "none")}
    sources = (f"data.{name}" for name in SOURCES if name != "demo_images")
    return next(((name, given[name]) for name in sources if name in given), None)


def preset_for(arguments: argparse.Namespace) -> str | Path:
    """The settings for images that came without: those of the run in the run folder, else the preset that suits."""
    from fastgan_jax.data.source import open_source
    from fastgan_jax.data.survey import survey

    if run := run_with_settings(arguments, {"path": str(arguments.images)}):
        return run
    with announced(f"reading {arguments.images}"), muted("fastgan_jax.data"):
        source = open_source(str(arguments.images))
        try:
            found = survey(source)
        finally:
            source.close()
    with announced("starting"):
        from fastgan_jax.runs.presets import choose_preset
        from fastgan_jax.utils.devices import this_device

        preset, reason = choose_preset(this_device(), len(source.names), *found)
    log.info("%s", reason)
    return preset


def run_with_settings(arguments: argparse.Namespace, data: dict[str, str]) -> Path | None:
    """The settings of the run in the run folder if it goes on with them: to train, or on the images of `data`."""
    from fastgan_jax.runs.folder import RunFolder, describe_source

    run = RunFolder(run_folder(arguments))
    if arguments.mode == "train":
        run.restore_config()
    source = run.source()
    if run.latest_step() is None or source is None or (arguments.mode != "train" and source != describe_source(data)):
        return None
    log.info("settings: those of the run in %s", run.path)
    return run.config


def preset_without_images(arguments: argparse.Namespace) -> str | Path:
    """The settings for a data set that is not looked at yet: those of its run in the run folder, else by the device."""
    if (given := source_given(arguments)) is None:
        return DEFAULT_PRESET
    if run := run_with_settings(arguments, {given[0].removeprefix("data."): given[1]}):
        return run
    with announced("starting"):
        from fastgan_jax.utils.devices import this_device

        preset = "cpu128" if this_device().kind == "cpu" else DEFAULT_PRESET
    log.info("preset %s: %s=%s is not looked at before it is read; --preset chooses another", preset, *given)
    return preset


def run_folder(arguments: argparse.Namespace) -> Path:
    """The run folder that the arguments name."""
    return arguments.workdir or Path("runs") / default_name(arguments)


def check_images_of_run(arguments: argparse.Namespace, config: Any, run: "RunFolder") -> None:
    """Refuses the folder of a run on other images, unless --workdir names it and there are iterations left to do.

    Raises:
        UserError: with the two commands that may be meant.
    """
    from fastgan_jax.data.source import open_source
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.folder import describe_source

    step, before, now = run.latest_step(), run.source(), describe_source(config.data.to_dict())
    if step is None or not before:
        return
    finished = step >= config.train.iterations
    if before != now:
        if arguments.workdir and not finished:
            return
        other, words = f"other images, {before}", ["--config", run.config, "--workdir", run.path]
    else:
        names = run.image_names() if finished and config.data.path else None
        if names is None or names == set(open_source(config.data.path).names):
            return
        other, words = f"other images than are in {before} now", [before, "--workdir", run.path]
    words += configuration.to_train_on(configuration.to_dict(config), step) if finished else []
    free = next(path for number in itertools.count(2) if not Path(path := f"{run.path}-{number}").exists())
    new = _command(arguments.images or "", *_settings(arguments), "--workdir", free)
    state = f"finished ({step} iterations)" if finished else f"at iteration {step}"
    raise UserError(
        f"{run.path} is a run on {other}, {state}: to train a new model on these images: {new}; "
        f"to train that one further: {_command(*words)}"
    )


def _settings(arguments: argparse.Namespace) -> list[str]:
    """The words of the command line that choose settings."""
    source = next(([f"--{name}", value] for name in ("preset", "config") if (value := vars(arguments)[name])), [])
    return source + [f"--config.{name}={value}" for name, value in arguments.overrides]


def _command(*words: object) -> str:
    return shlex.join(["fastgan", "train", *(str(word) for word in words if word != "")])


def default_name(arguments: argparse.Namespace) -> str:
    """The name of the run folder: that of the images, else that of the settings or of their run, or of the data set."""
    if images := arguments.images and arguments.images.resolve():
        return images.name if images.is_dir() else images.stem
    if arguments.config is None and arguments.preset is None:
        _, name = source_given(arguments)
        path = Path(name.rpartition("://")[2]).expanduser()  # without the scheme of hf://datasets/me/cats
        # A file or folder has its own name; a data set has its own without a version, as in flowers:2.1.1.
        return path.resolve().stem if path.exists() else path.name.partition(":")[0]
    config = Path(arguments.config or arguments.preset).expanduser().resolve()
    if config.is_dir():
        return config.name
    return config.parent.name if config.name == "config.json" else config.stem


def train(config: Any, workdir: Path) -> int:
    """Trains, and returns the exit code."""
    with announced("starting"):
        from fastgan_jax.benchmark.estimate import hours_on_cpu
        from fastgan_jax.runs.folder import RunFolder
        from fastgan_jax.train import Diverged, Interrupted, train_and_evaluate

        hours = hours_on_cpu(config, RunFolder(workdir).latest_step() or 0)
    if hours:
        log.info("%s", hours)
    try:
        train_and_evaluate(config, str(workdir))
    except Diverged as error:
        say(f"error: {error}")
        return 1
    except Interrupted as error:
        say(str(error))
        return 128 + error.signal_number
    return 0


def evaluate(config: Any, workdir: Path, given: Collection[str] = ()) -> int:
    """Evaluates every kept checkpoint and leaves the result in the run folder, in place of the one that is there.

    The fields that are `given` on the command line choose networks even where that means a download.
    """
    from fastgan_jax.cli.evaluate import show
    from fastgan_jax.evaluation.choice import choose_networks
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.checkpoint import checkpoint_steps, find_checkpoint, read_config
    from fastgan_jax.runs.folder import RunFolder

    check_matplotlib()
    steps = checkpoint_steps(workdir)
    configuration.check_resumable(read_config(find_checkpoint(workdir)), configuration.to_dict(config))
    choose_networks(config, given)
    evaluation = evaluate_run(workdir, steps, config)
    folder = RunFolder(workdir)
    coverage = None if evaluation.coverage is None else folder.coverage
    numbers = folder.evaluation
    show(evaluation, config, workdir, json=numbers, plot=numbers.with_suffix(".png"), coverage=coverage)
    return 0
