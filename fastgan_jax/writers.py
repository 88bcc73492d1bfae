"""What a run shows: the progress bar, metrics.jsonl, TensorBoard event files, and pictures."""

import contextlib
import io
import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.run_folder import RunFolder

GRID_BACKGROUND = 255
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SHOWN = ("loss/d", "loss/g")  # in the progress line
BAR_SECONDS = 0.5  # least time between updates of the progress bar
LINE_SECONDS = 15.0  # and between progress lines where there is no terminal

log = logging.getLogger(__name__)


def image_grid(images: np.ndarray, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Lays pictures out in rows.

    Args:
        images: uint8 [N, H, W, C].
        columns: pictures in a row; None: about as many as rows.
        padding: white pixels between pictures.

    Returns:
        uint8 [rows * (H + padding) - padding, columns * (W + padding) - padding, C].
    """
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    shape = (rows * (height + padding) - padding, columns * (width + padding) - padding, channels)
    grid = np.full(shape, GRID_BACKGROUND, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + padding), index % columns * (width + padding)
        grid[top : top + height, left : left + width] = image
    return grid


def captioned(image: np.ndarray, text: str) -> np.ndarray:
    """A picture, uint8 [H, W, C], with a line of text below it as large as fits: uint8 [H + h, W, C]."""
    from PIL import Image, ImageDraw, ImageFont

    height, width, channels = image.shape
    for size in range(max(10, width // 20), 3, -1):
        font = ImageFont.load_default(size=size)
        left, top, right, bottom = (round(side) for side in font.getbbox(text))
        if right - left <= width - 2:
            break
    line = Image.new("L", (width, bottom + top), GRID_BACKGROUND)
    ImageDraw.Draw(line).text(((width - right - left) // 2, top // 2), text, fill=0, font=font)
    strip = np.repeat(np.asarray(line)[..., None], min(channels, 3), axis=-1)
    if channels == 4:
        strip = np.concatenate([strip, np.full_like(strip[..., :1], 255)], axis=-1)
    return np.concatenate([image, strip])


def write_text(path: Path, text: str) -> None:
    """Writes a text file.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error})") from None


def save_png(path: Path, image: np.ndarray, metadata: Mapping[str, str] | None = None) -> None:
    """Writes uint8 [H, W, C] (C = 1, 3 or 4) as a PNG whose text fields are `metadata`; whole or not at all."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(encode_png(image, metadata))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encode_png(image: np.ndarray, metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a PNG of uint8 [H, W, C], C = 1, 3 or 4."""
    from PIL import Image, PngImagePlugin

    information = PngImagePlugin.PngInfo()
    for name, value in (metadata or {}).items():
        information.add_text(name, value)
    mode = MODES[image.shape[-1]]
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if mode == "L" else image).save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()


class MetricsWriter:
    """Writes scalars and pictures of a run to metrics.jsonl and to TensorBoard's event files (without TensorFlow)."""

    def __init__(self, run: RunFolder, resume_step: int):
        """Opens the files of `run`; lines of iterations after `resume_step`, which will come again, are dropped."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        _drop_later_lines(run.metrics, resume_step)
        self._lines = open(run.metrics, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
        self._events = EventFileWriter(str(run.tensorboard))

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of metrics.jsonl and one event; numbers that are not finite become null in the line."""
        line: dict[str, Any] = {"step": step, "wall_time": round(time.time(), 3)}
        line.update({name: value if math.isfinite(value) else None for name, value in values.items()})
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        self._add(step, [{"tag": name, "simple_value": value} for name, value in values.items()])

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Writes a picture, uint8 [H, W, C], as an event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, channels = image.shape
        content = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encode_png(image))
        self._add(step, [{"tag": tag, "image": content}])

    def close(self) -> None:
        """Writes what is pending and closes the files."""
        self._lines.close()
        self._events.close()

    def _add(self, step: int, values: list[dict[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value) for value in values])
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._events.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order; one that a crash cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    return lines


def _drop_later_lines(path: Path, step: int) -> None:
    """Keeps the lines of metrics.jsonl up to `step`; a last line cut off by a crash goes too."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    intact = read_metrics(path)
    if len(intact) < len(lines):
        log.warning("%s: dropped a damaged line", path)
    kept = [json.dumps(line) for line in intact if line["step"] <= step]
    temporary = path.with_suffix(".jsonl.tmp")
    temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    temporary.replace(path)


class Progress:
    """Progress of a run on stderr: a bar in a terminal, elsewhere a line now and then."""

    def __init__(self, total: int, initial: int, batch_size: int):
        """For iterations `initial` to `total` of `batch_size` pictures each."""
        self._total, self._batch_size = total, batch_size
        self._losses = ""
        self._bar = None
        self._open = contextlib.ExitStack()
        if sys.stderr.isatty():
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._bar = self._open.enter_context(tqdm(total=total, initial=initial, unit="it", dynamic_ncols=True))
            self._open.enter_context(logging_redirect_tqdm())  # log lines go above the bar, not into it
        self._shown_at, self._shown_step = time.perf_counter(), initial

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def losses(self, metrics: Mapping[str, float]) -> None:
        """Shows these losses from the next update on."""
        self._losses = " ".join(f"{name} {metrics[name]:.3f}" for name in SHOWN if name in metrics)

    def update(self, step: int) -> None:
        """Shows that `step` iterations are done, with speed, remaining time and the latest losses."""
        seconds = time.perf_counter() - self._shown_at
        if seconds < (BAR_SECONDS if self._bar is not None else LINE_SECONDS) and step < self._total:
            return
        rate = (step - self._shown_step) / max(seconds, 1e-9)
        pictures = f"{rate * self._batch_size:.1f} images/s"
        if self._bar is not None:
            self._bar.set_postfix_str(f"{pictures} {self._losses}", refresh=False)
            self._bar.update(step - self._shown_step)
        else:
            minutes, left = divmod(round((self._total - step) / max(rate, 1e-9)), 60)
            done = f"iteration {step}/{self._total}"
            log.info("%s  %.2f it/s  %s  %d:%02d left  %s", done, rate, pictures, minutes, left, self._losses)
        self._shown_at, self._shown_step = time.perf_counter(), step
