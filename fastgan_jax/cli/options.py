"""What commands share: their parser, types and groups of options, and loading what --run names. Quick to import."""

import argparse
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastgan_jax.errors import UserError
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.utils.checks import LARGEST_SEED
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import user_path

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

MOST_SEEDS = 1_000_000  # more are a slip of the keyboard
OVERRIDE = "--config."


class Parser(argparse.ArgumentParser):
    """A parser whose help ends with examples as they are, and whose errors are UserErrors."""

    def __init__(self, **options: Any):
        """`options` as for argparse."""
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        named = re.sub("^argument ([^:]+):", r"\1", message)  # "argument --num: 0: must ..."
        raise UserError(f"{named}; see {self.prog} --help")


def split_overrides(argv: Iterable[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Splits a command line into the overrides (name, value) of `--config.name=value`, and the rest.

    Raises:
        UserError: if an override has no value.
    """
    overrides, rest, waiting = [], [], None
    for word in argv:
        if waiting is not None:
            overrides.append((waiting, word))
            waiting = None
        elif word.startswith(OVERRIDE):
            name, equals, value = word.removeprefix(OVERRIDE).partition("=")
            if equals:
                overrides.append((name, value))
            else:
                waiting = name
        else:
            rest.append(word)
    if waiting is not None:
        raise UserError(f"{OVERRIDE}{waiting} has no value: write {OVERRIDE}{waiting}=VALUE")
    return overrides, rest


def take_overrides(parser: argparse.ArgumentParser) -> None:
    """Lets a command take --config.GROUP.FIELD=VALUE."""
    parser.set_defaults(overrides=[])


# ---------------------------------------------------------------------------------------------------- types of options


def path(text: str) -> Path:
    """A path, "~" standing for the home folder."""
    try:
        return user_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def png_path(text: str) -> Path:
    """A path that ends in .png."""
    if Path(text).suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"{text}: must be a .png file")
    return path(text)


def _number(kind: type, holds: Callable[[Any], bool], rule: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            if holds(value := kind(text)):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text}: must be {rule}")

    return read


count = _number(int, lambda value: value >= 1, "a whole number, at least 1")
index = _number(int, lambda value: value >= 0, "a whole number from 0 up")
seed = _number(int, lambda value: 0 <= value <= LARGEST_SEED, f"a whole number from 0 to {LARGEST_SEED}")
factor = _number(float, lambda value: 0 <= value < math.inf, "a number from 0 up")


def step(text: str) -> int | str:
    """The checkpoint that --step names: "latest", "best" or an iteration."""
    if text in ("latest", "best"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: must be latest, best or an iteration")
    return int(text)


class Seeds(list):
    """Seeds, whose text is what was given."""

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
            raise argparse.ArgumentTypeError(
                f"{text}: must be numbers from 0 to {LARGEST_SEED} and ranges, such as 0,3,7-9"
            )
        if len(found) + last - first >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text}: more than {MOST_SEEDS} seeds; give fewer")
        found.extend(range(first, last + 1))
    return found


def numbers(text: str) -> list[int]:
    """Whole numbers joined by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be whole numbers joined by commas") from None


def grid(text: str) -> tuple[int, int]:
    """Rows and columns of "RxC"."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not match or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"{text}: must be rows and columns, such as 2x3")
    return int(match[1]), int(match[2])


# --------------------------------------------------------------------------------------------------- groups of options


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds --run and --step."""
    add_run_folder(parser)
    parser.add_argument("--step", type=step, default="latest", help="latest (default), best, or an iteration")


def add_run_folder(parser: argparse.ArgumentParser) -> None:
    """Adds --run."""
    parser.add_argument("--run", type=path, required=True, metavar="DIR", help="run folder, or one checkpoint's folder")


def add_out(parser: argparse.ArgumentParser, text: str, *, kind: Callable[[str], Any] = path) -> None:
    """Adds --out, with this help and of this type, and --overwrite."""
    parser.add_argument("--out", type=kind, required=True, metavar="PATH", help=text)
    add_overwrite(parser)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Adds --overwrite."""
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")


def add_truncation(parser: argparse.ArgumentParser) -> None:
    """Adds --truncation."""
    parser.add_argument("--truncation", type=factor, default=1.0, metavar="T", help="factor on latents (default: 1)")


def add_network(parser: argparse.ArgumentParser, *, use: str = "perceptual network") -> None:
    """Adds --net and --weights, of what `use` says."""
    parser.add_argument("--net", choices=tuple(PERCEPTUAL), help=f"{use} (default: the run's loss.perceptual_net)")
    parser.add_argument("--weights", type=path, metavar="FILE", help="local file with the weights of --net")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds --data."""
    parser.add_argument(
        "--data", type=path, metavar="PATH", help="folder or zip of real images (default: the training set)"
    )


def add_fields(parser: Any, options: type, helps: Mapping[str, str]) -> None:
    """Adds an option for each of these fields of a dataclass, with the field's default; `read_fields` reads them."""
    for name, text in helps.items():
        default = getattr(options, name)
        option, metavar = f"--{name.replace('_', '-')}", "N" if isinstance(default, int) else "X"
        parser.add_argument(
            option, type=type(default), default=default, metavar=metavar, help=f"{text} (default: {default})"
        )


def read_fields(arguments: argparse.Namespace, options: type) -> Any:
    """A dataclass with the values of the options that `add_fields` added, checked.

    Raises:
        UserError: if one is out of its range.
    """
    given = {field.name: vars(arguments)[field.name] for field in fields(options) if field.name in arguments}
    chosen = options(**given)
    chosen.check()
    return chosen


# ------------------------------------------------------------------------------------------------ what arguments name


def load_generator(arguments: argparse.Namespace) -> "Sampler":
    """The generator that --run and --step name.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    import fastgan_jax
    from fastgan_jax.utils.devices import keep_compiled_programs

    keep_compiled_programs()
    with announced(f"loading {arguments.run}"):
        return fastgan_jax.load(arguments.run, arguments.step)


def load_network(arguments: argparse.Namespace, config: Any, *, otherwise: str = "") -> tuple[str, Any]:
    """Name and parameters of the perceptual network that --net and --weights name, by default the run's.

    Raises:
        UserError: if its weights cannot be had; the line ends with `otherwise`, the option that needs none.
    """
    from fastgan_jax.inference.restore import load_run_perceptual

    try:
        return load_run_perceptual(config, arguments.net, arguments.weights)
    except UserError as error:
        raise UserError(f"{error}{otherwise and ', or '}{otherwise}") from None


def facts_of(arguments: argparse.Namespace, trained_step: int, *names: str) -> dict[str, Any]:
    """Where a result comes from: the run, the iteration, and the arguments of these names."""
    from fastgan_jax.runs.folder import run_name

    return {"run": run_name(arguments.run), "step": trained_step} | {name: getattr(arguments, name) for name in names}


def check_label(label: int | None, num_classes: int) -> int | None:
    """The class that --label names for all images of a model with `num_classes` classes (0: unconditional).

    Raises:
        UserError: if a conditional model got none, or an unconditional one, or there is no such class.
    """
    if num_classes and (label is None or not 0 <= label < num_classes):
        given = "this model is conditional" if label is None else f"--label {label}: there is no such class"
        raise UserError(f"{given}; give --label from 0 to {num_classes - 1}")
    if label is not None and not num_classes:
        raise UserError(f"--label {label}: this model is unconditional; leave --label out")
    return label
