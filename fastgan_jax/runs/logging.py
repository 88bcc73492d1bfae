"""What a run logs: metrics.jsonl, which this package reads itself, and what train.loggers names.

To add a logger, write a subclass of `Logger` and an entry in `LOGGERS`: its name is then a value of train.loggers.
"""

import contextlib
import csv
import json
import logging
import math
import os
import platform
import sys
import time
import types
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError, gist
from fastgan_jax.runs.checkpoint import plain_path
from fastgan_jax.runs.folder import RunFolder, run_name
from fastgan_jax.utils.files import as_unicode, explained, replacing, write_text
from fastgan_jax.utils.grids import encode_png

log = logging.getLogger(__name__)


class Logger:
    """Where numbers and images of a run go too. An OSError of any method ends the run with one line."""

    @classmethod
    def check(cls) -> None:
        """Raises a UserError if it cannot be used here, such as without its package; called before the work."""

    def __init__(self, run: RunFolder, resume_step: int):
        """Opens it for a run whose config.json is written; iterations after `resume_step` will be logged again."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the numbers of an iteration, such as "loss/d"; they may be infinite or nan."""

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Takes an image, uint8 [H, W, C] with C = 1, 3 or 4: a grid of "samples" or "reconstructions"."""

    def close(self) -> None:
        """Writes what is still to be written; nothing follows."""


class TensorBoard(Logger):
    """Event files in the folder tensorboard, written without TensorFlow."""

    def __init__(self, run: RunFolder, resume_step: int):
        # TensorBoard looks for this module before it imports TensorFlow, which takes seconds where it is installed.
        sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("notf"))
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        run.tensorboard.mkdir(exist_ok=True)
        # Not its EventFileWriter, whose thread ends with a traceback where the disk is full.
        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}.{os.getpid()}"
        self._records = RecordWriter(open(run.tensorboard / name, "xb"))  # noqa: SIM115 (closed in `close`)
        self._write(file_version="brain.Event:2")
        # TensorBoard then leaves out what earlier files have of this iteration and later ones.
        self._write(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._add(step, [{"tag": name, "simple_value": value} for name, value in values.items()])

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, channels = image.shape
        content = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encode_png(image))
        self._add(step, [{"tag": tag, "image": content}])

    def close(self) -> None:
        self._records.close()

    def _add(self, step: int, values: list[dict[str, Any]]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(step=step, summary=Summary(value=[Summary.Value(**value) for value in values]))

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()


class Csv(Logger):
    """metrics.csv for spreadsheets: a line per iteration that is logged, a column for each name."""

    def __init__(self, run: RunFolder, resume_step: int):
        self._path = run.path / "metrics.csv"
        rows = self._rows()
        if rows and "step" not in rows[0]:  # a spreadsheet has saved it with other separators
            aside = self._path.with_name(f"metrics-until-{resume_step}.csv")
            self._path.replace(aside)
            log.warning("%s has no column step: it is now called %s, and another begins", self._path, aside.name)
            rows = []
        kept = [row for row in rows if (row["step"] or "").isdecimal() and int(row["step"]) <= resume_step]
        self._columns = list(kept[0]) if kept else ["step", "wall_time"]
        self._rewrite(kept)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, "wall_time": round(time.time(), 3), **values}
        if added := [name for name in row if name not in self._columns]:
            self._columns += added
            self._rewrite([*self._rows(), row])
            return
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _rows(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with open(self._path, encoding="utf-8-sig", errors="replace", newline="") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with replacing(self._path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")  # a damaged line may have more
            writer.writeheader()
            writer.writerows(rows)


class WeightsAndBiases(Logger):
    """Weights & Biases, as its environment variables say (WANDB_MODE=offline, WANDB_PROJECT); a resumed run goes on."""

    @classmethod
    def check(cls) -> None:
        try:
            import wandb
            from wandb import setup  # which a folder `wandb` in the current one has not
        except ImportError:
            cure = "pip install 'fastgan_jax[wandb]', or leave wandb out of train.loggers"
            raise UserError(f"train.loggers=wandb needs the package wandb: {cure}") from None
        try:
            if setup().settings.mode in ("online", "shared"):
                wandb.login()
        except Exception as error:  # noqa: BLE001 (of its settings too)
            raise cls._refused(error) from None

    @staticmethod
    def _refused(error: Exception) -> UserError:
        cure = "or set WANDB_MODE=offline, and send the run later with wandb sync"
        return UserError(f"train.loggers=wandb: {gist(error).rstrip('.')}, {cure}")

    def __init__(self, run: RunFolder, resume_step: int):
        import wandb

        identity = run.path / "wandb" / "id.txt"
        if not identity.exists():
            write_text(identity, uuid.uuid4().hex)
        self._link, self._run = contextlib.ExitStack(), None
        arguments, sys.argv = sys.argv, list(map(as_unicode, sys.argv))  # wandb sends these, and takes Unicode alone
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "fastgan_jax",
                name=as_unicode(run_name(run.path)),
                id=identity.read_text(encoding="utf-8"),
                resume="allow",
                dir=str(self._link.enter_context(plain_path(run.path))),
                config=json.loads(run.config.read_text(encoding="utf-8"))["config"],
                settings=wandb.Settings(console="off"),  # it would take over the screen
            )
        except Exception as error:  # noqa: BLE001 (its server, project and settings fail each in their own way)
            if resume_step == 0:
                raise self._refused(error) from None
            self._give_up(error)
        finally:
            sys.argv = arguments
        # As a number of its own: wandb's step could not go back to where a killed run resumes.
        self._send(lambda run: run.define_metric("*", step_metric="iteration"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._send(lambda run: run.log({"iteration": step, **values}))

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        import wandb

        shown = image[..., 0] if image.shape[-1] == 1 else image
        self._send(lambda run: run.log({"iteration": step, tag: wandb.Image(shown)}))

    def close(self) -> None:
        with self._link:
            self._send(lambda run: run.finish())

    def _send(self, action: Callable[[Any], None]) -> None:
        """Sends something; after the first failure nothing more: a run does not end for a server's sake."""
        if self._run is not None:
            try:
                action(self._run)
            except Exception as error:  # noqa: BLE001 (its process and its server fail each in their own way)
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        log.warning("Weights & Biases failed (%s): training goes on without; metrics.jsonl has all", gist(error))


