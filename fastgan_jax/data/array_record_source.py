"""Images in array_record files, each record the bytes of an image file."""

import hashlib
from pathlib import Path

from fastgan_jax.data.source import Source
from fastgan_jax.errors import UserError, gist

ENDING = ".array_record"


class ArrayRecordSource(Source):
    """The records of one file, or of all such files of a folder one after the other, by random access."""

    def __init__(self, place: Path):
        """Opens the files.

        Raises:
            UserError: if the package is missing, or a file cannot be read.
        """
        self.description = f"array_record {place}"
        self._files = sorted(place.glob(f"*{ENDING}")) if place.is_dir() else [place]
        try:
            from array_record.python.array_record_data_source import ArrayRecordDataSource
        except ImportError:
            cure = "pip install array_record, or give a folder or zip of images"
            raise UserError(f"data.path={place} needs the package array_record: {cure}") from None
        try:
            self._records = ArrayRecordDataSource(list(map(str, self._files)))
            self.names = [f"{index:06d}" for index in range(len(self._records))]
        except Exception as error:  # noqa: BLE001 (the reader raises all kinds)
            problem = f"data.path={place} cannot be read as array_record ({gist(error)})"
            raise UserError(f"{problem}: write it anew") from None

    def read(self, index: int) -> bytes:
        return bytes(self._records[index])

    def labels(self, num_classes: int) -> list[int]:
        problem = f"model.num_classes={num_classes}: {self.description} has no folders for classes"
        raise UserError(f"{problem}: give those of 000000, 000001, ... in a file, data.labels")

    def fingerprint(self) -> str:
        """Of the files' contents."""
        digest = hashlib.sha256()
        for path in self._files:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def holds_records(place: Path) -> bool:
    """Whether a path is an array_record file, or a folder that has such files and nothing else."""
    if place.is_dir():
        return all(entry.suffix == ENDING for entry in place.iterdir()) and any(place.iterdir())
    return place.suffix == ENDING
