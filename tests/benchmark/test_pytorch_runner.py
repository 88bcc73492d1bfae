"""The PyTorch side of benchmarks: that it does the same work as ours, and says so in the same words."""

import contextlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tool_modules import load_tool

from configs import fewshot256
from fastgan_jax.benchmark import paired, results
from fastgan_jax.models import lpips

torch = pytest.importorskip("torch", reason="needs PyTorch (fastgan_jax[torch])")

from fastgan_jax.benchmark.pytorch import runner as pytorch_runner  # noqa: E402 (it imports PyTorch)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "fewshot256.py")


tool = load_tool("benchmark_pytorch")


def tiny_config():
    """The narrowest networks that the reference program has, at its lowest resolution."""
    config = fewshot256.get_config()
    config.model.ngf = config.model.ndf = 4
    config.model.nz = 8
    config.train.batch_size = 2
    config.loss.reconstruction = "l1"
    return config


@pytest.fixture(scope="module")
def runner():
    threads = torch.get_num_threads()
    yield pytorch_runner.Runner(tiny_config(), "eager")
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_iterations_train(runner):
    before = [average.clone() for average in runner.twin.ema]
    assert runner.time_block(1) > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, runner.twin.ema, strict=True))
    for network in (runner.twin.generator, runner.twin.discriminator):
        assert all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())


@pytest.mark.slow
def test_a_result_has_the_keys_and_counts_of_ours(runner):
    result = runner.result([1.0, 2.0, 3.0], 2)
    assert tuple(result) == results.RESULT_KEYS and json.loads(json.dumps(result)) == result
    assert (result["program"], result["precision"], result["arithmetic"]) == ("pytorch eager", "float32", "float32")
    assert result["ms_per_iteration"]["median"] == 1000 and result["images_per_second"] == 2
    parts = result["flops_per_iteration"]["parts"]
    assert result["flops_per_iteration"]["counted"] == 2 * sum(parts.values()) > 0
    assert result["parameters"]["generator"] == sum(average.numel() for average in runner.twin.ema)
    assert results.cells(result)["program"] == "pytorch eager"


def test_the_perceptual_stand_in_computes_what_ours_does():
    vgg = pytorch_runner.PerceptualVgg()
    convolutions = [layer for layer in vgg.modules() if isinstance(layer, torch.nn.Conv2d)]
    names = lpips.BACKBONES["vgg"].kernels
    params = {
        "input": {"shift": np.zeros(3, np.float32), "scale": np.ones(3, np.float32)},
        "backbone": {
            name: {"kernel": layer.weight.numpy().transpose(2, 3, 1, 0), "bias": layer.bias.numpy()}
            for name, layer in zip(names, convolutions, strict=True)
        },
        "heads": {f"conv{index}": head.numpy().ravel() for index, head in enumerate(vgg.heads, start=1)},
    }
    draws = np.random.RandomState(0)
    first, second = (draws.uniform(-1, 1, (2, 3, 32, 32)).astype(np.float32) for _ in range(2))
    found = vgg(torch.as_tensor(first), torch.as_tensor(second))
    ours = jax.jit(lambda *images: lpips.compare(params, *(lpips.embed("vgg", params, x) for x in images)))
    expected = ours(*(jnp.asarray(images.transpose(0, 2, 3, 1)) for images in (first, second)))
    assert float(found) == pytest.approx(float(expected.sum()), rel=1e-4)
    assert float(found) > 0 and not any(parameter.requires_grad for parameter in vgg.parameters())


@pytest.mark.parametrize(("name", "power"), [("l1", 1), ("l2", 2)])
def test_plain_distances_are_summed_over_the_batch(name, power):
    distance = pytorch_runner._distance(name, torch.device("cpu"))
    images, targets = torch.full((4, 3, 8, 8), 3.0), torch.zeros(4, 3, 8, 8)
    assert float(distance(images, targets)) == 4 * 3**power


