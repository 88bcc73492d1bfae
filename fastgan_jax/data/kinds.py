"""Which files are images: by their folders, their ending and, where that says nothing, their content."""

import functools
import warnings
from pathlib import PurePosixPath
from typing import BinaryIO

# Folders of systems, with thumbnails or deleted files in them; case does not matter.
SYSTEM_FOLDERS = {
    *("@eadir", "@tmp", "#recycle", "@recycle", "#snapshot", "@recently-snapshot", "__macosx", "$recycle.bin"),
    *("recycler", "system volume information", "lost+found", "lost.dir", "found.000"),
}
SYSTEM_WORDS = {"recycled", "trash", "trashbin", "thumbnails", "thumbs"}  # such folders too, but some are classes
SYSTEM_ENDINGS = (".lrdata",)  # previews of Lightroom, in a folder of their own
PHOTOS_LIBRARY, PHOTOS_COPIES = ".photoslibrary", "resources"  # Apple's Photos has small copies in there
BACKUP_ENDINGS = ("~", ".bak", ".orig", "_original")  # of editors and of exiftool, after the image's own
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}

# Formats whose files Pillow opens but that hold no image it can load here.
NOT_LOADED = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
BY_ENDING_ONLY = {"EPS"}  # and those without a signature: any bytes might be one

HEIF_ENDINGS = (".heic", ".heif", ".hif")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
RAW_ENDINGS = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
# Images by their endings that are refused whatever Pillow makes of them: of raw files it sees the preview.
REFUSED = {
    **dict.fromkeys(RAW_ENDINGS, "a camera's raw file: export it as TIFF, PNG or JPEG"),
    **dict.fromkeys((".svg", ".svgz", ".ai", ".cdr", ".eps", ".ps"), "vector graphics: export it as PNG"),
    **dict.fromkeys((".jxl", ".xcf", ".kra", ".exr", ".hdr"), "a format that Pillow does not read: export it as PNG"),
}


class Refused(ValueError):
    """An image that is not read, for the reason that the message says in plain words."""


class NoRoom(Refused):
    """An image that needs more memory than is free now."""


@functools.cache
def heif_support() -> bool:
    """Whether HEIC files can be read: whether pillow-heif is there, which is then made known to Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@functools.cache
def image_endings() -> frozenset[str]:
    """Endings of images, in lower case: all that the installed Pillow reads, and those that are refused by name."""
    from PIL import Image

    formats = Image.registered_extensions()
    readable = {ending for ending, kind in formats.items() if kind in Image.OPEN and kind not in NOT_LOADED}
    return frozenset(readable | {*HEIF_ENDINGS, *REFUSED})


def reason_to_leave_out(name: str) -> str | None:
    """Why a file is no part of a set by its path, with / between folders; None if nothing in the path says so."""
    *folders, file = name.split("/")
    for above, folder in zip(["", *folders], folders, strict=False):
        lower, copies = folder.lower(), above.lower().endswith(PHOTOS_LIBRARY) and folder.lower() == PHOTOS_COPIES
        if lower in SYSTEM_FOLDERS or lower.endswith(SYSTEM_ENDINGS) or copies:
            return f"in {folder}"
        if lower in SYSTEM_WORDS:
            return f"in {folder}: rename this folder to use it"
        if folder.startswith("."):
            return "in a hidden folder"
    if file.startswith("."):
        return "hidden"
    if ending(file).endswith(BACKUP_ENDINGS):
        return "a backup copy"
    return "of the system" if file.lower() in SYSTEM_FILES else None


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image by its name; hidden files, such as a Mac's "._" twins, are not."""
    return ending(name) in image_endings() and not name.startswith(".")


def ending(name: str) -> str:
    """The ending of a file's name, in lower case, such as ".png"."""
    return PurePosixPath(name).suffix.lower()


def is_heif(head: bytes) -> bool:
    """Whether a file begins as HEIC files do."""
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def holds_image(file: BinaryIO) -> bool:
    """Whether the content of a seekable file begins as an image of a format that has a signature."""
    from PIL import Image

    if is_heif(file.read(12)):
        return True
    file.seek(0)
    Image.init()
    kinds = [kind for kind, (_, accepts) in Image.OPEN.items() if accepts and kind not in NOT_LOADED | BY_ENDING_ONLY]
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=kinds):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # noqa: BLE001 (readers raise all kinds for what is no image)
        return False
