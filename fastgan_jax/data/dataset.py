"""A training set as one array of uint8 images, from whatever source the configuration names."""

import collections
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.data.cache import CacheEntry, entry_of
from fastgan_jax.data.decode import DECODER_VERSION, Decoded, Format, collected_warnings, decode
from fastgan_jax.data.demo import DEMO_VERSION, draw_demo_set
from fastgan_jax.data.source import Source, folder_labels, open_source
from fastgan_jax.data.tfds_source import TfdsSource
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import user_path

FACTS = ("names", "skipped", "report", "warnings")  # kept with a cached set
AHEAD = 4  # images per decoding thread that may wait to be written

log = logging.getLogger(__name__)

Result = tuple[Decoded | str, list[str]]  # an image or why it cannot be read, and Pillow's warnings


@dataclass(frozen=True)
class ImageSet:
    """A decoded training set."""

    images: np.ndarray  # uint8 [N, H, W, C], possibly memory-mapped
    labels: np.ndarray  # int32 [N]; zeros for an unconditional model
    names: Sequence[str]  # of the files
    skipped: Sequence[str]  # names of the files that could not be read
    fingerprint: str  # hash of the contents and of how they were decoded


def load_image_set(data: Any, *, resolution: int, channels: int, num_classes: int, run_dir: str | Path) -> ImageSet:
    """Loads the set of the group `data` of a configuration, from the cache if it was decoded before.

    Args:
        data: the group: path, tfds or demo_images, and how to decode.
        resolution: side of the images.
        channels: 1, 3 or 4.
        num_classes: 0, or the number of classes that the source must have.
        run_dir: the run folder; demo images are cached there.

    Raises:
        UserError: if the source cannot be used, or no image in it can be read.
    """
    target = Format(resolution, channels, data.fit, data.background)
    _ = target.background_rgb  # an unknown color must fail before anything is decoded
    if data.demo_images is not None:
        return _load_demo(data, target, user_path(run_dir))
    source = open_source(data.path) if data.path is not None else TfdsSource(data.tfds, data.tfds_split)
    try:
        labels = _labels(source, num_classes)
        described = f"{source.fingerprint()}/{target}/{DECODER_VERSION}/{labels}"
        fingerprint = hashlib.sha256(described.encode()).hexdigest()[:32]
        entry = entry_of(fingerprint, data.cache_dir)
        images, kept_labels, facts = entry.load_or_make(lambda: _decode_into(entry, source, target, labels), FACTS)
    finally:
        source.close()
    for line in facts["report"]:
        log.info("%s", line)
    for line in facts["warnings"]:
        log.warning("%s", line)
    return ImageSet(images, kept_labels, facts["names"], facts["skipped"], fingerprint)


def _labels(source: Source, num_classes: int) -> list[int]:
    if not num_classes:
        return [0] * len(source.names)
    if isinstance(source, TfdsSource):
        return source.labels(num_classes)
    return folder_labels(source.names, num_classes)


def _load_demo(data: Any, target: Format, run_dir: Path) -> ImageSet:
    fingerprint = f"demo-{data.demo_images}-{data.demo_seed}-{target.resolution}-{target.channels}-v{DEMO_VERSION}"
    entry = CacheEntry(run_dir / "data" / fingerprint, setting="--workdir")

    def draw() -> None:
        images = draw_demo_set(data.demo_images, data.demo_seed, target.resolution)
        if target.channels == 1:
            images = np.round(images @ np.array([0.299, 0.587, 0.114]))[..., None].astype(np.uint8)
        elif target.channels == 4:
            images = np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1)
        entry.write(images, np.zeros(len(images), np.int32), {})

    images, labels, _ = entry.load_or_make(draw)
    names = [f"demo {index}" for index in range(data.demo_images)]
    return ImageSet(images, labels, names, [], fingerprint)


def _decode_into(entry: CacheEntry, source: Source, target: Format, labels: Sequence[int]) -> None:
    """Decodes every file of the source into the cache entry, one by one: the set need not fit into memory."""
    start = time.perf_counter()
    count, side = len(source.names), target.resolution
    kept, reasons, warned = [], {}, []
    modes: collections.Counter[str] = collections.Counter()
    not_square = 0
    with entry.writer((side, side, target.channels)) as writer, _decoding(source, target) as results:
        for index, (result, messages) in enumerate(results):
            name = source.names[index]
            if isinstance(result, str):
                reasons[name] = result
                continue
            writer.append(result.pixels)
            kept.append(index)
            warned += [f"{name} was decoded with a warning: {message}" for message in messages]
            modes[result.mode] += 1
            not_square += not result.square
        if not kept:
            name, reason = next(iter(reasons.items()))
            raise UserError(
                f"{source.description}: none of {count} files can be read; the first, {name}, fails with {reason}"
            )
        seconds = time.perf_counter() - start
        report = [
            f"{source.description}: {len(kept)} decoded to {side}x{side}x{target.channels}, {len(reasons)} skipped "
            f"({len(kept) / seconds:.0f} images/s)",
            f"file modes: {', '.join(f'{number} {mode}' for mode, number in modes.most_common())}; "
            f"{not_square} not square ({target.fit})",
        ]
        facts = {
            "names": [source.names[index] for index in kept],
            "skipped": list(reasons),
            "report": report,
            "warnings": [f"skipped {name} ({reason})" for name, reason in reasons.items()] + warned,
        }
        writer.finish(np.array([labels[index] for index in kept], np.int32), facts)


@contextlib.contextmanager
def _decoding(source: Source, target: Format) -> Iterator[Iterable[Result]]:
    """Decodes in threads while the context lasts, and shows the progress; yields each file's result, in order."""
    from PIL import UnidentifiedImageError

    def one(index: int) -> Result:
        data, thread.messages = b"", []
        try:
            data = source.read(index)
            return decode(data, target), thread.messages
        except UnidentifiedImageError:
            return f"no known image format, {len(data)} bytes", []
        except Exception as error:  # noqa: BLE001 (decoders raise all kinds for damaged files)
            return f"{type(error).__name__}: {error}", []

    count, threads = len(source.names), os.cpu_count() or 1
    with collected_warnings() as thread, ThreadPoolExecutor(threads) as pool:
        yield Progress(_in_order(pool, one, count, AHEAD * threads), title="decoding", total=count)


def _in_order(pool: Executor, function: Callable[[int], Result], count: int, ahead: int) -> Iterator[Result]:
    """Yields function(0) to function(count - 1); at most `ahead` results wait to be taken, unlike with `pool.map`."""
    pending: collections.deque[Future[Result]] = collections.deque()
    for index in range(count):
        pending.append(pool.submit(function, index))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
