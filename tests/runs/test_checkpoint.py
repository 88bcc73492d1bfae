"""Checkpoints: exact, crash-safe, readable elsewhere, and refused in one line."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from fastgan_jax.errors import UserError
from fastgan_jax.runs import checkpoint
from fastgan_jax.runs.checkpoint import (
    Checkpoints,
    can_be_sampled,
    checkpoint_steps,
    find_checkpoint,
    load_sampler,
    load_state,
    newest_config,
)


@struct.dataclass
class State:
    step: jax.Array
    weights: dict
    rng: jax.Array


def make_state(step: int) -> State:
    values = np.random.RandomState(step).standard_normal((40, 50)).astype(np.float32)
    return State(jnp.int32(step), {"a": {"kernel": jnp.asarray(values)}}, jax.random.key(step))


def save(checkpoints: Checkpoints, step: int, config: dict | None = None, **metrics: float) -> State:
    state = make_state(step)
    data = {"iteration": step}
    checkpoints.save(
        step, state=state, sampler=state.weights, config=config or {"x": 1}, data=data, metrics=metrics or None
    )
    return state


@pytest.fixture
def run(tmp_path):
    """A run folder with checkpoints 0, 1 and 2."""
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        for step in range(3):
            save(checkpoints, step)
    return tmp_path


def test_state_comes_back_bit_for_bit(run):
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        state, data, step = checkpoints.restore(make_state(9))
    assert newest_config(run / "checkpoints") == {"x": 1}
    expected = make_state(2)
    assert isinstance(state, State) and step == 2 and data == {"iteration": 2}
    np.testing.assert_array_equal(state.weights["a"]["kernel"], expected.weights["a"]["kernel"])
    np.testing.assert_array_equal(jax.random.key_data(state.rng), jax.random.key_data(expected.rng))
    plain, config, _ = load_state(run)
    np.testing.assert_array_equal(plain["weights"]["a"]["kernel"], expected.weights["a"]["kernel"])
    assert config == {"x": 1}


def test_the_best_stays_when_a_run_goes_on_without_evaluation(tmp_path):
    with Checkpoints(tmp_path, keep=1, best_metric="kid") as checkpoints:
        for step, kid in enumerate([0.3, 0.1, 0.2]):
            save(checkpoints, step, kid=kid, kid_spread=1.0)
    with Checkpoints(tmp_path, keep=1) as checkpoints:  # by fid, which the evaluations lack
        for step in (3, 4):
            save(checkpoints, step)
        checkpoints.wait()
        assert checkpoints.steps() == [0, 1, 4]


def test_the_best_is_found_by_the_metric_that_keeps_it(tmp_path):
    with Checkpoints(tmp_path, keep=1, best_metric="fid") as checkpoints:
        for step, swd in enumerate([0.3, 0.1, 0.2, 0.4]):
            config = {"eval": {"best_metric": "fid"}}  # which the evaluations lack
            save(checkpoints, step, config, swd=swd)
        checkpoints.wait()
        assert checkpoints.steps() == [0, 1, 3]
    assert find_checkpoint(tmp_path, "best").name == "1"


def test_newest_and_first_are_kept(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest_step() is None and newest_config(tmp_path / "checkpoints") is None
        for step in range(5):
            save(checkpoints, step)
        checkpoints.wait()
        assert checkpoints.steps() == [0, 3, 4]
        assert checkpoints.latest_step() == 4


def test_an_old_checkpoint_that_cannot_be_deleted_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    delete = shutil.rmtree

    def failing(path, *arguments, **options):
        if Path(path).name == "1":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        delete(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", failing)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        for step in range(5):
            save(checkpoints, step)
        checkpoints.wait()
        assert checkpoints.steps() == [0, 1, 4], "the others are deleted"
        save(checkpoints, 5)
    assert checkpoint_steps(tmp_path) == [0, 1, 5]
    assert caplog.text.count("1 cannot be deleted ([Errno 16] Device or resource busy): delete it yourself") == 1


def test_saving_a_step_again_changes_nothing(run):
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        other = make_state(7)
        checkpoints.save(2, state=other, sampler=other.weights, config={"x": 2}, data={})
    assert load_sampler(run)[1] == {"x": 1}


def test_arrays_may_be_donated_while_a_checkpoint_is_written(tmp_path):
    overwrite = jax.jit(lambda x: x * 0, donate_argnums=0)
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        state = make_state(1)
        expected = np.array(state.weights["a"]["kernel"])
        checkpoints.save(1, state=state, sampler={"b": jnp.ones(3)}, config={}, data={})
        overwrite(state.weights["a"]["kernel"]).block_until_ready()
    np.testing.assert_array_equal(load_state(tmp_path)[0]["weights"]["a"]["kernel"], expected)


def test_sampler_is_found_by_run_folder_or_step(run):
    for path, step, expected in [
        (run, "latest", 2),
        (run, "1", 1),
        (run / "checkpoints", 1, 1),
        (run, np.float64(1), 1),
        (run / "checkpoints" / "1", "latest", 1),
    ]:
        variables, _, found = load_sampler(path, step)
        assert found == expected
        np.testing.assert_array_equal(variables["a"]["kernel"], make_state(expected).weights["a"]["kernel"])


@pytest.mark.parametrize(
    ("path", "step", "message"),
    [
        ("nothing", "latest", "nothing holds no checkpoint: give a run folder"),
        ("", 7, "has no checkpoint 7; it has 0, 1, 2"),
        ("", 1.5, "has no checkpoint 1.5; it has 0, 1, 2"),
        ("", "best", "has no best checkpoint"),
        ("checkpoints/1", 2, "1 is one checkpoint, not 2: give the run folder, or leave the step out"),
        ("checkpoints/1", "best", "1 is one checkpoint, not best"),
    ],
)
def test_what_is_not_there_is_named(run, path, step, message):
    with pytest.raises(UserError, match=message):
        find_checkpoint(run / path if path else run, step)


def test_one_checkpoints_folder_has_one_step(run):
    assert checkpoint_steps(run) == checkpoint_steps(run / "checkpoints") == [0, 1, 2]
    assert checkpoint_steps(run / "checkpoints" / "1") == [1]


def damage(folder):
    for file in (folder / "state" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:10])
    for file in (folder / "state").rglob("*"):
        if file.is_file() and file.stat().st_size > 2000:
            file.write_bytes(file.read_bytes()[:100])


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(run, caplog):
    damage(run / "checkpoints" / "2")
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints, caplog.at_level(logging.WARNING):
        _, _, step = checkpoints.restore(make_state(0))
        assert step == 1
        assert "checkpoint 2 in" in caplog.text and "going on from the older checkpoint 1" in caplog.text
        assert (run / "checkpoints" / "2.damaged").is_dir()
        save(checkpoints, 2)  # the step is made again
    assert load_state(run)[2] == 2


@pytest.mark.parametrize(("part", "name"), [("sampler/manifest.ocdbt", "sampler"), ("config/metadata", "config")])
def test_a_damaged_checkpoint_to_sample_from_is_named(run, part, name):
    (run / "checkpoints" / "2" / part).write_bytes(b"x")
    with pytest.raises(UserError, match=f"checkpoint .*2 cannot be read \\({name}: .*: choose another step"):
        load_sampler(run)


def test_nothing_intact_is_an_error(run):
    for step in range(3):
        damage(run / "checkpoints" / str(step))
    with (
        Checkpoints(run / "checkpoints", keep=None) as checkpoints,
        pytest.raises(UserError, match="no checkpoint in .* can be read \\(2: its arrays are damaged; 1: .*; 0: "),
    ):
        checkpoints.restore(make_state(0))


def largest_file(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def test_one_changed_bit_of_a_weight_is_noticed(run, caplog):
    """Orbax would restore another weight and say nothing."""
    file = largest_file(run / "checkpoints" / "2" / "state")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.restore(make_state(0))[2] == 1
    assert "checkpoint 2 in" in caplog.text
    file = largest_file(run / "checkpoints" / "1" / "sampler")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"1 cannot be read \(sampler: "):
        load_sampler(run, 1)


@pytest.mark.parametrize("name", ["config", "data"])
def test_a_checkpoint_with_another_text_is_set_aside(run, caplog, name):
    path = run / "checkpoints" / "2" / name / "metadata"
    path.write_text(path.read_text().replace("2" if name == "data" else "1", "3", 1))
    assert newest_config(run / "checkpoints") == {"x": 1}
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.restore(make_state(0))[2] == 1
    assert f"cannot be read (the checksum of {name} is another one)" in caplog.text
    assert (run / "checkpoints" / "2.damaged").is_dir()


def test_checkpoints_without_checksums_are_read(run):
    path = run / "checkpoints" / "2" / "data" / "metadata"
    path.write_text('{"iteration": 2}')  # as earlier versions wrote it
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.restore(make_state(0))[1:] == ({"iteration": 2}, 2)
    assert load_sampler(run)[2] == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        MemoryError(),
        ValueError("UNAVAILABLE: Error reading a file [OS error 116: ESTALE Stale file handle]"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("failures", [2, 9])
def test_an_error_that_may_pass_is_waited_for_and_renames_nothing(run, monkeypatch, caplog, error, failures):
    import orbax.checkpoint as ocp

    restore, calls = ocp.CheckpointManager.restore, []

    def failing(self, step, **arguments):
        calls.append(step)
        if len(calls) <= failures:
            raise error
        return restore(self, step, **arguments)

    monkeypatch.setattr(checkpoint, "RETRY_SECONDS", (0, 0, 0))
    monkeypatch.setattr(ocp.CheckpointManager, "restore", failing)
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        if failures == 2:
            assert checkpoints.restore(make_state(0))[2] == 2
        else:
            with pytest.raises(
                UserError, match=r"checkpoint 2 .* cannot be read for now \(.+\): .* nothing was changed"
            ):
                checkpoints.restore(make_state(0))
            assert calls == [2, 2, 2, 2]
    assert caplog.text.count("trying again in 0 s") == min(failures, 3)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"0", "1", "2"}


def test_a_folder_that_does_not_keep_what_is_written_is_refused(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        state = save(checkpoints, 0)
        checkpoints.verify(state)
        damage(tmp_path / "checkpoints" / "0")
        with pytest.raises(
            UserError, match="the first checkpoint in .* cannot be read back .* choose another --workdir"
        ):
            checkpoints.verify(state)


def test_a_state_with_other_parts_is_said(run):
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        other = {"step": jnp.int32(0)}
        with pytest.raises(UserError, match="2: its state has other parts, as of another version"):
            checkpoints.restore(other)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"0", "1", "2"}


def test_damaged_evaluations_cost_no_checkpoint(tmp_path, caplog):
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        save(checkpoints, 1, fid=3.0)
    (tmp_path / "checkpoints" / "1" / "metrics" / "metrics").write_text("{")
    with pytest.raises(UserError, match="1 cannot be read"):
        find_checkpoint(tmp_path, "best")
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.restore(make_state(0))[2] == 1
    assert "the evaluation in checkpoint" in caplog.text and (tmp_path / "checkpoints" / "1.metrics.damaged").is_dir()


def test_a_changed_digit_of_an_evaluation_is_noticed(tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        save(checkpoints, 1, {"eval": {"best_metric": "fid"}}, fid=3.0)
    assert find_checkpoint(tmp_path, "best").name == "1"
    path = tmp_path / "checkpoints" / "1" / "metrics" / "metrics"
    path.write_text(path.read_text().replace("3.0", "2.0"))
    with pytest.raises(UserError, match="1 cannot be read .*the checksum of metrics is another one"):
        find_checkpoint(tmp_path, "best")
    for damaged in (b"\xff", b"[]", b'{"checksums": 5}'):  # the evaluation is as good as before
        (tmp_path / "checkpoints" / "1" / "data" / "metadata").write_bytes(damaged)
        checkpoint._read_metrics(path)


@pytest.mark.parametrize("part", ["sampler/manifest.ocdbt", "config/metadata", None])
def test_whether_a_checkpoint_can_be_sampled(run, caplog, part):
    folder = run / "checkpoints" / "2"
    assert can_be_sampled(folder)
    if part is None:
        shutil.rmtree(folder)
        folder.mkdir()
    else:
        (folder / part).write_bytes(b"x")
    assert not can_be_sampled(folder)
    assert "2 cannot be read" in caplog.text and folder.is_dir()


def test_a_checkpoint_that_the_storage_keeps_back_can_perhaps_be_sampled(run, monkeypatch):
    def failing(*arguments: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(checkpoint, "RETRY_SECONDS", (0, 0, 0))
    monkeypatch.setattr(checkpoint, "checksum", failing)
    for read in (lambda: can_be_sampled(run / "checkpoints" / "2"), lambda: load_sampler(run)):
        with pytest.raises(UserError, match="cannot be read for now .*: try again later, or choose another step"):
            read()


def test_a_step_may_be_damaged_twice(run):
    for expected in ("2.damaged", "2.damaged2"):
        damage(run / "checkpoints" / "2")
        with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
            checkpoints.restore(make_state(0))
            save(checkpoints, 2)
        assert (run / "checkpoints" / expected).is_dir()


def test_an_incomplete_copy_is_called_that(run):
    (run / "checkpoints" / "2" / "sampler" / "manifest.ocdbt").write_bytes(b"")
    for file in (run / "checkpoints" / "1" / "sampler").glob("*"):
        delete = shutil.rmtree if file.is_dir() else os.remove
        delete(file)
    for step in (1, 2):
        message = rf"{step} cannot be read \(sampler: files of it are missing or empty, as of an incomplete copy\)"
        with pytest.raises(UserError, match=message):
            load_sampler(run, step)


def test_a_full_disk_is_said(run):
    message = r"could not be written \(the disk is full\).* the older ones are intact"
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        with pytest.raises(UserError, match=message), checkpoints._write_errors():
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device")
        for other in (KeyError("not an error of writing"), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: on a GPU")):
            with pytest.raises(type(other)), checkpoints._write_errors():
                raise other


# Orbax takes some of these for patterns, and TensorStore takes a backslash for a slash.
@pytest.mark.parametrize(
    "name", ["[x]", "a [1]", "a\\b", "what?", "a*", "50%", "a#b {c}", "ü 猫", os.fsdecode(b"caf\xe9")]
)
def test_a_run_folder_may_have_any_name(tmp_path, name):
    (tmp_path / "a1" / "checkpoints").mkdir(parents=True)  # what a pattern would match
    root = tmp_path / name
    with Checkpoints(root / "checkpoints", keep=1) as checkpoints:
        for step in (1, 2, 3):
            state = save(checkpoints, step, fid=float(step))
    with Checkpoints(root / "checkpoints", keep=1) as checkpoints:
        assert checkpoints.steps() == [1, 3] and newest_config(root / "checkpoints") == {"x": 1}
        restored, _, step = checkpoints.restore(make_state(0))
        assert step == 3
        np.testing.assert_array_equal(restored.weights["a"]["kernel"], state.weights["a"]["kernel"])
    np.testing.assert_array_equal(load_sampler(root)[0]["a"]["kernel"], state.weights["a"]["kernel"])
    assert load_state(root, 1)[2] == 1
    assert {path.name for path in tmp_path.iterdir()} == {name, "a1"}


def test_a_link_needs_a_place(tmp_path, monkeypatch):
    (tmp_path / "[x]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "[x]"))
    with pytest.raises(UserError, match=r"one of \* \? \[ \\ or a byte .* rename the folder, or set TMPDIR"):
        Checkpoints(tmp_path / "[x]" / "checkpoints", keep=1)


def test_looking_at_checkpoints_leaves_nothing_behind(run):
    """No thread that the end of the process would disturb, which Orbax then reports as an error."""
    unfinished = run / "checkpoints" / "7.orbax-checkpoint-tmp"
    unfinished.mkdir()
    before = threading.enumerate()
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.latest_step() == 2
        assert not unfinished.exists()
    for thread in set(threading.enumerate()).difference(before):
        thread.join(timeout=30)  # one that is about to end
        assert not thread.is_alive()


def test_home_folders_are_understood(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    assert load_sampler(f"~/{run.name}")[2] == 2


def script(text: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text)]


def test_a_process_killed_while_saving_leaves_the_earlier_checkpoint(tmp_path):
    process = subprocess.Popen(
        script(
            f"""
            import jax.numpy as jnp, numpy as np, os, signal
            from fastgan_jax.runs.checkpoint import Checkpoints
            checkpoints = Checkpoints({str(tmp_path / "checkpoints")!r}, keep=None)
            for step in (1, 2):
                arrays = {{"a": jnp.asarray(np.random.RandomState(step).standard_normal((2000, 2000)))}}
                checkpoints.save(step, state=arrays, sampler=arrays, config={{}}, data={{}})
                if step == 1:
                    checkpoints.wait()
            os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    assert process.wait() == -signal.SIGKILL
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        assert checkpoints.steps() == [1]
        assert checkpoints.restore({"a": jnp.zeros((2000, 2000))})[2] == 1
        save(checkpoints, 2)
    assert load_sampler(tmp_path)[2] == 2


def test_a_checkpoint_of_several_devices_is_read_on_one(tmp_path):
    subprocess.run(
        script(
            f"""
            import os
            os.environ["JAX_PLATFORMS"] = "cpu"
            os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
            import jax, jax.numpy as jnp
            from jax.sharding import Mesh, NamedSharding, PartitionSpec
            from fastgan_jax.runs.checkpoint import Checkpoints
            sharding = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))
            arrays = {{"a": jax.device_put(jnp.arange(8.0), sharding)}}
            with Checkpoints({str(tmp_path / "checkpoints")!r}, keep=None) as checkpoints:
                checkpoints.save(1, state=arrays, sampler=arrays, config={{}}, data={{}})
            """
        ),
        check=True,
    )
    np.testing.assert_array_equal(load_sampler(tmp_path)[0]["a"], np.arange(8.0))
    with Checkpoints(tmp_path / "checkpoints", keep=None) as checkpoints:
        np.testing.assert_array_equal(checkpoints.restore({"a": jnp.zeros(8)})[0]["a"], np.arange(8.0))
