"""Decoded sets on disk: arrays that can be memory-mapped, keyed by content and by how they were decoded.

An entry is a folder of images.npy, labels.npy and, written last, set.json: without it there is no entry. Each file is
written beside its place, flushed to the disk and renamed, and a file's content depends on the key alone, unless the
entry is INCOMPLETE. So processes may make the same entry at the same time, and one that is killed leaves no harm.
"""

import contextlib
import json
import logging
import math
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import cache_folder, replacing, user_path

FACTS_FILE = "set.json"
INCOMPLETE = "incomplete"  # a fact: with anything in it the entry is made again at the next start
ABANDONED_SECONDS = 24 * 3600  # an unfinished file unchanged for this long belongs to no process

log = logging.getLogger(__name__)

Loaded = tuple[np.ndarray, np.ndarray, dict[str, Any]]  # memory-mapped images, labels and facts
Make = Callable[[Callable[[np.ndarray], None]], tuple[np.ndarray, dict[str, Any]]]


def entry_folder(key: str, cache_dir: str | None) -> Path:
    """The entry's folder in `cache_dir`; None: the user's cache, or a temporary folder where that cannot be written."""
    if cache_dir is not None:
        return user_path(cache_dir) / key
    folder = cache_folder("data") / key
    return folder if (folder / FACTS_FILE).exists() else cache_folder("data", to_write=True) / key


def load_or_make(
    folder: Path,
    shape: Sequence[int],
    most: int,
    make: Make,
    required: Sequence[str] = (),
    setting: str = "data.cache_dir",
) -> Loaded:
    """Images uint8 [N, H, W, C], labels int32 [N] and facts of an entry, which is made if it is absent or damaged.

    Args:
        folder: of the entry; it need not exist.
        shape: of an image: [H, W, C].
        most: how many images there are, at most.
        make: gets a function that takes the images one by one, so that the set need not fit into memory; it returns the
            labels and the facts, which are fit for JSON.
        required: names of facts without which an entry counts as damaged.
        setting: what names another folder, for messages.

    Raises:
        UserError: if the folder cannot be used or has no room for `most` images, or what is written there cannot be
            read back.
    """
    if (loaded := _load(folder, required)) is None or loaded[2].get(INCOMPLETE):
        try:
            _check_space(folder, most * math.prod(shape), setting)
            _write(folder, shape, make, f"free some space and allow writing there, or set {setting} to another folder")
        except UserError as error:
            if loaded is None:
                raise
            log.warning("the incomplete set in %s stays (%s)", folder, error)
            return loaded
        if (loaded := _load(folder, required)) is None:
            raise UserError(f"decoded images cannot be read back from {folder}: set {setting} to a folder elsewhere")
    return loaded


def _load(folder: Path, required: Sequence[str]) -> Loaded | None:
    """The entry; None if it is absent or damaged, and the latter is logged."""
    if not os.path.exists(folder / FACTS_FILE):
        return None
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        images, labels = mapped(folder / "images.npy"), np.load(folder / "labels.npy")
        if missing := {"count", *required} - facts.keys():
            raise ValueError(f"{FACTS_FILE} lacks {', '.join(sorted(missing))}")
        if not len(images) == len(labels) == facts["count"]:
            raise ValueError(f"{len(images)} images and {len(labels)} labels instead of {facts['count']}")
    except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
        log.warning("the cached set in %s is damaged (%s): decoding it again", folder, error)
        return None
    return images, labels, facts


def mapped(path: Path) -> np.memmap:
    """The array of a .npy file, memory-mapped, whose `descriptor` is of the same file.

    The file stays the same even where another process puts another one in its place, such as a set that is complete.
    """
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        array = np.memmap(file, dtype, "r", file.tell(), shape)
        array.descriptor = os.dup(file.fileno())
    weakref.finalize(array, os.close, array.descriptor)
    return array


def _check_space(folder: Path, needed: int, setting: str) -> None:
    """Refuses to begin what the disk has no room for."""
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    with contextlib.suppress(OSError):
        if needed > (free := shutil.disk_usage(above).free):
            sizes = f"the decoded images take up to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {above}"
            raise UserError(f"{sizes}: free some space, or set {setting} to another folder")


def _write(folder: Path, shape: Sequence[int], make: Make, cure: str) -> None:
    for unfinished in folder.parent.glob("*/.*.part.*"):
        with contextlib.suppress(OSError):  # its process may be finishing right now
            if time.time() - unfinished.stat().st_mtime > ABANDONED_SECONDS:
                unfinished.unlink()
    count = 0

    def append(image: np.ndarray) -> None:
        nonlocal count
        file.write(image.tobytes())
        count += 1

    def write_header() -> None:  # of constant length, as numpy leaves room for the first axis to grow
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(file, header)

    with _flushed(folder / "images.npy", cure) as file:
        write_header()
        labels, facts = make(append)
        file.seek(0)
        write_header()
    with _flushed(folder / "labels.npy", cure) as file:
        np.save(file, labels)
    with _flushed(folder / FACTS_FILE, cure) as file:
        file.write(json.dumps(facts | {"count": count}).encode())


@contextlib.contextmanager
def _flushed(path: Path, cure: str) -> Iterator[BinaryIO]:
    """`replacing`, on the disk itself: after a power cut, a file may have its new name but not its content."""
    with replacing(path, cure=cure) as temporary, open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
