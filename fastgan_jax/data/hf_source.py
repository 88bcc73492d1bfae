"""Images of a data set that the library `datasets` reads: of the Hugging Face hub, or local."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from fastgan_jax.data.memory import threads_for_files
from fastgan_jax.data.source import Source
from fastgan_jax.errors import UserError, gist
from fastgan_jax.utils.files import user_path

FILE_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}  # of `datasets`, for local files
MISSING = {None, "", -1}  # instead of a class; `datasets` itself has -1
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
CLASS_TYPES = ("string", "large_string", "bool", *INTEGERS)
LABEL = "label"  # the column of classes, unless data.hf_labels names another

log = logging.getLogger(__name__)


class HuggingFaceSource(Source):
    """A split of a data set, its images as the bytes they are stored as."""

    def __init__(self, data: Any):
        """Opens the data set; one of the hub is downloaded into the cache of `datasets`, which shows its progress.

        Args:
            data: the group `data` of a configuration, of which it reads hf and the fields that begin so.

        Raises:
            UserError: if `datasets` is missing, or the data set or its split or column cannot be used.
        """
        self._datasets = _import_datasets()
        self._split, self._labels_column = data.hf_split, data.hf_labels
        self.description = f"data set {data.hf}, split {data.hf_split}"
        try:
            rows = self._open(data.hf)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (the library and its HTTP client have errors of their own)
            problem = f"data.hf={data.hf}, data.hf_split={data.hf_split} cannot be loaded ({gist(error, 2)})"
            cure = "check the network, or give the name of a data set on the hub, or a local folder or .parquet file"
            raise UserError(f"{problem}: {cure}") from None
        column = self._image_column(rows, data.hf_column)
        self._rows = rows.cast_column(column, self._datasets.Image(decode=False)).select_columns([column])
        self._column, self._all = column, rows
        self.names = [f"{index:06d}" for index in range(len(rows))]

    def _open(self, name: str) -> Any:
        """The rows of the split."""
        name = name.removeprefix("hf://").removeprefix("datasets/")  # as the hub's own tools address it
        place = user_path(name)
        if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():  # of save_to_disk
            return self._part(self._datasets.load_from_disk(str(place)))
        if place.is_file():
            if place.suffix.lower() not in FILE_BUILDERS:
                raise ValueError(f"{place.name} does not end in {' or '.join(FILE_BUILDERS)}")
            builder = FILE_BUILDERS[place.suffix.lower()]
            return self._datasets.load_dataset(builder, data_files=str(place), split=self._split)
        if not place.exists():
            log.info("data.hf=%s: from the Hugging Face hub%s, or its cache", name, _size(name))
        return self._datasets.load_dataset(str(place) if place.exists() else name, split=self._split)

    def _part(self, saved: Any) -> Any:
        """The split of what was saved, in the slicing syntax of `datasets`; of a single split, by default all of it."""
        if not isinstance(saved, dict):
            if self._split == "train":
                return saved
            saved = {str(saved.split or "train").partition("[")[0]: saved}
        sizes = {name: len(rows) for name, rows in saved.items()}
        parts = self._datasets.ReadInstruction.from_spec(self._split).to_absolute(sizes)
        rows = [
            saved[part.splitname].select(range(*slice(part.from_, part.to).indices(sizes[part.splitname])))
            for part in parts
        ]
        return self._datasets.concatenate_datasets(rows)

    def _image_column(self, rows: Any, chosen: str | None) -> str:
        features = rows.features
        images = [
            name
            for name, feature in features.items()
            if isinstance(feature, self._datasets.Image) or (isinstance(feature, dict) and _holds_images(feature))
        ]
        if chosen is not None:
            if chosen not in features:
                raise UserError(f"data.hf_column={chosen}: must be one of {', '.join(images or features)}")
            kind = features[chosen]
            if chosen not in images and not _holds_images(kind):
                raise UserError(f"data.hf_column={chosen} holds {kind}: must hold images, their bytes or their paths")
            return chosen
        if len(images) == 1:
            return images[0]
        found = f"several columns of images ({', '.join(images)})" if images else f"none in {', '.join(features)}"
        raise UserError(f"{self.description}: which column holds the images? there are {found}: set data.hf_column")

    def read(self, index: int) -> bytes:
        image = self._rows[index][self._column]
        if image is None or (image["bytes"] is None and image["path"] is None):
            raise ValueError("there is no image in this row")
        if image["bytes"] is not None:
            return image["bytes"]
        if "://" not in image["path"]:
            return Path(image["path"]).read_bytes()
        import fsspec  # of `datasets`, which leaves zips packed

        with fsspec.open(image["path"], "rb") as file:
            return file.read()

    def fingerprint(self) -> str:
        """Of contents, so that a copy or another machine's cache is the same set."""
        digest = hashlib.sha256()
        with threads_for_files() as pool:
            for content in pool.map(self._content_hash, range(len(self.names))):
                digest.update(content)
        return digest.hexdigest()

    def _content_hash(self, index: int) -> bytes:
        """Hash of an image; of nothing for one that cannot be read, which is reported when it is decoded."""
        try:
            return hashlib.sha256(self.read(index)).digest()
        except (OSError, ValueError):
            return hashlib.sha256(b"").digest()

    def labels(self, num_classes: int) -> list[int]:
        """The class of each image, from the column data.hf_labels.

        Raises:
            UserError: if there is no such column, or it does not hold `num_classes` classes.
        """
        names = self.class_names(num_classes)
        if len(names) != num_classes:
            problem = f"model.num_classes={num_classes}: {self.description} has {len(names)} classes"
            raise UserError(f"{problem} in column {self._label_column()}; set model.num_classes={len(names)}")
        values = self._all[self._label_column()]
        if missing := sum(value in MISSING for value in values):
            problem = f"{missing} row(s) of {self.description} have no class in column {self._label_column()}"
            raise UserError(f"model.num_classes={num_classes}: {problem}: choose another data.hf_labels, or 0")
        if isinstance(self._all.features[self._label_column()], self._datasets.ClassLabel):
            return list(values)
        numbers = {name: number for number, name in enumerate(names)}
        return [numbers[str(value)] for value in values]

    def class_names(self, num_classes: int) -> list[str]:
        """The classes in the order of their numbers: as the data set has them, or the values of the column, sorted."""
        column = self._label_column()
        feature = self._all.features[column]
        if isinstance(feature, self._datasets.ClassLabel):
            return list(feature.names)
        if getattr(feature, "dtype", "list") not in CLASS_TYPES:
            problem = f"data.hf_labels={column}: column {column} of {self.description} holds {feature}, not one class"
            raise UserError(f"{problem} of each image: choose another column, or set model.num_classes=0")
        return [str(value) for value in sorted({*self._all[column]} - MISSING)]

    def _label_column(self) -> str:
        chosen, columns = self._labels_column or LABEL, self._all.column_names
        if chosen not in columns:
            raise UserError(
                f"data.hf_labels={self._labels_column}: {self.description} has no column {chosen} for classes: must be "
                f"one of {', '.join(columns)}, or set model.num_classes=0"
            )
        return chosen


def _import_datasets() -> Any:
    try:
        import datasets
        from datasets import load_dataset  # noqa: F401 (which a folder `datasets` in the current one has not)
    except ImportError:
        raise UserError("data.hf needs the package datasets: pip install 'fastgan_jax[hf]'") from None
    return datasets


def _holds_images(feature: Any) -> bool:
    """Whether `datasets` can take what a column holds for images: bytes, paths, or both, as Parquet stores images."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "string")


def _size(name: str) -> str:
    """The size of a data set on the hub, in words; nothing if it cannot be told, such as without a network."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().dataset_info(name.split(":")[0], files_metadata=True, timeout=10).siblings
        return f" ({sum(file.size or 0 for file in files) / 1e6:.0f} MB)"
    except Exception:  # noqa: BLE001 (what is wrong, loading will say)
        return ""
