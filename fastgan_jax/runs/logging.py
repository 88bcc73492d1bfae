"""What a run logs: metrics.jsonl, and scalars and images as TensorBoard event files."""

import contextlib
import json
import logging
import math
import time
from collections.abc import Mapping
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
        if run.metrics.exists():
            lines = read_metrics(run.metrics)
            if len(lines) < len(run.metrics.read_text(encoding="utf-8").splitlines()):
                log.warning("%s: dropped a damaged line", run.metrics)
            kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= resume_step]
            write_text(run.metrics, "".join(kept))
        with self._explained():
            self._lines = open(run.metrics, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
            self._events = EventFileWriter(str(run.tensorboard))

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        with self._explained():
            self._lines.close()
            self._events.close()

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

    def _add(self, step: int, values: list[dict[str, Any]]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value) for value in values])
        with self._explained():
            self._events.add_event(Event(wall_time=time.time(), step=step, summary=summary))
            self._events.flush()

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        problem = f"the log of {self._path.parent} cannot be written"
        return explained(problem, "free some space; the same command then resumes")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order; one that a crash cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            line = json.loads(text)
            if isinstance(line, dict) and "step" in line:
                lines.append(line)
    return lines
