"""A training set as one array of uint8 images, from whatever source the configuration names."""

import collections
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.data.cache import entry_folder, load_or_make
from fastgan_jax.data.decode import DECODER_VERSION, Format, collected_warnings, decode_or_reason
from fastgan_jax.data.demo import DEMO_VERSION, draw_demo_image
from fastgan_jax.data.hf_source import HuggingFaceSource
from fastgan_jax.data.source import Source, open_source
from fastgan_jax.data.tfds_source import TfdsSource
from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import Progress
from fastgan_jax.utils.files import user_path

FACTS = ("names", "skipped", "report", "warnings")  # kept with a cached set
AHEAD = 4  # images per decoding thread that may wait to be written

log = logging.getLogger(__name__)


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
        labels = source.labels(num_classes) if num_classes else [0] * len(source.names)
        described = f"{source.fingerprint()}/{target}/{DECODER_VERSION}/{labels}"
        fingerprint = hashlib.sha256(described.encode()).hexdigest()[:32]
        folder = entry_folder(fingerprint, data.cache_dir)
        images, kept_labels, facts = load_or_make(
            folder, shape, lambda append: _decode_all(source, target, labels, append), FACTS
        )
    finally:
        source.close()
    for line in facts["report"]:
        log.info("%s", line)
    for line in facts["warnings"]:
        log.warning("%s", line)
    return ImageSet(images, kept_labels, facts["names"], facts["skipped"], fingerprint)


def _open(data: Any) -> Source:
    if data.hf is not None:
        return HuggingFaceSource(data)
    return open_source(data.path) if data.path is not None else TfdsSource(data.tfds, data.tfds_split)


def _load_demo(count: int, seed: int, shape: tuple[int, int, int], run_dir: Path) -> ImageSet:
    _, side, channels = shape
    fingerprint = f"demo-{count}-{seed}-{side}-{channels}-v{DEMO_VERSION}"

    def draw(append: Callable[[np.ndarray], None]) -> tuple[np.ndarray, dict]:
        for index in range(count):
            image = draw_demo_image(seed, index, side)
            if channels == 1:
                image = np.round(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
            append(np.dstack([image, np.full((side, side), 255, np.uint8)]) if channels == 4 else image)
        return np.zeros(count, np.int32), {}

    images, labels, _ = load_or_make(run_dir / "data" / fingerprint, shape, draw, setting="--workdir")
    return ImageSet(images, labels, [f"demo {index}" for index in range(count)], [], fingerprint)


def _decode_all(
    source: Source, target: Format, labels: Sequence[int], append: Callable[[np.ndarray], None]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Decodes every file of the source, in threads, and appends it; the labels of those that can be read, and FACTS."""
    start, count, threads = time.perf_counter(), len(source.names), os.cpu_count() or 1
    kept, reasons, warned = [], {}, []
    modes: collections.Counter[str] = collections.Counter()
    not_square = 0
    with collected_warnings() as thread, ThreadPoolExecutor(threads) as pool:
        results = _in_order(
            pool, lambda index: decode_or_reason(lambda: source.read(index), target, thread), count, AHEAD * threads
        )
        for index, (result, messages) in enumerate(Progress(results, title="decoding", total=count)):
            name = source.names[index]
            if isinstance(result, str):
                reasons[name] = result
                continue
            append(result.pixels)
            kept.append(index)
            warned += [f"{name} was decoded with a warning: {message}" for message in messages]
            modes[result.mode] += 1
            not_square += not result.square
    if not kept:
        name, reason = next(iter(reasons.items()))
        raise UserError(
            f"{source.description}: none of {count} files can be read; the first, {name}, fails with {reason}"
        )
    size = f"{target.resolution}x{target.resolution}x{target.channels}"
    speed = len(kept) / (time.perf_counter() - start)
    report = [
        f"{source.description}: {len(kept)} decoded to {size}, {len(reasons)} skipped ({speed:.0f} images/s)",
        f"file modes: {', '.join(f'{number} {mode}' for mode, number in modes.most_common())}; "
        f"{not_square} not square ({target.fit})",
    ]
    warned = [f"skipped {name} ({reason})" for name, reason in reasons.items()] + warned
    names = [source.names[index] for index in kept]
    facts = {"names": names, "skipped": list(reasons), "report": report, "warnings": warned}
    return np.array([labels[index] for index in kept], np.int32), facts


def _in_order(pool: Executor, function: Callable[[int], Any], count: int, ahead: int) -> Iterator[Any]:
    """Yields function(0) to function(count - 1); at most `ahead` results wait to be taken, unlike with `pool.map`."""
    pending = collections.deque(pool.submit(function, index) for index in range(min(ahead, count)))
    for index in range(ahead, ahead + count):
        yield pending.popleft().result()
        if index < count:
            pending.append(pool.submit(function, index))
