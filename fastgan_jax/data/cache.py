"""Decoded sets on disk: arrays that can be memory-mapped, keyed by content and by how they were decoded.

An entry appears whole or not at all: it is written beside its place, flushed to the disk and then renamed. Processes
that decode the same set at the same time do not disturb each other; the first to finish wins. An intact entry is never
deleted here.
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
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastgan_jax.errors import UserError

DONE = "set.json"  # written last into an entry
UNFINISHED = ".decoding-"  # prefix of folders that become entries, or were damaged ones
ABANDONED_SECONDS = 24 * 3600  # an unfinished folder in which nothing was written for so long belongs to no process
ATTEMPTS = 2  # to write an entry that can be read back
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # errors of a rename onto an entry that is there already

log = logging.getLogger(__name__)

Loaded = tuple[np.ndarray, np.ndarray, dict[str, Any]]


def default_cache_dir() -> Path:
    """The user's cache folder for decoded sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgan_jax" / "data"


class CacheEntry:
    """One decoded set: images.npy, labels.npy and set.json (facts, such as names and what was skipped)."""

    def __init__(self, folder: Path, setting: str = "data.cache_dir"):
        """Names the entry's folder, which need not exist, and the setting that moves it, for messages."""
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
            log.warning("the cached set in %s is damaged (%s): it is made again", self.folder, error)
            return None
        return images, labels, facts

    def load_or_make(self, make: Callable[[], None], required: Sequence[str] = ()) -> Loaded:
        """Reads the entry, see `load`; if it is absent or damaged, after `make` has written it.

        Raises:
            UserError: if the folder cannot be used, or what is written there cannot be read back.
        """
        attempts = 0
        while (loaded := self.load(required)) is None:
            if attempts == ATTEMPTS:
                raise UserError(
                    f"decoded images cannot be read back from {self.folder}: set {self._setting} to a folder on a "
                    "disk that works"
                )
            attempts += 1
            make()
        return loaded

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

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns the system's errors into one line.

        Raises:
            UserError: in place of any OSError.
        """
        try:
            yield
        except OSError as error:
            raise UserError(
                f"decoded images cannot be cached in {self.folder.parent} ({error.strerror or error}): make room and "
                f"permit writing there, or set {self._setting} to another folder"
            ) from None


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
            ValueError: if the image has another shape or type.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ValueError(f"image {self._count} is {image.dtype} {image.shape}, not uint8 {self._shape}")
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
            ValueError: if there are not as many labels as images.
        """
        if len(labels) != self._count:
            raise ValueError(f"{len(labels)} labels for {self._count} images")
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
        """Closes images.npy; what a full disk would not take then is either flushed already or not wanted."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write_header(self) -> None:
        """Writes the header of images.npy, whose length is constant: numpy leaves room for the first axis to grow."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _flush(file: BinaryIO) -> None:
    """To the disk itself: a rename may survive a power cut that its file's content does not."""
    file.flush()
    os.fsync(file.fileno())


def _unfinished_folder(parent: Path) -> Path:
    """A new folder that nobody else uses, with the user's ordinary permissions: a cache may be shared."""
    folder = parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def _remove_abandoned(parent: Path) -> None:
    """Deletes what killed processes left behind."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):  # its process may be finishing right now
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - newest > ABANDONED_SECONDS:
                log.info("removing %s, left by a process that was killed", folder)
                shutil.rmtree(folder, ignore_errors=True)