def test_the_compiled_variant_computes_in_bfloat16_with_channels_last(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    module = torch.nn.Conv2d(3, 4, 3)
    pytorch_runner._speed_up(module, torch.device("cpu"))
    assert compiled == [module]
    assert module.weight.is_contiguous(memory_format=torch.channels_last) and module.weight.dtype == torch.float32
    assert module(torch.ones(1, 3, 8, 8)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.resolution", 128, "model.resolution=128: the reference program has 256, 512 and 1024 only"),
        ("model.num_classes", 3, "model.num_classes=3: the reference program has 0 only"),
        ("loss.perceptual_net", "squeeze", "loss.perceptual_net=squeeze: the PyTorch side has vgg only"),
        ("loss.adversarial", "relativistic_hinge", "loss.adversarial=relativistic_hinge: the PyTorch side has hinge"),
        ("augment.policy", "color", "augment.policy=color: the PyTorch side has color,translation only"),
    ],
)
def test_what_the_twin_cannot_do_is_refused(field, value, message, capsys):
    with_network = "--config.loss.reconstruction=lpips"  # the network is of no account otherwise
    assert tool.main(["--config", CONFIG, with_network, f"--config.{field}={value}"]) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_without_pytorch_the_tool_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "fastgan_jax.benchmark.pytorch.runner")
    monkeypatch.delattr("fastgan_jax.benchmark.pytorch.runner")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert tool.main(["--config", CONFIG]) == 2
    assert "pip install 'fastgan_jax[torch]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tool_prints_and_writes(runner, monkeypatch, tmp_path, capsys):
    made = []

    def stand_in(config, variant):
        made.append((config.model.ngf, variant))
        return runner

    monkeypatch.setattr(pytorch_runner, "Runner", stand_in)
    path = tmp_path / "result.json"
    options = ["--config.model.ngf=8", "--iterations", "1", "--blocks", "1", "--json", str(path)]
    assert tool.main(["--config", CONFIG, *options]) == 0
    assert made == [(8, "eager")]
    assert results.markdown([results.cells(results.read_json(str(path)))]) in capsys.readouterr().out


@pytest.mark.slow
def test_compare_starts_both_sides_with_the_same_configuration(runner, monkeypatch, tmp_path, capsys):
    result = runner.result([1.0, 1.0], 1)
    commands = []

    class StubSide:
        def __init__(self, name):
            self.name = name

        def time_block(self, iterations):
            return {"fastgan_jax": 1.0, "pytorch compiled": 3.0}.get(self.name, 2.0)

        def finish(self):
            return result | {"program": self.name}

    def started(name, command):
        commands.append(command)
        return contextlib.nullcontext(StubSide(name))

    monkeypatch.setattr(paired, "started", started)
    path = tmp_path / "both.json"
    options = [
        "--compare",
        "--against",
        "train.remat=full optim.beta1=0",
        "--variant",
        "compiled",
        "--blocks",
        "2",
        "--json",
        str(path),
    ]
    assert tool.main(["--config", CONFIG, "--config.train.batch_size=2", *options]) == 0
    ours, changed, theirs = commands
    assert ours[1:4] == ["-m", "fastgan_jax", "benchmark"]
    assert theirs[1:4] == ["-m", "fastgan_jax", "benchmark-pytorch"]
    ours, changed, theirs = ([command[0], *command[3:]] for command in commands)
    given = ["--config", CONFIG, "--config.train.batch_size=2"]
    assert ours[2:] == [*given, "--on-command", "--iterations", "10"]
    assert changed[:2] == ours[:2]
    assert changed[2:] == [*given, "--config.train.remat=full", "--config.optim.beta1=0", *ours[5:]]
    assert theirs[2:] == [*given, "--on-command", "--variant", "compiled"]
    assert json.loads(path.read_text())["ratios"]["pytorch compiled"]["blocks"] == [3.0, 3.0]
    printed = capsys.readouterr().out
    assert "time of pytorch compiled / time of fastgan_jax: median 3.000" in printed
    assert "time of fastgan_jax, train.remat=full optim.beta1=0 / time of fastgan_jax: median 2.000" in printed


def test_against_goes_with_compare(capsys):
    assert tool.main(["--config", CONFIG, "--against", "train.remat=full"]) == 2
    assert "error: --against 'train.remat=full': add --compare" in capsys.readouterr().err
    assert tool.main(["--config", CONFIG, "--compare", "--against", "train.remate=full"]) == 2
    assert "nearest: train.remat" in capsys.readouterr().err
