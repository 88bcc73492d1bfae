"""What commands share: their parser, types and groups of options, and loading what --run names. Quick to import."""

import argparse
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastgan_jax.errors import UserError
from fastgan_jax.pretrained.registry import PERCEPTUAL, PIXELS
from fastgan_jax.runs.hub import download_run, is_on_hub
from fastgan_jax.utils.checks import LARGEST_SEED
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import user_path

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

MOST_SEEDS = 1_000_000  # more are a slip of the keyboard
KNOWN_SUFFIXES = (  # which say what a file is
    *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".pdf", ".mp4"),
    *(".zip", ".npy", ".npz", ".pth", ".pt", ".h5", ".hdf5", ".safetensors", ".onnx", ".stablehlo"),
    *(".html", ".htm", ".json", ".csv"),
)
OVERRIDE = "--config."
MOST_WORDS = 60  # of an error

log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """A parser whose help ends with examples as they are, and whose errors are UserErrors."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        named = re.sub("^argument ([^:]+):", r"\1", message)  # "argument --num: 0: must ..."
        if len(words := named.split()) > MOST_WORDS and words[0] == "unrecognized":  # such as all files of a folder
            named = (
                f"{' '.join(words[:MOST_WORDS])} ... and {len(words) - MOST_WORDS} more: give a folder for its files"
            )
        raise UserError(f"{named}; see {self.prog} --help")


def split_overrides(argv: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Splits a command line into the overrides (name, value) of `--config.name=value`, and the rest.

    Raises:
        UserError: if an override has no value.
    """
    overrides, rest, words = [], [], iter(argv)
    for word in words:
        if not word.startswith(OVERRIDE):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix(OVERRIDE).partition("=")
        if not equals and (value := next(words, None)) is None:
            raise UserError(f"{word} has no value: write {word}=VALUE")
        overrides.append((name, value))
    return overrides, rest


def take_overrides(parser: argparse.ArgumentParser) -> None:
    """Lets a command take --config.GROUP.FIELD=VALUE."""
    parser.set_defaults(overrides=[])


# ---------------------------------------------------------------------------------------------------- types of options


def _type(read: Callable[[str], Any], rule: str, holds: Callable[[Any], bool] = lambda value: True) -> Callable:
    """A type for argparse: what `read` makes of the text, if that `holds`; the error says "must be" and the rule."""

    def checked(text: str) -> Any:
        try:
            if holds(value := read(text)):
                return value
        except UserError as error:  # says itself what is wrong
            raise argparse.ArgumentTypeError(str(error)) from None
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text}: must be {rule}")

    return checked


count = _type(int, "a whole number, at least 1", lambda value: value >= 1)
num_images = _type(  # that are held at the same time
    int, f"a whole number, at least 1 and at most {MOST_SEEDS}", lambda value: 1 <= value <= MOST_SEEDS
)
seed = _type(int, f"a whole number from 0 to {LARGEST_SEED}", lambda value: 0 <= value <= LARGEST_SEED)
index = seed  # of an image, in the same range
truncation = _type(float, "a number from 0.01 to 1", lambda value: 0.01 <= value <= 1)
numbers = _type(lambda text: [int(part) for part in text.split(",")], "whole numbers joined by commas")
path = _type(user_path, "a path")
run = _type(lambda text: text if is_on_hub(text) else user_path(text), "a run folder or hf://USER/NAME")
png_path = _type(user_path, "a .png file", lambda value: value.suffix.lower() == ".png")
grid = _type(  # (rows, columns)
    lambda text: tuple(map(int, text.lower().split("x"))),
    "rows and columns, such as 2x3",
    lambda value: len(value) == 2 and min(value) >= 1,
)
step = _type(
    lambda text: text if text in ("latest", "best") else int(text),
    "latest, best or an iteration",
    lambda value: isinstance(value, str) or value >= 0,
)


class Seeds(list):
    """Seeds, whose text is what was given."""

    text = ""

    def __str__(self) -> str:
        return self.text


def seeds(text: str) -> Seeds:
    """Seeds from numbers and ranges joined by commas: "0,3,7-9" is 0, 3, 7, 8, 9."""
    found = Seeds()
    found.text = text
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= LARGEST_SEED:
            rule = f"must be numbers from 0 to {LARGEST_SEED} and ranges, such as 0,3,7-9"
            raise argparse.ArgumentTypeError(f"{text}: {rule}")
        if len(found) + last - first >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text}: more than {MOST_SEEDS} seeds; give fewer")
        found.extend(range(first, last + 1))
    return found


# --------------------------------------------------------------------------------------------------- groups of options

SHARED = {
    "--run": {"type": run, "required": True, "metavar": "DIR", "help": "run or checkpoint folder, or hf://USER/NAME"},
    "--step": {"type": step, "default": "latest", "help": "latest (default), best, or an iteration"},
    "--overwrite": {"action": "store_true", "help": "replace existing files"},
    "--truncation": {
        **{"type": truncation, "default": 1.0, "metavar": "T"},
        "help": "below 1: resample values of the latents beyond 2 T, and keep each latent's length (default: 1)",
    },
    "--columns": {"type": count, "metavar": "C", "help": "columns of the grid (default: about square)"},
    "--data": {"type": path, "metavar": "PATH", "help": "folder or zip of real images (default: the training set)"},
    "--net": {
        "choices": tuple(PERCEPTUAL),
        "help": "perceptual network (default: the run's if it is here, else the best)",
    },
    "--weights": {"type": path, "metavar": "FILE", "help": "local file with the weights of --net"},
}


