"""metrics.jsonl and the event files of TensorBoard."""

import errno
import json
import os

import numpy as np
import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import MetricsWriter


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock():
        yield folder


def lines_of(run):
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_resuming_drops_later_and_damaged_lines(run, caplog):
    with MetricsWriter(run, 0) as writer:
        for step in (1, 2, 3):
            writer.scalars(step, {"loss/d": step / 2})
    with open(run.metrics, "a") as file:
        file.write('{"step": 4, "lo')
    with MetricsWriter(run, 2) as writer:
        writer.scalars(3, {"loss/d": 7.0})
    assert [(line["step"], line["loss/d"]) for line in lines_of(run)] == [(1, 0.5), (2, 1.0), (3, 7.0)]
    assert "dropped a damaged line" in caplog.text


def test_numbers_that_are_not_finite_are_valid_json(run):
    with MetricsWriter(run, 0) as writer:
        writer.scalars(1, {"a": float("nan"), "b": float("inf"), "c": 1.5})
    (line,) = lines_of(run)
    assert (line["a"], line["b"], line["c"]) == (None, None, 1.5)
    assert line["wall_time"] > 0


def test_images_and_scalars_are_events(run):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    image = np.random.RandomState(0).randint(0, 256, (4, 6, 3), np.uint8)
    with MetricsWriter(run, 0) as writer:
        writer.scalars(3, {"loss/d": 0.5})
        writer.image(3, "samples", image)
    (file,) = run.tensorboard.iterdir()
    values = {value.tag: value for event in EventFileLoader(str(file)).Load() for value in event.summary.value}
    assert values.keys() == {"loss/d", "samples"}


def test_a_full_disk_is_named(run):
    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    with MetricsWriter(run, 0) as writer:
        writer._lines.close()
        writer._lines = Full()
        with pytest.raises(UserError, match=r"the log of .* cannot be written \(No space left on device\): free some"):
            writer.scalars(1, {"loss/d": 0.5})
