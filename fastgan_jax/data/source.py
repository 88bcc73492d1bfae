"""Sources of image files: a folder or a zip. A source lists names and reads bytes; it decodes nothing."""

import hashlib
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import user_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")

log = logging.getLogger(__name__)


class Source:
    """Named files that can be read in any order, from several threads.

    Attributes:
        description: for messages.
        names: sorted, with / between folders.
    """

    description: str
    names: Sequence[str]

    def read(self, index: int) -> bytes:
        """The content of file `names[index]`."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """A hash that changes when names or contents do."""
        raise NotImplementedError

    def labels(self, num_classes: int) -> list[int]:
        """The class of each file: the position of its first folder among all first folders, in sorted order.

        Raises:
            UserError: if there are not `num_classes` classes, or a file is in none.
        """
        problem = f"model.num_classes={num_classes}:"
        if outside := [name for name in self.names if "/" not in name]:
            raise UserError(f"{problem} {outside[0]} is not in a subfolder; the subfolders are the classes")
        folders = sorted({name.split("/", 1)[0] for name in self.names})
        if len(folders) != num_classes:
            some = ", ".join(folders[:5]) + (", ..." if len(folders) > 5 else "")
            raise UserError(
                f"{problem} there are {len(folders)} subfolders ({some}); set model.num_classes={len(folders)}"
            )
        return [folders.index(name.split("/", 1)[0]) for name in self.names]

    def close(self) -> None:
        """Releases what is open, if anything."""


class FolderSource(Source):
    """All image files below a folder, following links to folders; hidden files and folders are left out."""

    def __init__(self, path: Path):
        """Lists the files. The log names a subfolder that cannot be listed."""
        self.description = f"folder {path}"
        self._root = path
        self.names = sorted(file.relative_to(path).as_posix() for file in _images_below(path, ()))

    def read(self, index: int) -> bytes:
        return (self._root / self.names[index]).read_bytes()

    def fingerprint(self) -> str:
        """Of contents, since copying and checking out change times but not images."""
        digest = hashlib.sha256()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            contents = pool.map(self._content_hash, range(len(self.names)))
            for name, content in zip(self.names, contents, strict=True):
                digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
        return digest.hexdigest()

    def _content_hash(self, index: int) -> bytes:
        """Hash of a file; of nothing for one that cannot be read, which is reported when it is decoded."""
        try:
            return hashlib.sha256(self.read(index)).digest()
        except OSError:
            return hashlib.sha256(b"").digest()


class ZipSource(Source):
    """All image files in a zip."""

    def __init__(self, path: Path):
        """Opens the zip and lists its files.

        Raises:
            UserError: if it is not a zip.
        """
        self.description = f"zip {path}"
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"data.path={path} is not a readable zip ({error}): give a folder or a .zip") from None
        files = (member.filename for member in self._zip.infolist() if not member.is_dir())
        self.names = sorted({name for name in files if _is_listed(name)})

    def read(self, index: int) -> bytes:
        return self._zip.read(self.names[index])

    def fingerprint(self) -> str:
        """Of names, sizes and the zip's own checksums of the contents."""
        digest = hashlib.sha256()
        for name in self.names:
            member = self._zip.getinfo(name)
            digest.update(f"{name}\0{member.file_size}\0{member.CRC}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def close(self) -> None:
        self._zip.close()


def open_source(path: str) -> Source:
    """The source at `data.path`.

    Raises:
        UserError: if there is no such folder or zip, or no image file in it.
    """
    place = user_path(path)
    if not (place.is_dir() or place.is_file()):
        raise UserError(f"data.path={path}: no such folder or zip")
    source = FolderSource(place) if place.is_dir() else ZipSource(place)
    if not source.names:
        raise UserError(f"data.path={path}: no file ends in {', '.join(SUFFIXES)}")
    return source


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image by its name; hidden files, such as a Mac's "._" twins, are not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _is_listed(name: str) -> bool:
    """Whether a member of a zip is an image outside of hidden folders."""
    *folders, file = name.split("/")
    return is_image_name(file) and not any(f.startswith(".") and f not in (".", "..") for f in folders)


def _images_below(folder: Path, ancestors: tuple[Path, ...]) -> Iterator[Path]:
    """Image files in a folder and its subfolders; `ancestors` are the true paths above, so that links cannot loop."""
    true_path = folder.resolve()
    if true_path in ancestors:
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        log.warning("folder %s cannot be listed (%s): its images are missing", folder, error.strerror or error)
        return
    for entry in entries:
        if os.path.isdir(entry):
            if not entry.name.startswith("."):
                yield from _images_below(entry, (*ancestors, true_path))
        # A broken link is listed too, to be reported as unreadable; a pipe or device is not an image.
        elif is_image_name(entry.name) and (os.path.isfile(entry) or not os.path.exists(entry)):
            yield entry
