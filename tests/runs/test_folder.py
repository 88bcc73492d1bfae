"""The run folder: its layout, its lock, its record of what was run."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.runs import folder as run_folder
from fastgan_jax.runs.folder import RunFolder

HOLD = """
import sys, time
from fastgan_jax.runs.folder import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_ends(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"in use by process {holder.pid}: stop it"), RunFolder(tmp_path).lock():
            pass
    finally:
        holder.kill()
        holder.communicate()
    with RunFolder(tmp_path).lock():  # the kernel released the killed process's lock
        assert (tmp_path / "checkpoints").is_dir()


def test_a_lost_configuration_is_that_of_the_newest_checkpoint(tmp_path, caplog):
    run = RunFolder(tmp_path)
    run.restore_config()
    assert not run.config.exists(), "there is no checkpoint"
    for step in (5, 10):
        (run.checkpoints / str(step) / "config").mkdir(parents=True)
        saved = {"data": {"path": f"/images{step}"}}
        (run.checkpoints / str(step) / "config" / "metadata").write_text(json.dumps(saved))
    for damaged in (None, "", "{}"):
        if damaged is not None:
            run.config.write_text(damaged)
        run.restore_config()
        assert run.source() == "/images10"
    assert caplog.text.count("config.json was missing or damaged: it is written anew, from checkpoint 10") == 3
    before = run.config.read_bytes()
    (run.checkpoints / "11").mkdir()
    run.restore_config()
    assert run.config.read_bytes() == before
    run.config.unlink()
    run.restore_config()
    assert not run.config.exists(), "that of checkpoint 11 cannot be read"


def test_a_link_to_a_disk_that_is_not_there_is_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "disk" / "checkpoints")
    message = f"checkpoints is a link to {tmp_path}/disk/checkpoints, which is not there: mount its disk"
    with pytest.raises(UserError, match=message), RunFolder(tmp_path / "run").lock():
        pass


@pytest.mark.parametrize("number", [37, 38, 95])  # ENOLCK, ENOSYS and EOPNOTSUPP of Linux
def test_a_folder_without_locks_is_used_and_the_log_says_so(tmp_path, monkeypatch, caplog, number):
    def no_locks(*_):
        raise OSError(number, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)  # as in some mounted folders
    with RunFolder(tmp_path).lock():
        assert (tmp_path / "checkpoints").is_dir()
    assert "cannot be locked (Operation not supported): let only one process write there" in caplog.text


def test_a_lock_that_fails_otherwise_is_refused(tmp_path, monkeypatch):
    def stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(fcntl, "flock", stale)
    with (
        pytest.raises(UserError, match=r"cannot be locked \(Stale file handle\): try again"),
        RunFolder(tmp_path).lock(),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot be written .*choose another --workdir"),
        RunFolder(tmp_path / "file" / "x").lock(),
    ):
        pass


def test_the_record_names_versions_device_and_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "git_commit", lambda: "abc+changes")
    RunFolder(tmp_path).write_config({"train": {"seed": 3}}, device="cpu")
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["config"] == {"train": {"seed": 3}}
    assert record["device"] == "cpu" and record["git_commit"] == "abc+changes"
    assert {"python", "jax", "orbax-checkpoint"} <= record["versions"].keys()


def test_a_tree_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "fastgan_jax" / "runs" / "folder.py"))
    assert run_folder.git_commit() is None


def test_the_tree_that_the_package_runs_from_has_its_commit():
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("needs the git repository")
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert run_folder.git_commit().removesuffix("+changes") == head.stdout.strip()


def test_a_home_folder_is_understood_and_an_address_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/mine").path == tmp_path / "mine"
    with pytest.raises(UserError, match="gs://bucket/mine is an address: give a local path"):
        RunFolder("gs://bucket/mine")


@pytest.mark.parametrize("below", ["", "checkpoints", "checkpoints/12"])
def test_the_name_of_a_run(tmp_path, below):
    assert run_folder.run_name(tmp_path / "mine" / below) == "mine"


def test_a_downloaded_run_has_its_name_on_the_hub(tmp_path):
    assert run_folder.run_name(tmp_path / "models--me--heads" / "snapshots" / "0123abcd" / "checkpoints") == "me/heads"


def test_paths_sort_by_step(tmp_path):
    run = RunFolder(tmp_path)
    assert run.sample_path(1000).name == "000001000.png"
    assert run.reconstruction_path(2).parent == run.reconstructions


def test_checkpoints_that_cannot_be_listed_are_not_none(tmp_path, monkeypatch):
    def failing(path: str) -> list[str]:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    assert RunFolder(tmp_path).latest_step() is None
    monkeypatch.setattr(os, "listdir", failing)
    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(OSError, match="Stale file handle"):
        RunFolder(tmp_path).latest_step()


def test_what_is_left_of_a_run_without_checkpoints_is_set_aside(tmp_path, caplog):
    run = RunFolder(tmp_path)
    with run.lock():
        run.set_former_aside()
        run.metrics.write_text("")
        run.set_former_aside()
        assert not caplog.messages, "nothing was begun"
        for number in (1, 2):
            run.metrics.write_text('{"step": 5}\n')
            run.evaluation.write_text("{}")
            run.nearest.with_suffix(".json").write_text("{}")
            run.config.write_text("{}")
            run.sample_path(5).write_bytes(b"")
            (run.checkpoints / "5").mkdir()
            run.set_former_aside()
            assert run.metrics.exists(), "it goes on"
            (run.checkpoints / "5").rmdir()
            run.set_former_aside()
            former = tmp_path / f"former{number}"
            assert f"a new run begins; what the old one left is in {former}" in caplog.text
            assert {entry.name for entry in former.iterdir()} == {
                *("metrics.jsonl", "config.json", "evaluation.json", "nearest.json", "samples", "reconstructions"),
            }
            assert run.samples.is_dir() and not any(run.samples.iterdir()) and not run.evaluation.exists()
