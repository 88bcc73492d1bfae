"""The command line: exit codes, one-line errors, the dry run; and loading and sampling what it made."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastgan_jax
from fastgan_jax import main as command_line
from fastgan_jax import train
from fastgan_jax.errors import UserError
from fastgan_jax.inference import restore

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
SMOKE = str(ROOT / "configs" / "smoke.py")


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, **options)


def test_print_config_is_a_dry_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["--config", SMOKE, "--mode=print-config", "--config.model.nz=9"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["nz"] == 9
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/nothing.py"], "no such file"),
        (["--config", SMOKE, "--config.train.batchsize=4"], "nearest: train.batch_size"),
        (["--config", SMOKE, "--config.model.resolution=100"], "model.resolution=100: allowed is 64 | 128"),
        (["--config", str(ROOT / "configs" / "fewshot256.py")], "exactly one source"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert command_line.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not list(tmp_path.iterdir()), "nothing may be written before the check"


@pytest.mark.parametrize(
    ("raised", "code"),
    [(train.Diverged("loss/d is nan"), 1), (train.Interrupted("stopped", 15), 143), (UserError("no"), 2), (None, 0)],
)
def test_exit_codes(monkeypatch, tmp_path, capsys, raised, code):
    def fake(config, workdir):
        assert workdir == "runs/smoke"
        if raised:
            raise raised

    monkeypatch.setattr(train, "train_and_evaluate", fake)
    monkeypatch.setattr(command_line, "set_up_process", lambda: None)
    assert command_line.main(["--config", SMOKE]) == code
    assert capsys.readouterr().err.count("\n") == (1 if raised else 0)


def test_help_of_training_is_quick_and_complete():
    result = run("-X", "importtime", "-m", "fastgan_jax.main", "--help")
    assert result.returncode == 0 and "--workdir" in result.stdout and "examples:" in result.stdout
    assert " jax\n" not in result.stderr, "help must not wait for jax"


@pytest.mark.parametrize("tool", TOOLS)
def test_help_of_each_tool_is_light_and_has_an_example(tool):
    result = run("-X", "importtime", f"tools/{tool}", "--help")
    assert result.returncode == 0
    assert f"python tools/{tool}" in result.stdout
    assert " jax\n" not in result.stderr, "help must not wait for jax"


def test_load_gives_a_sampler_of_the_run(smoke_run):
    sampler = fastgan_jax.load(str(smoke_run))
    assert (sampler.resolution, sampler.z_dim, sampler.step) == (64, 8, 4)
    assert sampler.config.train.batch_size == 4
    images = sampler.sample(3, seed=1)
    np.testing.assert_array_equal(images, sampler.generate(sampler.latents(3, seed=1)))
    assert restore.load(smoke_run, 2).step == 2
    with pytest.raises(UserError, match="it has 0, 2, 4"):
        fastgan_jax.load(str(smoke_run), step=3)


def test_load_takes_running_statistics_on_request(smoke_run):
    from fastgan_jax.runs.checkpoint import load_state

    state, _, _ = load_state(smoke_run)
    sampler = fastgan_jax.load(str(smoke_run), statistics="running")
    stats = sampler.variables["batch_stats"]["initial"]["norm"]["mean"]
    np.testing.assert_array_equal(stats, state["generator"]["batch_stats"]["initial"]["norm"]["mean"])
    kernel = sampler.variables["params"]["to_big"]["kernel"]
    np.testing.assert_array_equal(kernel, state["ema_params"]["to_big"]["kernel"])
    assert not np.array_equal(sampler.sample(2), fastgan_jax.load(str(smoke_run)).sample(2))
    with pytest.raises(UserError, match="statistics='batch': allowed is standing .* running"):
        fastgan_jax.load(str(smoke_run), statistics="batch")


def test_the_runs_own_grid_is_what_load_samples(smoke_run):
    """The grid written while training equals a sample of the restored generator: seed train.seed, indices from 0."""
    from fastgan_jax.utils.grids import image_grid

    with Image.open(smoke_run / "samples" / "000000004.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid), image_grid(fastgan_jax.load(str(smoke_run)).sample(4, seed=0)))


def test_two_runs_on_one_folder_are_refused(smoke_run, process_environment):
    from fastgan_jax.runs.folder import RunFolder

    with RunFolder(smoke_run).lock():
        result = run("-m", "fastgan_jax.main", "--config", SMOKE, "--workdir", str(smoke_run), env=process_environment)
    assert result.returncode == 2 and "is in use by process" in result.stderr