def add_shared(parser: Any, *names: str) -> None:
    """Adds options of SHARED to a parser or a group."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def add_out(parser: argparse.ArgumentParser, text: str, *, kind: Callable[[str], Any] = path) -> None:
    """Adds --out, with this help and of this type, and --overwrite."""
    parser.add_argument("--out", type=kind, required=True, metavar="PATH", help=text)
    add_shared(parser, "--overwrite")


def add_fields(parser: Any, options: type, helps: Mapping[str, str]) -> None:
    """Adds an option, None unless given, for each of these fields of a dataclass; `read_fields` reads them."""
    for name, text in helps.items():
        default = getattr(options, name)
        settings = {"type": type(default), "metavar": "N" if isinstance(default, int) else "X"}
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{text} (default: {default})", **settings)


def read_fields(arguments: argparse.Namespace, options: type) -> Any:
    """A dataclass with what was given of the options that `add_fields` added; UserError if one is out of its range."""
    given = {field.name: vars(arguments).get(field.name) for field in fields(options)}
    chosen = options(**{name: value for name, value in given.items() if value is not None})
    chosen.check()
    return chosen


# ------------------------------------------------------------------------------------------------ what arguments name


def refuse(arguments: argparse.Namespace, *names: str, with_: str) -> None:
    """Refuses options, which are None unless given, that have no effect with what `with_` says."""
    for name in names:
        if getattr(arguments, name[2:].replace("-", "_")) is not None:
            raise UserError(f"{name} has no effect with {with_}: leave it out")


def check_suffix(out: Path, rule: str, *own: str) -> None:
    """Refuses a path whose suffix is of another format than its `own`; the line says "must" and the rule."""
    if (suffix := out.suffix.lower()) in KNOWN_SUFFIXES and suffix not in own:
        raise UserError(f"--out {out}: must {rule}")


def check_not_among(out: Path, images: Sequence[Path]) -> None:
    """Checks that what is written does not become an image of these folders; other paths do not matter.

    Raises:
        UserError: if it would.
    """
    for folder in images:
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--out {out} lies among the images, and would be one of them: choose another folder")


def fetch_run(arguments: argparse.Namespace) -> None:
    """Makes --run a folder, if it names a run on the hub."""
    if is_on_hub(name := getattr(arguments, "run", "")):
        arguments.run = download_run(name)


def load_generator(arguments: argparse.Namespace) -> "Sampler":
    """The generator that --run and --step name; UserError if there is no such run or checkpoint."""
    import fastgan_jax
    from fastgan_jax.utils.devices import keep_compiled_programs

    keep_compiled_programs()
    with announced(f"loading {arguments.run}"):
        return fastgan_jax.load(arguments.run, arguments.step)


def check_room_for(count: int, sampler: "Sampler", cure: str) -> None:
    """Checks that memory has room for so many images and a grid of them, before they are made; see `check_room`."""
    from fastgan_jax.data.memory import check_room

    check_room(2 * count * sampler.resolution**2 * sampler.generator.channels, cure)


def load_network(arguments: argparse.Namespace, config: Any, *, otherwise: str = "") -> tuple[str, Any]:
    """Name and parameters of the perceptual network that --net and --weights name.

    By default it is the run's, if that is on this machine, else the best one that is; the log says so.

    Raises:
        UserError: if its weights cannot be had; the line ends with `otherwise`, the option that needs none.
    """
    from fastgan_jax.inference.restore import load_run_perceptual
    from fastgan_jax.pretrained.choice import best_here, choice_in_words

    name, own = arguments.net, config.loss
    if name is None and arguments.weights is None:
        name = best_here(PERCEPTUAL, own.perceptual_net, own.perceptual_weights)
        name = None if name == PIXELS and getattr(arguments, "distance", None) else name  # lpips is asked for
        if name and (remark := choice_in_words(PERCEPTUAL, name)):
            log.warning("%s", remark)
    try:
        return load_run_perceptual(config, name, arguments.weights)
    except UserError as error:
        raise UserError(f"{error}{otherwise and ', or '}{otherwise}") from None


def facts_of(arguments: argparse.Namespace, trained_step: int, *names: str) -> dict[str, Any]:
    """Where a result comes from: the run, the iteration, and the arguments of these names."""
    from fastgan_jax.runs.folder import run_name

    return {"run": run_name(arguments.run), "step": trained_step} | {name: getattr(arguments, name) for name in names}


def label_of(arguments: argparse.Namespace, sampler: "Sampler", latents: Any = None) -> int | None:
    """The class of all images: that of --label, else that of saved latents; None for an unconditional model.

    Raises:
        UserError: if a conditional model got none, or an unconditional one, or there is no such class.
    """
    label, source, cure = arguments.label, f"--label {arguments.label}", "leave --label out"
    if label is None and latents is not None and latents.label is not None:
        label, source, cure = latents.label, f"{latents.path}: labels={latents.label}", "give latents of this run"
    classes = sampler.generator.num_classes
    if classes and (label is None or not 0 <= label < classes):
        given = "this model is conditional" if label is None else f"{source}: there is no such class"
        raise UserError(f"{given}; give --label from 0 to {classes - 1}")
    if label is not None and not classes:
        raise UserError(f"{source}: this model is unconditional; {cure}")
    return label
