"""fastgan convert: what it says and what it refuses; small networks, their numbers do not matter here."""

import os
import pickle
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from reference_checkpoints import adam_of, random_state_dict
from tool_modules import load_tool

from fastgan_jax.cli.options import split_overrides
from fastgan_jax.configs import base
from fastgan_jax.errors import UserError
from fastgan_jax.interop import exporting, importing, names, reading
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.checkpoint import load_sampler, read_config

torch = pytest.importorskip("torch", reason="needs PyTorch (fastgan_jax[torch])")


@pytest.fixture(scope="module")
def tool():
    """The command as a module."""
    return load_tool("convert_pytorch")


@pytest.fixture(scope="module")
def content() -> dict:
    """What the reference would save of networks for 64 pixels."""
    g, d = random_state_dict("generator"), random_state_dict("discriminator")
    return {"g": g, "d": d, "opt_g": adam_of(g, "generator"), "opt_d": adam_of(d, "discriminator")}


def save(content: dict, path: Path) -> Path:
    def tensors(value):
        if isinstance(value, np.ndarray | np.float32):
            return torch.tensor(value)
        return {key: tensors(entry) for key, entry in value.items()} if isinstance(value, dict) else value

    torch.save(tensors(content), path)
    return path


@pytest.fixture(scope="module")
def file(content, tmp_path_factory) -> Path:
    return save(content, tmp_path_factory.mktemp("file") / "60000.pth")


def test_sizes_are_the_files_and_rates_are_what_is_given(tool, file, content, tmp_path, monkeypatch, capsys):
    command = ["import", "--checkpoint", str(file), "--out", str(tmp_path / "run")]
    assert tool.main([*command, "--config.model.ngf=64"]) == 2
    assert "error: model.ngf=64: the file's networks have 2; leave it out" in capsys.readouterr().err
    config = base.get_config()
    config.optim.learning_rate = 1e-5
    checkpoint = reading.sort_checkpoint(content)
    chosen, _ = importing.configure(config, checkpoint, ["optim.learning_rate"])
    taken, _ = importing.configure(config, checkpoint)
    assert chosen.optim.learning_rate == 1e-5 != taken.optim.learning_rate and chosen.optim.beta1 == taken.optim.beta1


@pytest.mark.slow
def test_import_says_what_it_made_and_how_to_go_on(tool, file, tmp_path, capsys):
    run = tmp_path / "a run"
    settings = ["--config.train.batch_size=4", "--config.data.path=/images"]
    assert tool.main(["import", "--checkpoint", str(file), "--out", str(run), *settings]) == 0
    made, *notes, sample, train = capsys.readouterr().out.splitlines()
    assert made == f"{run}: iteration 60000, resolution 64, ngf 2, ndf 2, nz 3, 3 channels"
    assert [note.split("(")[0] for note in notes] == [
        "note: no averaged parameters ",
        "note: iteration 60000 is not below train.iterations=50000: to continue, set it higher",
    ]
    assert sample == f"sample:   fastgan sample --run '{run}' --out samples.png"
    assert train.startswith(f"continue: fastgan train /images --preset base --workdir '{run}' --config.")
    for word in ("--config.model.resolution=64", "--config.model.nz=3"):
        assert word in train

    # What the last line says to type is a configuration that the checkpoint can go on with.
    config = base.get_config()
    configuration.apply_overrides(config, split_overrides(shlex.split(train))[0])
    saved = read_config(run / "checkpoints" / "60000")
    configuration.check_resumable(saved, configuration.to_dict(config))
    assert saved["optim"]["learning_rate"] == 1e-4 and saved["train"]["batch_size"] == 4

    # A second import is refused, unless it may replace the first, of which nothing stays.
    assert tool.main(["import", "--checkpoint", str(file), "--out", str(run)]) == 2
    assert capsys.readouterr().err == f"error: {run} exists already: choose another --out, or add --overwrite\n"
    (run / "samples").mkdir()
    (run / "samples" / "old.png").touch()
    (run / "wandb").mkdir()
    for name in ("metrics.jsonl", "metrics.csv", "evaluation.json", "evaluation.png", "coverage.png", "report.html"):
        (run / name).touch()
    other = file.rename(file.with_name("all_5.pth"))
    assert tool.main(["import", "--checkpoint", str(other), "--out", str(run), "--overwrite"]) == 0
    other.rename(file)
    assert load_sampler(run)[2] == 5
    assert not (run / "samples" / "old.png").exists() and not (run / "wandb").exists()
    assert {path.name for path in run.iterdir() if path.is_file()} == {"config.json", ".lock"}
    # The reference has no networks of 64 pixels.
    assert tool.main(["export", "--run", str(run), "--out", str(tmp_path / "back.pth")]) == 2
    assert "model.resolution=64" in capsys.readouterr().err
    assert not (tmp_path / "back.pth").exists()


def test_wrong_arguments_are_refused(tool, capsys):
    for arguments in (
        [],
        ["import", "--checkpoint", "a.pth", "--out", "b", "--batch", "4"],
        ["export", "--run", "a", "--out", "b", "--config.model.nz=4"],
    ):
        assert tool.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "--help" in error


