"""Whole runs of the smoke configuration: what they write, and how they end, resume and refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from configs import smoke
from fastgan_jax import train
from fastgan_jax.build import spec_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.gan.program import FIRST_NONFINITE
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.inference.standing_statistics import STANDING_BATCHES
from fastgan_jax.runs.checkpoint import load_sampler, load_state
from fastgan_jax.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]


def metrics_of(run: Path) -> list[dict]:
    """The lines of metrics.jsonl without their times."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "wall_time"} for line in lines]


def assert_same_state(one: Path, other: Path) -> None:
    (a, _, step_a), (b, _, step_b) = load_state(one), load_state(other)
    assert step_a == step_b
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(as_array(x), as_array(y)), a, b)


def as_array(leaf):
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_a_run_leaves_the_promised_files(smoke_run):
    path = smoke_run
    names = {"config.json", "data.json", "metrics.jsonl", "tensorboard", "samples", "reconstructions", "checkpoints"}
    names.add("reals.png")
    assert names <= {file.name for file in path.iterdir()}
    assert sorted(file.name for file in (path / "samples").iterdir()) == [f"{step:09d}.png" for step in (0, 2, 4)]
    assert sorted(file.name for file in (path / "reconstructions").iterdir()) == [f"{step:09d}.png" for step in (2, 4)]
    assert {"0", "2", "4"} <= {folder.name for folder in (path / "checkpoints").iterdir()}
    record = json.loads((path / "config.json").read_text())
    assert record["config"]["model"]["resolution"] == 64
    assert {"jax", "flax", "optax", "python"} <= record["versions"].keys()
    assert record["device"]
    files = json.loads((path / "data.json").read_text())
    count = smoke.get_config().data.demo_images
    assert files["counts"] == {"read": count, "skipped": 0, "left_out": 0} and len(files["read"]) == count
    with Image.open(path / "samples" / "000000004.png") as grid:
        assert grid.size == (130, 130)
        assert grid.text["step"] == "4"


def test_the_grid_of_reals_shows_the_training_images(smoke_run):
    with Image.open(smoke_run / "reals.png") as grid:
        pixels = np.asarray(grid)
    assert pixels.shape == (4 * 66 - 2, 5 * 66 - 2, 3)  # 20 demo images of 64 pixels
    real = train.load_image_set(
        smoke.get_config().data, resolution=64, channels=3, num_classes=0, run_dir=smoke_run
    ).images
    np.testing.assert_array_equal(pixels[:64, 66:130], real[1])
    np.testing.assert_array_equal(pixels[198:262, 264:328], real[19])


def test_a_large_set_is_shown_by_64_images_from_first_to_last():
    images = np.repeat(np.arange(200, dtype=np.uint8), 64 * 64 * 3).reshape(200, 64, 64, 3)
    grid = train._grid_of_reals(images)
    assert grid.shape == (8 * 66 - 2, 8 * 66 - 2, 3)
    assert (grid[0, 0, 0], grid[-1, -1, 0]) == (0, 199) and len(np.unique(grid[::66, ::66, 0])) == 64