LOGGERS: dict[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "csv": Csv}


class MetricsWriter:
    """Writes scalars and images of a run to metrics.jsonl and to its loggers."""

    def __init__(self, run: RunFolder, resume_step: int, loggers: Sequence[str] = ("tensorboard",)):
        """Opens the files of `run`; lines of iterations after `resume_step`, which will be repeated, are dropped.

        `loggers` are names of LOGGERS.
        """
        self._path = run.metrics
        if run.metrics.exists():
            lines = read_metrics(run.metrics)
            if len(lines) < len(_texts(run.metrics)):
                log.warning("%s: dropped a damaged line", run.metrics)
            kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= resume_step]
            write_text(run.metrics, "".join(kept))
        with self._explained():
            self._lines = open(run.metrics, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
            self._loggers = [LOGGERS[name](run, resume_step) for name in loggers]

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        with self._explained(), contextlib.ExitStack() as closing:
            closing.callback(self._lines.close)
            for logger in self._loggers:
                closing.callback(logger.close)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of metrics.jsonl, in which numbers that are not finite are null, and tells the loggers.

        Raises:
            UserError: if the disk is full or fails.
        """
        line: dict[str, Any] = {"step": step, "wall_time": round(time.time(), 3)}
        line.update({name: value if math.isfinite(value) else None for name, value in values.items()})
        with self._explained():
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
            for logger in self._loggers:
                logger.scalars(step, values)

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """Gives an image, uint8 [H, W, C], to the loggers."""
        with self._explained():
            for logger in self._loggers:
                logger.image(step, tag, image)

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        problem = f"the log of {self._path.parent} cannot be written"
        return explained(problem, "free some space; the same command then resumes")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order; one that is damaged, or that a crash cut off, is left out."""
    lines = []
    for text in _texts(path) if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines


def _texts(path: Path) -> list[str]:
    """The lines of a file, with marks in place of bytes that are not Unicode."""
    return path.read_text(encoding="utf-8", errors="replace").splitlines()
