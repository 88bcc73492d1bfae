"""Decoded sets on disk: arrays that can be memory-mapped, keyed by content and by how they were decoded."""

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from fastgan_jax.errors import UserError

DONE = "set.json"  # written last into an entry

log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """The user's cache folder for decoded sets."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgan_jax" / "data"


class CacheEntry:
    """One decoded set: images.npy, labels.npy and set.json (names, what was skipped)."""

    def __init__(self, folder: Path):
        """Names the entry's folder, which need not exist."""
        self.folder = folder

    def load(self) -> tuple[np.ndarray, np.ndarray, dict] | None:
        """The images (memory-mapped uint8 [N, H, W, C]), labels int32 [N] and facts; None if absent or damaged."""
        if not self.folder.exists():
            return None
        try:
            facts = json.loads((self.folder / DONE).read_text(encoding="utf-8"))
            images = np.load(self.folder / "images.npy", mmap_mode="r")
            labels = np.load(self.folder / "labels.npy")
            if len(images) != facts["count"] or len(labels) != facts["count"]:
                raise ValueError(f"{len(images)} pictures instead of {facts['count']}")
        except (OSError, ValueError, KeyError) as error:
            log.warning("the cached set in %s is damaged (%s): decoding again", self.folder, error)
            return None
        return images, labels, facts

    def write(self, images: np.ndarray, labels: np.ndarray, facts: dict) -> None:
        """Writes the entry, whole or not at all.

        Raises:
            UserError: if the folder cannot be written.
        """
        temporary = None
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".decoding-", dir=self.folder.parent))
            np.save(temporary / "images.npy", images)
            np.save(temporary / "labels.npy", labels)
            (temporary / DONE).write_text(json.dumps(facts | {"count": len(images)}), encoding="utf-8")
            shutil.rmtree(self.folder, ignore_errors=True)  # a damaged entry
            temporary.rename(self.folder)
        except OSError as error:
            raise UserError(
                f"decoded pictures cannot be cached in {self.folder.parent} ({error.strerror or error}): free "
                f"{images.nbytes / 1e6:.0f} MB there, or set data.cache_dir to another folder"
            ) from None
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
