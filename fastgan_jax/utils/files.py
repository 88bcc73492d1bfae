"""Files: written whole or not at all; cache folders; paths as users give them. Quick to import."""

import atexit
import contextlib
import functools
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError

LARGEST_UNPACKED, LARGEST_RATIO = 2**28, 50  # bytes of a file in a zip: so many, and so many times its packed size

log = logging.getLogger(__name__)


def user_path(text: str | Path) -> Path:
    """A path as a user gives it, "~" standing for the home folder; a UserError for an address such as gs://bucket."""
    if "://" in str(text):
        on_hub = re.match(r"https?://huggingface\.co/(?!datasets/|spaces/)([\w.-]+/[\w.-]+)", str(text))
        cure = f"a run there is hf://{on_hub[1]}" if on_hub else "give a local path, such as that of a mounted folder"
        raise UserError(f"{text} is an address: {cure}")
    if not str(text):
        raise UserError("an empty path: give a folder or a file (. is the folder that you are in)")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: {error}: give the path without ~") from None


def as_unicode(text: object) -> str:
    """The text with escapes, such as \\udce9, for the bytes of a file's name that are not Unicode."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def explained(problem: str, cure: str) -> Iterator[None]:
    """Turns any OSError into the UserError "problem (reason): cure"."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{problem} ({error.strerror or error}): {cure}") from None


@contextlib.contextmanager
def replacing(path: str | Path, *, cure: str = "free some space, or choose another place") -> Iterator[Path]:
    """A new path beside `path`, of the same suffix; what is written there takes its place when the block ends.

    If the block raises, nothing stays and a file that was there is left as it was. Folders above are created. Where
    `path` is a symbolic link, all this is about the file that it names. Any OSError becomes a UserError that ends with
    `cure`.
    """
    path = user_path(path)
    with explained(f"{path} cannot be written", cure):
        target = _check_target(path)
    temporary = target.parent / f".{uuid.uuid4().hex}.part{path.suffix}"
    try:
        with explained(f"{path} cannot be written", cure):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file as UTF-8; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value as JSON; see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def remove_former(former: Iterable[Path], written: Iterable[Path]) -> None:
    """Deletes what an earlier result left beside the files of a new one that were `written`."""
    for path in set(former) - set(written):
        with explained(f"{path}, of an earlier result, cannot be deleted", "delete it, or choose another place"):
            path.unlink(missing_ok=True)


def is_bomb(member: zipfile.ZipInfo) -> bool:
    """Whether a file in a zip would unpack to far more than any honest one of its packed size."""
    return member.file_size > LARGEST_UNPACKED + LARGEST_RATIO * member.compress_size


def check_outputs(paths: Iterable[str | Path], overwrite: bool, option: str = "--out") -> None:
    """Checks that files can be written and, without `overwrite`, that none of them exists; else raises a UserError."""
    for path in map(user_path, paths):
        with explained(f"{path} cannot be written", f"choose another {option}"):
            target = _check_target(path)
        if path.is_dir():
            raise UserError(f"{path} is a folder: choose another {option}")
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already: choose another {option}, or add --overwrite")
        folder = next(folder for folder in target.absolute().parents if folder.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            problem = "read-only" if folder.is_dir() else "not a folder"
            raise UserError(f"{path} cannot be written, since {folder} is {problem}: choose another {option}")


def check_distinct(outputs: Mapping[str, str | Path | None]) -> None:
    """Checks that no two of these options, {option: path}, name the same file; else raises a UserError."""
    options: dict[str, str] = {}
    for option, path in outputs.items():
        if path and (first := options.setdefault(os.path.realpath(user_path(path)), option)) != option:
            raise UserError(f"{first} and {option} both name {path}: choose a file for each")


def _check_target(path: Path) -> Path:
    """Where a file is written that is named so: the end of a symbolic link, or the path itself.

    Raises OSError if the system takes no such name, since it is too long, say, or if a device or a pipe is there.
    """
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError("it is a device, a pipe or a socket")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError as error:  # a null character
        raise OSError(str(error)) from None
    return path.resolve() if path.is_symlink() else path


def cache_folder(kind: str, *, to_write: bool = False) -> Path:
    """The user's cache folder for one kind of file, such as "weights": $XDG_CACHE_HOME/fastgan_jax/<kind>.

    Where there can be none, or it is read-only and needed `to_write`, a temporary folder that this process deletes at
    its end; the log says so once.
    """
    try:
        named = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(named).expanduser() if named else Path.home() / ".cache") / "fastgan_jax" / kind
        folder.mkdir(parents=True, exist_ok=True)
        if to_write and not os.access(folder, os.W_OK):
            raise OSError(f"{folder} is read-only")
    except (OSError, RuntimeError) as error:
        if not _temporary_folder.cache_info().currsize:
            log.warning(
                "there is no cache folder (%s), so downloads, decoded images and compiled programs are not kept for "
                "the next start: set XDG_CACHE_HOME to a folder that can be written",
                error,
            )
        folder = _temporary_folder() / kind
        folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def _temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fastgan-jax-cache-"))
    atexit.register(remove_temporary_folder)
    return folder


def remove_temporary_folder() -> None:
    """Deletes the temporary cache folder, if this process made one."""
    if _temporary_folder.cache_info().currsize:
        shutil.rmtree(_temporary_folder(), ignore_errors=True)