def test_metrics_have_one_line_for_each_interval(smoke_run):
    lines = metrics_of(smoke_run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert len({tuple(line) for line in lines}) == 1, "every line has the same names"
    assert all(np.isfinite(value) for line in lines for value in line.values())


def test_event_files_hold_the_same_numbers(smoke_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(smoke_run / "tensorboard"))
    events.Reload()
    scalars = {event.step: event.value for event in events.Scalars("loss/d")}
    assert scalars == {line["step"]: np.float32(line["loss/d"]) for line in metrics_of(smoke_run)}
    assert [event.step for event in events.Images("samples")] == [0, 2, 4]


def test_the_step_is_traced_once_in_a_run(smoke_run_traces):
    # The program is compiled ahead of time from that trace; a compiled program cannot be compiled again.
    assert smoke_run_traces[1] == 1


def test_a_finished_run_says_so_and_stays_as_it_is(smoke_run, caplog):
    path = smoke_run
    before = (path / "metrics.jsonl").read_bytes()
    with caplog.at_level("INFO"):
        assert train.train_and_evaluate(smoke.get_config(), str(path)) is None
    assert "finished" in caplog.text and caplog.text.rstrip().endswith("--config.train.iterations=8 continues it")
    assert (path / "metrics.jsonl").read_bytes() == before


def test_prolonging_a_run_whose_rate_falls_names_the_rate(smoke_run, caplog):
    config = smoke.get_config()
    config.optim.final_learning_rate = 5e-5
    constant = "--config.optim.learning_rate=5e-05 --config.optim.final_learning_rate=None"
    with caplog.at_level("INFO"):
        assert train.train_and_evaluate(config, str(smoke_run)) is None
    assert f"--config.train.iterations=8 {constant} continues it" in caplog.text
    saved, current = config.to_dict(), config.to_dict()
    caplog.clear()
    train._warn_of_other_rate(saved, current, 4)
    assert not caplog.text
    current["train"]["iterations"] = 8
    train._warn_of_other_rate(saved, current, 4)
    assert f"so it goes from 5e-05 back up to 0.00053 here; {constant} keeps it" in caplog.text


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on_exactly(smoke_run, tmp_path, monkeypatch):
    original = train._Training._log

    def stop_at_three(self, *arguments):
        original(self, *arguments)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(train._Training, "_log", stop_at_three)
    with pytest.raises(train.Interrupted, match="iteration 3 of 4 is saved"):
        train.train_and_evaluate(smoke.get_config(), str(tmp_path))
    assert (tmp_path / "checkpoints" / "3").is_dir()
    monkeypatch.undo()
    state = train.train_and_evaluate(smoke.get_config(), str(tmp_path))
    assert int(state.step) == 4
    assert metrics_of(tmp_path) == metrics_of(smoke_run)
    assert_same_state(tmp_path, smoke_run)


@pytest.mark.slow
def test_kill_loses_at_most_the_work_since_the_last_checkpoint(smoke_run, tmp_path, process_environment):
    command = [sys.executable, "-m", "fastgan_jax.main", "--config", "configs/smoke.py", "--workdir", str(tmp_path)]
    options = {"cwd": ROOT, "env": process_environment, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **options)
    while process.poll() is None and not (tmp_path / "checkpoints" / "2").is_dir():
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (tmp_path / "checkpoints" / "4").is_dir(), "the run was over before it could be killed"
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stderr
    assert "resumed from iteration 2" in result.stderr
    assert metrics_of(tmp_path) == metrics_of(smoke_run)
    assert_same_state(tmp_path, smoke_run)


@pytest.mark.slow
def test_a_streamed_set_gives_the_same_run(smoke_run, tmp_path):
    config = smoke.get_config()
    config.data.resident = "false"
    train.train_and_evaluate(config, str(tmp_path))
    for line, expected in zip(metrics_of(tmp_path), metrics_of(smoke_run), strict=True):
        assert line["loss/reconstruction"] == pytest.approx(expected["loss/reconstruction"], rel=1e-3)


@pytest.mark.slow
def test_numbers_that_are_not_finite_stop_the_run(tmp_path):
    config = smoke.get_config()
    config.optim.learning_rate = 1e30
    with pytest.raises(train.Diverged, match=r"between iterations \d and \d; the last good checkpoint is iteration 0"):
        train.train_and_evaluate(config, str(tmp_path))
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["0"]


def diverging(monkeypatch, calls: set[int]) -> list[int]:
    """Lets the guard of these calls of the program, counted from 1, report that they are not finite."""
    compile_program, made = train.compile_program, []

    def compiled(*arguments, **options):
        program, needed = compile_program(*arguments, **options)

        def run(state, *others):
            state, metrics = program(state, *others)
            made.append(int(state.step))
            return state, metrics | {FIRST_NONFINITE: np.int32(state.step if len(made) in calls else 0)}

        return run, needed

    monkeypatch.setattr(train, "compile_program", compiled)
    monkeypatch.setattr(train, "_wait_for", lambda metrics: None)
    return made


@pytest.mark.slow
def test_a_rollback_goes_on_from_the_checkpoint_with_other_draws(smoke_run, tmp_path, monkeypatch, caplog):
    config = smoke.get_config()
    config.train.on_nonfinite = "rollback"
    made = diverging(monkeypatch, {3, 4})
    state = train.train_and_evaluate(config, str(tmp_path))
    assert made == [1, 2, 3, 3, 3, 4]
    assert (
        "between iterations 2 and 3; back to iteration 2, with new random draws (rollback 2 of at most 3)"
        in caplog.text
    )
    before = load_state(smoke_run, 2)[0]["rng"]
    expected = jax.random.fold_in(before, train.ROLLBACK_KEYS + 2)  # documented: a killed run goes the same way
    np.testing.assert_array_equal(jax.random.key_data(state.rng), jax.random.key_data(expected))
    lines, undisturbed = metrics_of(tmp_path), metrics_of(smoke_run)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[:2] == undisturbed[:2] and lines[2]["loss/g"] != undisturbed[2]["loss/g"]


@pytest.mark.slow
def test_rollbacks_that_do_not_help_end(tmp_path, monkeypatch):
    config = smoke.get_config()
    config.train.on_nonfinite = "rollback"
    made = diverging(monkeypatch, set(range(3, 100)))
    with pytest.raises(
        train.Diverged, match="between iterations 2 and 3, after 3 rollbacks; the last good .* iteration 2"
    ):
        train.train_and_evaluate(config, str(tmp_path))
    assert made == [1, 2, 3, 3, 3, 3]


def test_statistics_for_samples_take_the_memory_of_a_micro_batch(monkeypatch):
    config, passed = smoke.get_config(), {}
    config.train.batch_size, config.train.accumulate = 64, 8
    spec = spec_from_config(config)
    state = jax.eval_shape(lambda: create_train_state(jax.random.key(0), spec))
    monkeypatch.setattr(train, "own_copy", lambda tree: tree)
    monkeypatch.setattr(train, "standing_statistics", lambda *_, **options: passed.update(options) or {})
    training = SimpleNamespace(sampler=None, step=0, spec=spec, state=state, config=config)
    train._Training._sampler(training)
    assert passed["batch_size"] == 8 and passed["batches"] == 8 * STANDING_BATCHES


def test_a_checkpoint_that_does_not_fit_is_refused_by_field(smoke_run):
    config = smoke.get_config()
    config.model.ngf = 8
    config.train.batch_size = 2
    with pytest.raises(UserError, match=r"model\.ngf: 4 in the checkpoint, 8 now; train\.batch_size: 4"):
        train.train_and_evaluate(config, str(smoke_run))


@pytest.mark.parametrize("state", ["intact", "damaged"])
def test_a_finished_run_whose_last_checkpoint_is_damaged_makes_it_anew(smoke_run, tmp_path, monkeypatch, caplog, state):
    last, whole = tmp_path / "copy" / "checkpoints" / "4", load_sampler(smoke_run)[0]
    shutil.copytree(smoke_run, tmp_path / "copy")
    for item in ("sampler", "state") if state == "damaged" else ("sampler",):
        (last / item / "manifest.ocdbt").write_bytes(b"x")
    monkeypatch.setattr(train._Training, "run_to_end", lambda training: training.step)
    found = train.train_and_evaluate(smoke.get_config(), str(tmp_path / "copy"))
    assert "checkpoints/4 cannot be read" in caplog.text and last.with_name("4.damaged").is_dir()
    if state == "damaged":
        assert found == 2, "it goes on from there"
    else:
        assert int(found.step) == 4
        jax.tree.map(np.testing.assert_array_equal, load_sampler(tmp_path / "copy")[0], whole)


@pytest.mark.slow
def test_a_log_that_cannot_be_written_costs_no_iteration(smoke_run, tmp_path, monkeypatch):
    """The state is saved before the line about it ends the run."""

    def full(writer: object, step: int, values: object) -> None:
        raise UserError("the log cannot be written")

    monkeypatch.setattr(train.MetricsWriter, "scalars", full)
    config = smoke.get_config()
    config.train.update(log_every=3, sample_every=4, checkpoint_every=4)
    config.eval.every = None
    with pytest.raises(UserError, match="the log cannot be written"):
        train.train_and_evaluate(config, str(tmp_path))
    assert RunFolder(tmp_path).latest_step() == 3


@pytest.mark.slow
def test_longer_training_may_go_on_from_a_finished_run(smoke_run, tmp_path, caplog):
    copy = tmp_path / "copy"
    shutil.copytree(smoke_run, copy)
    config = smoke.get_config()
    config.train.iterations = 5
    config.data.demo_seed = 1
    state = train.train_and_evaluate(config, str(copy))
    assert int(state.step) == 5
    assert "the images are not those that" in caplog.text
    assert metrics_of(copy)[:4] == metrics_of(smoke_run)


@pytest.mark.slow
def test_a_run_begins_with_another_one_and_resumes_exactly(smoke_run, tmp_path, caplog):
    config = smoke.get_config()
    config.train.update(init_from=str(smoke_run), init_step="2", freeze_discriminator=2, seed=1)
    with caplog.at_level("INFO"):
        train.train_and_evaluate(config, str(tmp_path / "whole"))
    assert f"generator: 22 of 22 layers from {smoke_run} (iteration 2)" in caplog.text
    source = load_state(smoke_run, 2)[0]
    jax.tree.map(
        np.testing.assert_array_equal, load_state(tmp_path / "whole", 0)[0]["ema_params"], source["ema_params"]
    )
    # The layers nearest to the image are as they were, bit for bit; all others have learned.
    before, after = source["discriminator"]["params"], load_state(tmp_path / "whole")[0]["discriminator"]["params"]
    frozen = {"from_big_0", "from_small", "down_32", "small_down_8"}
    for name in before:
        pairs = zip(jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True)
        assert {np.array_equal(*pair) for pair in pairs} == {name in frozen}, name

    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "4")
    train.train_and_evaluate(config, str(tmp_path / "cut"))
    assert metrics_of(tmp_path / "cut") == metrics_of(tmp_path / "whole")
    assert_same_state(tmp_path / "cut", tmp_path / "whole")


def test_another_source_of_networks_is_refused_on_resuming(smoke_run):
    config = smoke.get_config()
    config.train.init_from = "runs/other"
    with pytest.raises(UserError, match=r"train\.init_from: None in the checkpoint, runs/other now.*another --workdir"):
        train.train_and_evaluate(config, str(smoke_run))


def test_a_source_that_is_not_there_is_named_before_anything_is_written(tmp_path):
    config = smoke.get_config()
    config.train.init_from = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="train.init_from: .*nowhere holds no checkpoint"):
        train.train_and_evaluate(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
