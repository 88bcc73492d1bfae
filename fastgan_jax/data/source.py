"""Sources of image files: a folder or a zip. A source lists names and reads bytes; it decodes nothing."""

import collections
import contextlib
import hashlib
import logging
import os
import shlex
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fastgan_jax.data.accounting import NOT_AN_IMAGE, Unused, counted_reasons, named, printable
from fastgan_jax.data.kinds import PHOTOS_LIBRARY, heif_support, holds_image, is_image_name, reason_to_leave_out
from fastgan_jax.data.memory import threads_for_files
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import is_bomb, user_path

EMPTY_FOLDER = "an empty folder"
UTF8_NAME = 0x800  # the flag of a file in a zip whose name is in UTF-8; without it zipfile reads code page 437
# What a run folder holds before it holds images that are generated; some users delete its checkpoints.
RUN_FOLDER = ({"checkpoints", "config.json"}, {"metrics.jsonl", "config.json"})
MADE = "a run folder, whose images are made"

log = logging.getLogger(__name__)


class Source:
    """Named files that can be read in any order, from several threads.

    Attributes:
        description: for messages.
        names: sorted, with / between folders.
        left_out: the other files that are there, and why they are no part of the set.
    """

    description: str
    names: Sequence[str]
    left_out: Sequence[Unused] = ()

    def read(self, index: int) -> bytes:
        """The content of file `names[index]`."""
        raise NotImplementedError

    def read_other(self, name: str) -> bytes | None:
        """The content of another file of the source, such as dataset.json; None if there is none of that name."""
        return None

    def fingerprint(self) -> str:
        """A hash that changes when names or contents do."""
        raise NotImplementedError

    def labels(self, num_classes: int) -> list[int]:
        """The class of each file: the place of its folder in `class_names`.

        Raises:
            UserError: if there are not `num_classes` classes, or a file is in none.
        """
        folders, depth = self.class_names(num_classes), self._class_depth(num_classes)
        problem = f"model.num_classes={num_classes}:"
        if outside := [name for name in self.names if name.count("/") <= depth]:
            raise UserError(f"{problem} {printable(outside[0])} is not in a subfolder; the subfolders are the classes")
        if len(folders) != num_classes:
            levels = [(file.name.split("/"), file.reason) for file in self.left_out]
            others = {parts[depth] for parts, reason in levels if len(parts) > depth + (reason != EMPTY_FOLDER)}
            others = sorted(others - {*folders})
            hint = f"; no image is taken from {named(others)}" if others else ""
            raise UserError(
                f"{problem} there are {len(folders)} subfolders ({named(folders)}); "
                f"set model.num_classes={len(folders)}{hint}"
            )
        numbers = {folder: number for number, folder in enumerate(folders)}
        return [numbers[name.split("/")[depth]] for name in self.names]

    def class_names(self, num_classes: int) -> list[str]:
        """The classes in the order of their numbers: the first-level folders, sorted; see `_class_depth`."""
        depth = self._class_depth(num_classes)
        return sorted({name.split("/")[depth] for name in self.names if name.count("/") > depth})

    def _class_depth(self, num_classes: int) -> int:
        """How many folders lie around those of the classes: one that holds all files is none of several classes."""
        parts, depth = [name.split("/") for name in self.names], 0
        while num_classes > 1 and len({tuple(part[: depth + 1]) for part in parts}) == 1:
            if max(map(len, parts)) <= depth + 2:
                break
            depth += 1
        return depth

    def close(self) -> None:
        """Releases what is open, if anything."""


