"""A training set as one array of uint8 images, from whatever source the configuration names."""

import collections
import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.data import cache
from fastgan_jax.data.accounting import Accounting, ReadFile, Unused, printable
from fastgan_jax.data.cache import entry_folder, load_or_make
from fastgan_jax.data.decode import (
    DECODER_VERSION,
    Decoded,
    Format,
    Passing,
    collected_warnings,
    decode_or_reason,
    decoders,
)
from fastgan_jax.data.demo import DEMO_VERSION, draw_demo_image
from fastgan_jax.data.hf_source import HuggingFaceSource
from fastgan_jax.data.labels import classes_by_file
from fastgan_jax.data.memory import cpu_threads, threads_for_files
from fastgan_jax.data.source import Source, open_source
from fastgan_jax.data.tfds_source import TfdsSource
from fastgan_jax.errors import UserError
from fastgan_jax.gan.self_supervision import Facts
from fastgan_jax.utils.console import Progress, announced, muted
from fastgan_jax.utils.files import user_path

KEPT_FACTS = ("read", "skipped")  # with a cached set
AHEAD = 4  # images per decoding thread that may wait to be written
AHEAD_BYTES = 2**28  # bytes of them, if they are large

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSet:
    """A decoded training set."""

    images: np.ndarray  # uint8 [N, H, W, C], possibly memory-mapped
    labels: np.ndarray  # int32 [N]; zeros for an unconditional model
    files: Accounting  # every file of the source; of those that were read, row i came from the i-th
    fingerprint: str  # hash of the contents, of how they were decoded, and of which could not be read

    @property
    def names(self) -> list[str]:
        """Names of the files, in the order of the rows."""
        return [file.name for file in self.files.read]

    @property
    def skipped(self) -> list[str]:
        """Names of the files that could not be read."""
        return [file.name for file in self.files.skipped]

    def of_class(self, label: int) -> "ImageSet":
        """The images of one class."""
        rows = np.flatnonzero(self.labels == label)
        files = dataclasses.replace(self.files, read=[self.files.read[row] for row in rows])
        return ImageSet(self.images[rows], self.labels[rows], files, f"{self.fingerprint}-class{label}")

    def facts(self) -> Facts:
        """What is known of each image, for self-supervision."""
        aspects = [math.log(file.width / file.height) for file in self.files.read]
        return Facts(self.labels, np.arange(len(self.labels), dtype=np.int32), np.array(aspects, np.float32))

    def record(self) -> dict[str, Any]:
        """The content of a run's data.json: every file, read, skipped or left out, and the classes."""
        return self.files.record(self.labels)


def load_image_set(data: Any, *, resolution: int, channels: int, num_classes: int, run_dir: str | Path) -> ImageSet:
    """Loads the set of the group `data` of a configuration, from the cache if it was decoded before.

    Args:
        data: the group: path, tfds, hf or demo_images, and how to decode.
        resolution: side of the images.
        channels: 1, 3 or 4.
        num_classes: 0, or the number of classes that the source must have.
        run_dir: the run folder; demo images are cached there.

    Raises:
        UserError: if the source cannot be used, or no image in it can be read.
    """
    target = Format(resolution, channels, data.fit, data.background)
    shape = (resolution, resolution, channels)
    if data.demo_images is not None:
        return _load_demo(data.demo_images, data.demo_seed, shape, user_path(run_dir))
    source = _open(data)
    try:
        _check_not_empty(source)
        labels, names = _classes(source, data, num_classes) if num_classes else ([0] * len(source.names), [])
        classes = {name: number for number, name in enumerate(names)}
        with announced(f"reading {len(source.names)} files"):
            content = source.fingerprint()
        described = f"{content}/{target}/{DECODER_VERSION}/{labels}"
        folder = entry_folder(_hash(f"{described}/{decoders()}"), data.cache_dir)
        images, kept_labels, facts = load_or_make(
            *(folder, shape, len(source.names)),
            lambda append: _decode_all(source, target, labels, append),
            KEPT_FACTS,
        )
    finally:
        source.close()
    fingerprint = _hash(f"{described}/{[name for name, _ in facts['skipped']]}")
    read, skipped = [ReadFile(*file) for file in facts["read"]], [Unused(*file) for file in facts["skipped"]]
    files = Accounting(source.description, read, skipped, source.left_out, classes)
    for line in files.summary(f"{resolution}x{resolution}x{channels}", data.fit):
        log.info("%s", line)
    for line in files.warnings():
        log.warning("%s", line)
    _check_classes(files, source, labels, kept_labels)
    return ImageSet(images, kept_labels, files, fingerprint)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def check_source(data: Any, num_classes: int) -> list[str]:
    """Checks that there are images, and their classes, unless they come from a hub or are drawn; it decodes nothing.

    Returns:
        The names of the classes; [] if there are none, or that is not known yet.

    Raises:
        UserError: as `load_image_set`, before any work.
    """
    if data.path is not None or data.tfds is not None:
        with muted("fastgan_jax.data"):
            source = _open(data)
            try:
                _check_not_empty(source)
                return _classes(source, data, num_classes)[1] if num_classes else []
            finally:
                source.close()
    return []


