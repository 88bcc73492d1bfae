"""Decoded sets on disk: arrays that can be memory-mapped, keyed by content and by how they were decoded.

An entry appears whole or not at all: it is written beside its final place, flushed to the disk and then renamed.
Processes that decode the same set at the same time do not disturb each other; the first to finish wins. An intact entry
is never deleted here.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import cache_folder, explained, user_path

DONE = "set.json"  # written last into an entry
UNFINISHED = ".decoding-"  # prefix of folders that become entries, or were damaged ones
ABANDONED_SECONDS = 24 * 3600  # an unfinished folder unchanged for this long belongs to no process
ATTEMPTS = 2  # to write an entry that can be read back
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # errors of a rename onto an entry that is there already

log = logging.getLogger(__name__)

Loaded = tuple[np.ndarray, np.ndarray, dict[str, Any]]


def entry_of(fingerprint: str, cache_dir: str | None) -> "CacheEntry":
    """The entry of a set in a folder; None: the user's cache, or a temporary folder where that cannot be written."""
    if cache_dir is not None:
        return CacheEntry(user_path(cache_dir) / fingerprint)
    entry = CacheEntry(cache_folder("data") / fingerprint)
    return entry if entry.folder.exists() else CacheEntry(cache_folder("data", to_write=True) / fingerprint)


class CacheEntry:
    """One decoded set: images.npy, labels.npy and set.json (facts, such as names and skipped files)."""

    def __init__(self, folder: Path, setting: str = "data.cache_dir"):
        """Takes the entry's folder, which need not exist, and the name of the setting that moves it, for messages."""
        self.folder = folder
        self._setting = setting

    def load(self, required: Sequence[str] = ()) -> Loaded | None:
        """Reads the entry.

        Args:
            required: names of facts without which the entry counts as damaged.

        Returns:
            Images (memory-mapped uint8 [N, H, W, C]), labels int32 [N] and facts; None if absent or damaged, and the
            latter is logged.

        Raises:
            UserError: if the folder cannot be looked into.
        """
        with self.explained():
            if not self.folder.exists():
                return None
        try:
            facts = json.loads((self.folder / DONE).read_text(encoding="utf-8"))
            images = np.load(self.folder / "images.npy", mmap_mode="r")
            labels = np.load(self.folder / "labels.npy")
            missing = {"count", *required} - facts.keys()
            if missing:
                raise ValueError(f"{DONE} lacks {', '.join(sorted(missing))}")
            if len(images) != facts["count"] or len(labels) != facts["count"]:
                raise ValueError(f"{len(images)} images and {len(labels)} labels instead of {facts['count']}")
        except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
            log.warning("the cached set in %s is damaged (%s): decoding it again", self.folder, error)
            return None
        return images, labels, facts

    def load_or_make(self, make: Callable[[], None], required: Sequence[str] = ()) -> Loaded:
        """Reads the entry, see `load`; if it is absent or damaged, `make` writes it first.

        Raises:
            UserError: if the folder cannot be used, or what is written there cannot be read back.
        """
        for _ in range(ATTEMPTS):
            if (loaded := self.load(required)) is not None:
                return loaded
            make()
        if (loaded := self.load(required)) is not None:
            return loaded
        raise UserError(
            f"decoded images cannot be read back from {self.folder}: set {self._setting} to a folder on another disk"
        )

    def write(self, images: np.ndarray, labels: np.ndarray, facts: dict[str, Any]) -> None:
        """Writes the entry from arrays, whole or not at all; see `EntryWriter`.

        Raises:
            UserError: if the folder cannot be written.
        """
        with self.writer(images.shape[1:]) as writer:
            for image in images:
                writer.append(image)
            writer.finish(labels, facts)

    @contextlib.contextmanager
    def writer(self, shape: Sequence[int]) -> Iterator["EntryWriter"]:
        """A writer of images of this shape [H, W, C]; without its `finish`, nothing stays.

        Raises:
            UserError: if the folder cannot be written.
        """
        with self.explained():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self.folder.parent)
            temporary = _unfinished_folder(self.folder.parent)
        try:
            writer = EntryWriter(self, temporary, tuple(shape))
            try:
                yield writer
            finally:
                writer.close()
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def install(self, finished: Path, required: Sequence[str]) -> None:
        """Renames a finished folder into place, unless another process has put an intact entry there meanwhile."""
        while True:
            try:
                finished.rename(self.folder)
                return
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
            if self.load(required) is not None:
                return
            waste = _unfinished_folder(self.folder.parent)
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                self.folder.rename(waste / "damaged")
            shutil.rmtree(waste, ignore_errors=True)

    def explained(self) -> AbstractContextManager[None]:
        """Turns the system's errors into one line, see `files.explained`."""
        return explained(
            f"decoded images cannot be cached in {self.folder.parent}",
            f"free some space and allow writing there, or set {self._setting} to another folder",
        )


class EntryWriter:
    """Takes the images of an entry one by one, so that the set need not fit into memory."""

    def __init__(self, entry: CacheEntry, folder: Path, shape: tuple[int, ...]):
        """Opens images.npy in an unfinished folder; see `CacheEntry.writer`."""
        self._entry, self._folder, self._shape = entry, folder, shape
        self._count = 0
        with entry.explained():
            self._file = open(folder / "images.npy", "wb")  # noqa: SIM115 (closed by `close`)
        self._write_header()

    def append(self, image: np.ndarray) -> None:
        """Adds an image, uint8 [H, W, C].

        Raises:
            UserError: if the disk is full or fails.
        """
        with self._entry.explained():
            self._file.write(image.tobytes())
        self._count += 1

    def finish(self, labels: np.ndarray, facts: dict[str, Any]) -> None:
        """Completes the entry.

        Args:
            labels: int32 [N], one for each image.
            facts: what else to keep, fit for JSON.

        Raises:
            UserError: if the disk is full or fails.
        """
        with self._entry.explained():
            self._file.seek(0)
            self._write_header()
            _flush(self._file)
            with open(self._folder / "labels.npy", "wb") as file:
                np.save(file, labels)
                _flush(file)
            with open(self._folder / DONE, "wb") as file:
                file.write(json.dumps(facts | {"count": self._count}).encode())
                _flush(file)
            self.close()
            self._entry.install(self._folder, tuple(facts))

    def close(self) -> None:
        """Closes images.npy; what a full disk does not take then is either flushed already or not needed."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write_header(self) -> None:
        """Writes the header of images.npy; its length is constant, as numpy leaves room for the first axis to grow."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _flush(file: BinaryIO) -> None:
    """Writes to the disk itself: after a power cut, a file may have its new name but not its content."""
    file.flush()
    os.fsync(file.fileno())


def _unfinished_folder(parent: Path) -> Path:
    """A new folder that no other process uses, with the user's ordinary permissions: a cache may be shared."""
    folder = parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def _remove_abandoned(parent: Path) -> None:
    """Deletes the folders of processes that were killed."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):  # its process may be finishing right now
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > ABANDONED_SECONDS:
                log.info("removing %s, left by a process that was killed", folder)
                shutil.rmtree(folder, ignore_errors=True)
