"""Single image files, read as a run reads its training images."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.data.decode import Format, collected_warnings, decode_or_reason
from fastgan_jax.data.source import FolderSource
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import user_path

log = logging.getLogger(__name__)


def image_files(paths: Sequence[str | Path]) -> list[Path]:
    """The image files at paths of files and folders; those of a folder, searched recursively, in sorted order.

    Raises:
        UserError: if there is no such file or folder, or no image in a folder.
    """
    files: list[Path] = []
    for path in map(user_path, paths):
        if path.is_dir():
            inside = [path / name for name in FolderSource(path).names]
            if not inside:
                raise UserError(f"{path}: there is no image in this folder")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: no such file or folder")
    return files


def read_images(files: Sequence[Path], config: Any) -> np.ndarray:
    """Decodes files to the resolution, channels and fit of a run's configuration: uint8 [N, R, R, C].

    Raises:
        UserError: naming the first file that is not a readable image.
    """
    target = Format(config.model.resolution, config.model.channels, config.data.fit, config.data.background)
    images = []
    with collected_warnings() as thread:
        for file in files:
            decoded, warned = decode_or_reason(file.read_bytes, target, thread, file.name)
            if isinstance(decoded, str):
                raise UserError(f"{file}: not a readable image ({decoded})")
            for message in warned:
                log.warning("%s was decoded with a warning: %s", file, message)
            images.append(decoded.pixels)
    return np.stack(images)