def check_tasks(model: Any, image_set: ImageSet) -> None:
    """Checks that the tasks of self-supervision fit the images: `model` is that group of a configuration.

    Raises:
        UserError: if there are more or fewer images than outputs that tell them apart, or all have the same aspect.
    """
    if model.num_instances not in (0, count := len(image_set.images)):
        raise UserError(f"model.num_instances={model.num_instances}: the set has {count} images; set {count}")
    if "aspect" in model.self_supervision and np.ptp(image_set.facts().log_aspect) == 0:
        problem = f"model.self_supervision={model.self_supervision}: all images have the same aspect"
        raise UserError(f"{problem}, so there is nothing to learn of it; leave aspect out")


def _classes(source: Source, data: Any, num_classes: int) -> tuple[list[int], list[str]]:
    """The class of each file, by folders or by data.labels, and the names of the classes."""
    if data.labels is None:
        return source.labels(num_classes), source.class_names(num_classes)
    where, path = f"data.labels={data.labels}", user_path(data.labels)
    try:
        content = source.read_other(data.labels)  # first: a bare name is that of a file among the images
        if content is None and path.is_file():
            content = path.read_bytes()
        if content is None:
            raise UserError(f"{where}: there is no such file, neither here nor in {source.description}")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read ({error}): give JSON or CSV in UTF-8") from None
    return classes_by_file(text, source.names, num_classes, where)


def _check_not_empty(source: Source) -> None:
    if not source.names:
        raise UserError(f"{source.description}: there is no image in it")


def _open(data: Any) -> Source:
    if data.hf is not None:
        return HuggingFaceSource(data)
    return open_source(data.path) if data.path is not None else TfdsSource(data.tfds, data.tfds_split)


def _load_demo(count: int, seed: int, shape: tuple[int, int, int], run_dir: Path) -> ImageSet:
    _, side, channels = shape
    key, folder = f"demo-{count}-{seed}-{side}-{channels}-v", run_dir / "data"
    kept = sorted(path.parent.name for path in folder.glob(f"{key}*/{cache.FACTS_FILE}"))
    fingerprint = kept[0] if kept else f"{key}{DEMO_VERSION}"  # a run keeps what it was trained on

    def draw(append: Callable[[np.ndarray], None]) -> tuple[np.ndarray, dict]:
        for index in range(count):
            image = draw_demo_image(seed, index, side)
            if channels == 1:
                image = np.round(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
            append(np.dstack([image, np.full((side, side), 255, np.uint8)]) if channels == 4 else image)
        return np.zeros(count, np.int32), {}

    images, labels, _ = load_or_make(folder / fingerprint, shape, count, draw, setting="--workdir")
    read = [ReadFile(f"demo {index}", side, side, {1: "L", 3: "RGB", 4: "RGBA"}[channels]) for index in range(count)]
    return ImageSet(images, labels, Accounting(f"{count} demo images", read), fingerprint)


def _decode_all(
    source: Source, target: Format, labels: Sequence[int], append: Callable[[np.ndarray], None]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Decodes every file of the source, in threads, and appends it: the labels of those that are read, KEPT_FACTS."""
    started, count, threads = time.perf_counter(), len(source.names), cpu_threads()
    kept, read, skipped, passing = [], [], [], []
    with collected_warnings() as thread, threads_for_files() as pool:

        def decode_one(index: int) -> tuple[Decoded | str, list[str]]:
            return decode_or_reason(lambda: source.read(index), target, thread, source.names[index])

        results = _in_order(pool, decode_one, count, max(threads, min(AHEAD * threads, AHEAD_BYTES // target.nbytes)))
        for index, (result, notes) in enumerate(Progress(results, title="decoding", total=count)):
            name = source.names[index]
            if isinstance(result, str):
                skipped.append(Unused(name, result))
                passing += [name] if isinstance(result, Passing) else []
                continue
            append(result.pixels)
            kept.append(index)
            read.append(ReadFile(name, *result.size, result.mode, notes))
    if not kept:
        name, reason = map(printable, skipped[0])
        raise UserError(
            f"{source.description}: none of {count} files can be read; the first, {name}, fails with {reason}"
        )
    seconds = time.perf_counter() - started
    log.info("decoded in %.1f s (%.0f images/s)", seconds, len(kept) / seconds)
    facts = {"read": [dataclasses.astuple(file) for file in read], "skipped": skipped, cache.INCOMPLETE: passing}
    return np.array([labels[index] for index in kept], np.int32), facts


def _check_classes(files: Accounting, source: Source, labels: Sequence[int], kept: np.ndarray) -> None:
    """Refuses a class of whose images none can be read; of one that the source has no images of, the log says so."""
    skipped, listed, read = dict(files.skipped), set(labels), set(kept.tolist())
    for name, number in files.classes.items():
        if number not in listed:
            log.warning("class %d (%s) has no images", number, printable(name))
        elif number not in read:
            lost = [file for file, label in zip(source.names, labels, strict=True) if label == number]
            first = f"{printable(lost[0])}, fails with {printable(skipped[lost[0]])}"
            problem = (
                f"class {number} ({printable(name)}): none of its {len(lost)} files can be read; the first, {first}"
            )
            cure = (
                f"add images that can be read, or remove the class and set model.num_classes={len(files.classes) - 1}"
            )
            raise UserError(f"{problem}: {cure}")


def _in_order(pool: Executor, function: Callable[[int], Any], count: int, ahead: int) -> Iterator[Any]:
    """Yields function(0) to function(count - 1); at most `ahead` results wait to be taken, unlike with `pool.map`."""
    pending = collections.deque(pool.submit(function, index) for index in range(min(ahead, count)))
    for index in range(ahead, ahead + count):
        yield pending.popleft().result()
        if index < count:
            pending.append(pool.submit(function, index))
