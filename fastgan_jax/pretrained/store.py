"""Where pretrained weights are found: the cache folder, or their publisher, with the hash checked."""

import hashlib
import http.client
import importlib.util
import logging
import math
import tempfile
import urllib.request
from functools import partial
from pathlib import Path

from fastgan_jax.errors import UserError
from fastgan_jax.pretrained.formats import Arrays, read_arrays, write_arrays
from fastgan_jax.pretrained.layouts import convert
from fastgan_jax.pretrained.registry import PretrainedFile, registered
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import cache_folder, explained, user_path

TIMEOUT_SECONDS = 20
MEGABYTE = 1_000_000  # bytes that are read at once, and counted on the screen

log = logging.getLogger(__name__)


def cached_path(name: str) -> Path:
    """Where the weights of this name are kept once they are there."""
    return cache_folder("weights") / f"{registered(name).name}.npz"


def local_path(name: str) -> Path | None:
    """Where weights are on this machine: in the cache, else in an installed package; None if they are not here."""
    kept, entry = cached_path(name), registered(name)
    if kept.exists():
        return kept
    package = importlib.util.find_spec(entry.package) if entry.package else None
    folders = package.submodule_search_locations or () if package else ()
    return next((path for folder in folders for path in Path(folder).rglob(entry.filename)), None)


def find(name: str, path: str | Path | None = None) -> Arrays:
    """The weights `name` of the registry's FILES.

    They come from a local file, in any known layout, else the cache, an installed package, or a download.

    Raises:
        UserError: if they are not available or do not fit, or what is in the cache is damaged.
    """
    if path is not None:
        return _convert(name, read_arrays(path), path)
    here = local_path(name) or fetch(name)
    try:
        return convert(name, read_arrays(here))
    except UserError as error:
        raise UserError(f"{error}: delete {here} and run the same command again") from None


def fetch(name: str) -> Path:
    """Downloads a published file, checks its hash, and keeps what is needed of it in the cache: the path there.

    Where the cache is read-only, it is kept until this process ends, and the log says so.

    Raises:
        UserError: if its address does not answer with the published file, or it has none.
    """
    entry = registered(name)
    if entry.address and (path := cache_folder("weights", to_write=True) / cached_path(name).name).exists():
        return path  # since an earlier call
    tried = "cannot be downloaded"
    if entry.address:
        # A warning is shown even where nobody has set up logging: nothing is fetched silently.
        log.warning("downloading %s: %s, %s, from %s", name, entry.content, entry.size, entry.address)
        with tempfile.TemporaryDirectory(prefix="fastgan-jax-") as folder:
            file = Path(folder) / entry.filename
            try:
                digest = _download(entry, file)
            except (OSError, http.client.HTTPException) as error:
                problem = getattr(error, "reason", None) or error
            else:
                if digest == entry.sha256:
                    write_arrays(path, _convert(name, read_arrays(file), entry.address))
                    return path
                problem = f"another file: its sha256 starts with {digest[:8]}, not {entry.sha256[:8]}"
        tried = f"could not be downloaded from {entry.address} ({problem})"
    problem = f"the weights {name} ({entry.content}; for {entry.use}) are not in {cached_path(name).parent} and {tried}"
    if entry.package:
        raise UserError(f"{problem}: {entry.package_cure}")
    raise UserError(f"{problem}: get {entry.filename} elsewhere and run: fastgan weights --import FILE {name}")


def import_file(path: str | Path, name: str) -> Path:
    """Keeps what is needed of a local file in the cache, in place of what is there: the path there.

    A file that differs from the published one is accepted if its arrays fit, and the log says so.

    Raises:
        UserError: if the file cannot be read or its arrays do not fit.
    """
    entry, arrays = registered(name), read_arrays(path)
    digest = hashlib.sha256(user_path(path).read_bytes()).hexdigest()
    if entry.sha256 not in ("", digest):
        log.warning("%s is not the published file of %s (sha256 %s...)", path, name, digest[:8])
    write_arrays(kept := cached_path(name), _convert(name, arrays, path))
    return kept


def _convert(name: str, arrays: Arrays, source: str | Path) -> Arrays:
    try:
        return convert(name, arrays)
    except UserError as error:
        published = f"(the published file is {registered(name).filename})"
        raise UserError(f"{source} does not give the weights {name}: {error} {published}") from None


def _download(entry: PretrainedFile, path: Path) -> str:
    """Writes a published file to a path and returns its sha256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(entry.address, timeout=TIMEOUT_SECONDS) as response, open(path, "wb", 0) as file:
        length = int(response.headers.get("Content-Length") or 0)
        blocks, total = iter(partial(response.read, MEGABYTE), b""), math.ceil(entry.megabytes)
        for block in Progress(blocks, title=f"MB of {entry.filename}", total=total, passing=True):
            digest.update(block)
            with explained(f"{path} cannot be written", "free some space there, or set TMPDIR to another folder"):
                rest = memoryview(block)
                while rest:
                    rest = rest[file.write(rest) :]
        if file.tell() < length:
            raise OSError(f"the connection ended after {file.tell()} of {length} bytes")
    return digest.hexdigest()
