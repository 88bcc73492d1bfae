"""Compiling for a device that is not here: its description, the program, the estimate, the command."""

import json
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest
from tool_modules import load_tool

from configs import smoke
from fastgan_jax.benchmark import target
from fastgan_jax.benchmark.hlo import Kernel
from fastgan_jax.errors import UserError
from fastgan_jax.gan.spec import NO_PRETRAINED

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "smoke.py")
NAMES = sorted(path.stem for path in target.DEVICES.glob("*.json"))
KEYS = ("kernels", "bytes_moved", "peak_memory", "resident_set", "flops", "roofline_ms", "compile_seconds")

tool = load_tool("benchmark")


@pytest.mark.parametrize("name", NAMES)
def test_every_device_is_described_with_its_sources_and_peak(name):
    device = target.read_device(name)
    assert device["target"] == name and device["sources"]
    assert 1e11 < device["memory_bandwidth"] < 1e13
    peak, words = target._peak(device, "bfloat16")
    assert 2e12 < peak < 1e15 and "TFLOP/s" in words


def test_a_users_file_describes_a_device(tmp_path):
    own = json.loads((target.DEVICES / "h100.json").read_text()) | {"device": "Mine", "teraflops": {"bfloat16": 7.5}}
    (tmp_path / "mine.json").write_text(json.dumps(own))
    device = target.read_device(str(tmp_path / "mine.json"))
    assert device["target"] == "mine"
    assert target._peak(device, "bfloat16")[0] == 7.5e12
    assert target._peak(device, "float32") == (
        None,
        "convolutions and matrix products take no time: the peak of Mine is not known",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be one of a100, gtx1050ti, gtx1650, h100"),
        ("{", "does not describe a device"),
        ("[]", "does not describe a device"),
        ('{"platform": "abacus"}', "does not describe a device"),
        ('{"platform": "tpu", "device": "TPU v5 lite", "memory_bandwidth": 1}', "has no 'topology'"),
        ('{"platform": "cuda", "device": "Mine", "memory_bandwidth": 1, "target_config": {}}', "gpu_device_info"),
        ('{"platform": "cuda", "device": "Mine", "memory_bandwidth": 1, "links": [{}]}', "has no 'target_config'"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "d.json").write_text(content)
    with pytest.raises(UserError, match=message):
        target.read_device(str(tmp_path / "d.json"))


def test_two_compilers_are_one_too_many(monkeypatch):
    monkeypatch.setattr(target, "_installed", lambda package: True)
    with pytest.raises(UserError, match="two CUDA compilers are installed, of which JAX takes either: pip uninstall"):
        target.compile_for(target.read_device("h100"), smoke.get_config())


def test_the_program_is_that_of_training_on_the_targets_backend():
    config = smoke.get_config()
    config.train.iterations = config.train.log_every = config.train.sample_every = config.train.checkpoint_every = 20
    config.eval.every = None
    program, shapes, per_call = target.training_program(config, "gpu")
    assert per_call == 10, "as on a GPU"
    _, pretrained, images, labels, indices = shapes
    assert (pretrained, images.shape, labels.shape) == (NO_PRETRAINED, (1000, 64, 64, 3), (1000,))
    assert indices.shape == (10, config.train.batch_size)
    state, metrics = jax.eval_shape(program, *shapes)
    assert jax.tree.map(np.shape, state) == jax.tree.map(np.shape, shapes[0]) and "loss/g" in metrics
    config.model.self_supervision = "rotation"
    assert {leaf.shape for leaf in jax.tree.leaves(target.training_program(config, "gpu")[1][3])} == {(1000,)}
    config.model.self_supervision, config.data.resident = "", "false"
    _, shapes, _ = target.training_program(config, "tpu")
    assert [shape.shape for shape in shapes[2:]] == [(10, config.train.batch_size, 64, 64, 3), (10, 4)]


def test_the_roofline_is_the_longer_of_memory_and_arithmetic_and_a_launch():
    device = target.read_device("h100")
    moving = Kernel("copy", 3, bytes=3352320000, flops=0, source="")  # a millisecond each
    multiplying = Kernel("convolution", 1, bytes=8, flops=2 * 989 * 10**9, source="jit(program)/D")
    found = target.roofline(device, [moving, multiplying], "bfloat16")
    assert found["seconds"] == pytest.approx(3e-3 + 2e-3 + 4 * 2.5e-6)
    assert [kernel["kind"] for kernel in found["heaviest"]] == ["copy", "convolution"]
    assert "3352 GB/s" in found["assumptions"][0] and "bfloat16 at 989 TFLOP/s" in found["assumptions"][1]
    turing = target.roofline(target.read_device("gtx1650"), [multiplying], "bfloat16")
    assert "in float32 at 3 TFLOP/s, since the device has no units for bfloat16" in turing["assumptions"][1]


def test_a_missing_compiler_is_named_with_its_cure(monkeypatch, capsys):
    monkeypatch.setattr(target, "_installed", lambda package: False)
    for name, extra in (("h100", "target-cuda"), ("gtx1050ti", "target-cuda12"), ("v5e", "target-tpu")):
        assert tool.main(["--config", CONFIG, "--target", name]) == 2
        assert f"pip install 'fastgan_jax[{extra}]'" in capsys.readouterr().err


def answering(answer: str, code: int = 0):
    """In place of the process that compiles."""
    requests = []

    def run(command, *, input, env, **options):
        requests.append(json.loads(input) | {"environment": env})
        return subprocess.CompletedProcess(command, code, stdout=f"a remark\n{answer}\n")

    return requests, run


def result(**changes) -> dict:
    facts = {"resolution": 64, "batch_size": 4, "precision": "float32", "remat": "none", "reconstruction": "l1"}
    numbers = dict.fromkeys(KEYS, 2_000_000_000) | {"compile_seconds": 3.0, "roofline_ms": 1.5}
    heaviest = {"kind": "copy", "times": 2, "bytes": 2_000_000, "flops": 0, "source": "jit(program)/D", "seconds": 2e-5}
    kinds = {"kernels_by_kind": {"copy": 12}, "bytes_by_kind": {"copy": 2_000_000_000}}
    return {
        **{"target": "h100", "device": "NVIDIA H100 80GB HBM3", "heaviest": [heaviest], "assumptions": ["no cache"]},
        **facts,
        **numbers,
        **kinds,
        **changes,
    }


def test_the_command_prints_and_writes_counts(monkeypatch, tmp_path, capsys):
    requests, run = answering(json.dumps(result()))
    monkeypatch.setattr(target, "_installed", lambda package: not package.endswith("12"))
    monkeypatch.setattr(target.subprocess, "run", run)
    path = tmp_path / "out" / "counts.json"
    command = ["--config", CONFIG, "--target", "h100", "--json", str(path)]
    assert tool.main([*command, "--config.train.batch_size=2", "--hlo", "program.txt"]) == 0
    (request,) = requests
    assert request["config"]["train"]["batch_size"] == 2 and request["hlo"] == "program.txt"
    assert request["device"]["target"] == "h100"
    assert request["environment"]["JAX_PLATFORMS"] == "cpu"
    assert "--xla_gpu_autotune_level=0" in request["environment"]["XLA_FLAGS"]
    assert json.loads(path.read_text()) == result()
    printed = capsys.readouterr().out
    for line in (
        "| fastgan_jax | 2000000000 | 2.00 |",
        "| copy | 12 | 2.00 |",
        "| copy | 10.0 | 2.0 | 0.0 |",
        "- no cache",
    ):
        assert line in printed

    assert tool.main([*command, "--against", "train.remat=full", "--hlo", "program.txt"]) == 0
    assert requests[-1]["config"]["train"]["remat"] == "full" and len(requests) == 3
    assert [request["hlo"] for request in requests[1:]] == ["program.txt", "program-1.txt"]
    written = json.loads(path.read_text())
    assert list(written["results"]) == ["fastgan_jax", "fastgan_jax, train.remat=full"]
    assert written["kernels"] == result()["kernels"], "of the configuration itself"
    assert "| fastgan_jax, train.remat=full |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ('{"error": "the program does not fit"}', 0, "error: the program does not fit"),
        ("", -6, "error: --target v5e: the compiler ended with exit code -6; its own messages are above"),
    ],
)
def test_a_compiler_that_fails_gives_one_line(monkeypatch, capsys, answer, code, message):
    requests, run = answering(answer, code)
    monkeypatch.setattr(target, "_installed", lambda package: not package.endswith("12"))
    monkeypatch.setattr(target.subprocess, "run", run)
    assert tool.main(["--config", CONFIG, "--target", "v5e"]) == 2
    assert message in capsys.readouterr().err
    assert requests[0]["environment"]["TPU_ACCELERATOR_TYPE"] == "v5litepod-4"


@pytest.mark.slow
def test_a_program_compiles_for_an_h100(tiny_config, tmp_path):
    """The whole way, where the compiler is installed."""
    device, config = target.read_device("h100"), tiny_config()
    if not any(target._installed(target.COMPILERS[extra]) for extra in target.compilers_of(device)):
        pytest.skip("needs the extra target-cuda")
    config.train.scan = 1
    found = target.compile_for(device, config, str(tmp_path / "program.txt"))
    assert all(found[key] > 0 for key in KEYS)
    assert found["kernels"] == sum(found["kernels_by_kind"].values()) > 500
    assert found["resident_set"] == 1000 * (64 * 64 * 3 + 4)
    assert (tmp_path / "program.txt").read_text().startswith("HloModule")