class FolderSource(Source):
    """All image files below a folder, following links; hidden and system files and folders are left out."""

    def __init__(self, path: Path):
        """Lists the files. The log names a subfolder that cannot be listed."""
        self.description = f"folder {path}"
        self._root = path
        listing = _Listing(path)
        self.names, self.left_out = sorted(listing.names), sorted(listing.left_out)

    def read(self, index: int) -> bytes:
        return (self._root / self.names[index]).read_bytes()

    def read_other(self, name: str) -> bytes | None:
        file = self._root / name
        return file.read_bytes() if file.is_file() else None

    def fingerprint(self) -> str:
        """Of contents, since copying and checking out change times but not images."""
        digest = hashlib.sha256()
        with threads_for_files() as pool:
            contents = pool.map(self._content_hash, range(len(self.names)))
            for name, content in zip(self.names, contents, strict=True):
                digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
        return digest.hexdigest()

    def _content_hash(self, index: int) -> bytes:
        """Hash of a file; of nothing for one that cannot be read, which is reported when it is decoded."""
        try:
            with open(self._root / self.names[index], "rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError:
            return hashlib.sha256(b"").digest()


class ZipSource(Source):
    """All image files in a zip, their names with / between folders whatever wrote them."""

    def __init__(self, path: Path):
        """Opens the zip and lists its files. The log names files of which there are several of the same name.

        Raises:
            UserError: if it is not a zip.
        """
        self.description = f"zip {path}"
        heif_support()
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # noqa: BLE001 (damage can show as any)
            raise UserError(f"data.path={path} is not a readable zip ({error}): give a folder or a .zip") from None
        self._members: dict[str, zipfile.ZipInfo] = {}
        listed = [(_name_of(member), member) for member in self._zip.infolist()]
        runs = _run_folders({name for name, _ in listed})
        if "/" in runs:
            raise UserError(f"data.path={path} holds {MADE}: give a folder or zip of your own images")
        self._others: dict[str, zipfile.ZipInfo] = {}
        left_out, replaced = [], []
        for name, member in listed:
            if not name or member.filename.endswith(("/", "\\")):
                continue
            if name.startswith(runs):
                left_out.append(Unused(name, f"of {MADE}"))
            elif reason := reason_to_leave_out(name) or self._problem(name, member):
                left_out.append(Unused(name, reason))
                self._others[name] = member
            else:
                former = self._members.get(name)
                self._members[name] = member
                if former and (former.CRC, former.file_size) == (member.CRC, member.file_size):
                    left_out.append(Unused(name, f"the same file again: {name}"))
                elif former:
                    replaced.append(Unused(name, "replaced by a later file of the same name in the zip"))
        if replaced:
            names = named(file.name for file in replaced)
            log.warning("%s holds several files of the same name, the last is read: %s", self.description, names)
        self.names, self.left_out = sorted(self._members), sorted(left_out + replaced)

    def _problem(self, name: str, member: zipfile.ZipInfo) -> str | None:
        """Why a member is not an image; None if it is."""
        if stat.S_ISLNK(member.external_attr >> 16):
            return "a link in a zip"
        if is_image_name(name):
            return None
        try:
            with self._zip.open(member) as file:
                return None if holds_image(file) else NOT_AN_IMAGE
        except Exception as error:  # noqa: BLE001 (damaged, encrypted or packed in an unknown way)
            return f"cannot be read: {error}"

    def read(self, index: int) -> bytes:
        return self._read(self._members[self.names[index]])

    def read_other(self, name: str) -> bytes | None:
        if name not in self._others:
            return None
        try:
            return self._read(self._others[name])
        except Exception as error:  # noqa: BLE001 (too large, damaged, encrypted or packed in an unknown way)
            raise UserError(f"{name} in {self.description} cannot be read ({error})") from None

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        if is_bomb(member):
            raise OSError(f"it would unpack to {member.file_size / 1e9:.1f} GB")
        return self._zip.read(member)

    def fingerprint(self) -> str:
        """Of names, sizes and the zip's own checksums of the contents."""
        digest = hashlib.sha256()
        for name in self.names:
            member = self._members[name]
            digest.update(f"{name}\0{member.file_size}\0{member.CRC}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def close(self) -> None:
        self._zip.close()


def _name_of(member: zipfile.ZipInfo) -> str:
    """The name of a file in a zip, with / between folders.

    It is read as UTF-8 too if the zip does not say so, as those of a Mac's Finder do not.
    """
    name = member.filename
    if not member.flag_bits & UTF8_NAME:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _run_folders(names: set[str]) -> tuple[str, ...]:
    """The beginnings of the names of files in run folders; "/" if the zip is one."""
    names = {f"/{name}" for name in names}
    folders = {name.partition("/checkpoints/")[0] for name in names if "/checkpoints/" in name}
    folders |= {name.removesuffix("/metrics.jsonl") for name in names if name.endswith("/metrics.jsonl")}
    return tuple(f"{folder}/".removeprefix("/") or "/" for folder in folders if f"{folder}/config.json" in names)


def _is_run_folder(path: Path) -> UserError:
    goes_on = shlex.join(["fastgan", "train", "--config", str(path / "config.json"), "--workdir", str(path)])
    cure = "name the folder of the images (and move them out of this one, if they are here)"
    return UserError(f"data.path={path} is a run folder, with images that were made: {cure}; {goes_on} goes on with it")


def open_source(path: str) -> Source:
    """The source at `data.path`.

    Raises:
        UserError: if there is no such folder, zip or array_record file, or no image file in it.
    """
    from fastgan_jax.data.array_record_source import ArrayRecordSource, holds_records  # which builds on this module

    place = user_path(path)
    if not (place.is_dir() or place.is_file()):
        raise UserError(f"data.path={path}: no such folder or zip")
    if holds_records(place):
        return ArrayRecordSource(place)
    source = FolderSource(place) if place.is_dir() else ZipSource(place)
    if not source.names:
        kinds = counted_reasons(source.left_out)
        raise UserError(f"data.path={path}: there is no image in it ({kinds or 'it is empty'})")
    return source


class _Listing:
    """Walks a folder: first all that lies in it, then what links lead to, so that a file's own place is its name."""

    def __init__(self, root: Path):
        """Lists all files below `root`: as `names` of images, and as `left_out`."""
        heif_support()
        self._before = f"{root.name}/" if root.name.lower().endswith(PHOTOS_LIBRARY) else ""
        self.names: list[str] = []
        self.left_out: list[Unused] = []
        self._files: dict[object, str] = {}  # identity of a file: its name
        self._folders: dict[str, str] = {}  # true path of a folder: its name
        self._links: collections.deque[tuple[Path, str]] = collections.deque()
        self._walk(root, "", os.path.realpath(root))
        while self._links:
            self._follow(*self._links.popleft())

    def _walk(self, folder: Path, name: str, true_path: str) -> None:
        if true_path in self._folders:
            self.left_out.append(Unused(name, f"the same folder again: {self._folders[true_path] or 'the whole set'}"))
            return
        self._folders[true_path] = name
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            reason = error.strerror or str(error)
            log.warning("folder %s cannot be listed (%s): its images are missing", printable(str(folder)), reason)
            self.left_out.append(Unused(name, f"a folder that cannot be listed: {reason}"))
            return
        if any({entry.name for entry in entries} >= names for names in RUN_FOLDER):
            if not name:
                raise _is_run_folder(folder)
            self.left_out.append(Unused(name, MADE))
            return
        if name and not entries and not reason_to_leave_out(f"{self._before}{name}/"):
            self.left_out.append(Unused(name, EMPTY_FOLDER))
        for entry in entries:
            inside, true_entry = f"{name}/{entry.name}" if name else entry.name, f"{true_path}/{entry.name}"
            if os.path.islink(entry):
                self._links.append((entry, inside))
            elif os.path.isdir(entry):
                self._walk(entry, inside, true_entry)
            else:
                self._add(entry, inside, true_entry)

    def _follow(self, link: Path, name: str) -> None:
        true_path = os.path.realpath(link)
        if not os.path.isdir(link):
            self._add(link, name, true_path)
        elif reason := reason_to_leave_out(f"{self._before}{name}/"):
            self.left_out.append(Unused(name, reason))
        else:
            self._walk(link, name, true_path)

    def _add(self, file: Path, name: str, true_path: str) -> None:
        reason = reason_to_leave_out(self._before + name) or self._problem(file, name, true_path)
        if reason is None:
            self.names.append(name)
        else:
            self.left_out.append(Unused(name, reason))

    def _problem(self, file: Path, name: str, true_path: str) -> str | None:
        """Why a file is no image of the set; None if it is one, or has the name of one and cannot be read."""
        try:
            facts = file.stat()
        except OSError as error:
            return None if is_image_name(file.name) else f"cannot be read: {error.strerror or error}"
        if not stat.S_ISREG(facts.st_mode):
            return "not a file"
        # Several names of one file share its number, where the file system has such numbers.
        identity = (facts.st_dev, facts.st_ino) if facts.st_nlink > 1 and facts.st_ino else true_path
        if identity in self._files:
            return f"the same file again: {self._files[identity]}"
        self._files[identity] = name
        if is_image_name(file.name):
            return None
        try:
            with open(file, "rb") as content:
                return None if holds_image(content) else NOT_AN_IMAGE
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