class Evil:
    """Unpickles to a call that leaves a trace."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_code_in_a_file_is_never_run(tool, content, tmp_path, capsys):
    trace = tmp_path / "trace"
    evil = {"g": Evil(trace)}
    torch.save(evil, tmp_path / "zip.pth")
    torch.save(evil, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(evil))
    for name in ("zip.pth", "legacy.pth", "plain.pth"):
        assert tool.main(["import", "--checkpoint", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and name in error
        assert not trace.exists() and not (tmp_path / "run").exists()


def test_files_that_do_not_fit_leave_nothing_behind(tool, content, tmp_path, capsys):
    smaller = {key: value for key, value in content["g"].items() if key != "to_128.weight_orig"}
    path = save({"g": smaller}, tmp_path / "bad.pth")
    for file, message in ((path, "1 missing (first: to_128.weight_orig)"), (tmp_path / "none.pth", "none.pth")):
        assert tool.main(["import", "--checkpoint", str(file), "--out", str(tmp_path / "run")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_settings_that_the_reference_has_not_are_refused(tool, file, tmp_path, capsys):
    arguments = ["import", "--checkpoint", str(file), "--out", str(tmp_path / "run"), "--config.model.attention=true"]
    assert tool.main(arguments) == 2
    # After two seconds a line says what takes time.
    assert capsys.readouterr().err.endswith("error: model.attention=True: the reference program has False only\n")
    assert not (tmp_path / "run").exists()


def test_only_run_folders_are_overwritten(file, tmp_path):
    (tmp_path / "precious.txt").touch()
    with pytest.raises(UserError, match="is not a run folder, so it is not overwritten"):
        importing.import_checkpoint(file, tmp_path, base.get_config(), overwrite=True)
    assert (tmp_path / "precious.txt").exists()


@pytest.mark.parametrize(
    ("name", "step"),
    [("all_50000", 50_000), ("7", 7), ("model_iter300", 300), ("step-12", 12), ("art512", 9), ("final", 9)],
)
def test_iteration_comes_from_the_name_or_else_from_the_optimizer(name, step):
    moments = reading.Moments({}, {}, updates=9)
    checkpoint = reading.ReferenceCheckpoint({}, {}, None, {"generator": moments}, ())
    assert importing.step_of(Path(f"{name}.pth"), checkpoint) == step
    if not name[-1].isdecimal():
        without = reading.ReferenceCheckpoint({}, {}, None, {}, ())
        assert importing.step_of(Path(f"{name}.pth"), without) == 0


def test_impossible_iteration_is_refused(content):
    checkpoint = reading.sort_checkpoint(content["g"])
    with pytest.raises(UserError, match="iteration 3000000000, which is above 2147483647"):
        importing.step_of(Path("3000000000.pth"), checkpoint)


def test_optimizers_that_differ_are_named(content):
    slower = content["opt_d"] | {"param_groups": [content["opt_d"]["param_groups"][0] | {"lr": 5e-5}]}
    checkpoint = reading.sort_checkpoint(content | {"opt_d": slower})
    config, notes = importing.configure(base.get_config(), checkpoint)
    assert (config.optim.learning_rate, config.optim.beta1, config.optim.beta2) == (1e-4, 0.4, 0.99)
    assert any("the optimizers differ in (learning rate, betas)" in note and "5e-05" in note for note in notes)
    # A file may be silent about them, or from the end of a schedule that brought the learning rate to zero.
    parameters = {"params": content["opt_d"]["param_groups"][0]["params"]}
    for group, noted in ((parameters, False), (parameters | {"lr": 0.0, "betas": (0.5, 0.9)}, True)):
        optimizer = content["opt_d"] | {"param_groups": [group]}
        checkpoint = reading.sort_checkpoint(content | {"opt_g": None, "opt_d": optimizer})
        config, notes = importing.configure(base.get_config(), checkpoint)
        assert config.optim == base.get_config().optim
        assert any("(0.0, 0.5, 0.9) cannot be trained with" in note for note in notes) == noted


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resolution", 128),
        ("resolution", 2048),
        ("channels", 1),
        ("num_classes", 2),
        ("skip_excitation", False),
        ("attention", True),
        ("decoders", "big,part"),
        ("decoders", "big,part,small,mid"),
        ("sle_activation", "leaky_relu"),
        ("output_tanh", True),
        ("logits_map", 1),
        ("ngf", 1),
        ("ndf", 3),
    ],
)
def test_models_the_reference_cannot_express_are_refused(field, value):
    model = base.get_config().model
    names.check_expressible(model)
    setattr(model, field, value)
    with pytest.raises(UserError, match=f"model.{field}={value}: the reference program has .* only$"):
        names.check_expressible(model)


def test_what_the_reference_does_anyway_can_be_spelled_out():
    model = base.get_config().model
    model.decoders, model.output_tanh = "small, part,big", False
    names.check_expressible(model)
    model.resolution, model.output_tanh = 1024, True
    names.check_expressible(model)


def test_export_refuses_what_is_in_the_way(tmp_path):
    (tmp_path / "there.pth").touch()
    with pytest.raises(UserError, match="there.pth exists already: choose another --out, or add --overwrite"):
        exporting.export_checkpoint(tmp_path, tmp_path / "there.pth")
    with pytest.raises(UserError, match="is a folder: choose another --out$"):
        exporting.export_checkpoint(tmp_path, tmp_path, overwrite=True)
    with pytest.raises(UserError, match="holds no checkpoint"):
        exporting.export_checkpoint(tmp_path, tmp_path / "new.pth")


def test_export_without_pytorch_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"pip install 'fastgan_jax\[torch\]'"):
        exporting.export_checkpoint(tmp_path, tmp_path / "new.pth")


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    out = tmp_path / "old.pth"
    out.write_bytes(b"old")

    def fail(content, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match=r"old.pth cannot be written \(disk full\)"):
        exporting.save(torch, {}, out)
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]
