"""What a run logs: metrics.jsonl, and scalars and images as TensorBoard event files."""

import json
import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.utils.files import explained, write_text
from fastgan_jax.utils.grids import encode_png

log = logging.getLogger(__name__)


class MetricsWriter:
    """Writes scalars and images of a run to metrics.jsonl and to TensorBoard's event files (without TensorFlow)."""

    def __init__(self, run: RunFolder, resume_step: int):
        """Opens the files of `run`; lines of iterations after `resume_step`, which will be repeated, are dropped."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._path = run.metrics
        _drop_later_lines(run.metrics, resume_step)
        with self._explained():
            self._lines = open(run.metrics, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
            self._events = EventFileWriter(str(run.tensorboard))

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of metrics.jsonl and one event; numbers that are not finite become null in the line.

        Raises:
            UserError: if the disk is full or fails.
        """
        line: dict[str, Any] = {"step": step, "wall_time": round(time.time(), 3)}
        line.update({name: value if math.isfinite(value) else None for name, value in values.items()})
        with self._explained():
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
        self._add(step, [{"tag": name, "simple_value": value} for name, value in values.items()])

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Writes an image, uint8 [H, W, C], as an event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, channels = image.shape
        content = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encode_png(image))
        self._add(step, [{"tag": tag, "image": content}])

    def close(self) -> None:
        """Writes what is pending and closes the files."""
        with self._explained():
            self._lines.close()
            self._events.close()

    def _add(self, step: int, values: list[dict[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value) for value in values])
        with self._explained():
            self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))
            self._events.flush()

    def _explained(self) -> AbstractContextManager[None]:
        return explained(
            f"the log of {self._path.parent} cannot be written", "free some space; the same command then resumes"
        )


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
    write_text(path, "".join(line + "\n" for line in kept))
