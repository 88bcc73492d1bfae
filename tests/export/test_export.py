"""Exported generators equal the JAX one: ONNX in onnxruntime, StableHLO without this package, safetensors."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util
from tool_modules import load_tool

import fastgan_jax
from configs import smoke
from fastgan_jax.build import build_generator
from fastgan_jax.errors import UserError
from fastgan_jax.export.forward import example_inputs, fixed_noise, image_function, noise_names
from fastgan_jax.export.onnx import check_onnx, onnx_bytes
from fastgan_jax.export.safetensors import safetensors_bytes
from fastgan_jax.export.stablehlo import stablehlo_bytes
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.inference.standing_statistics import standing_statistics
from fastgan_jax.models.init import initial_variables

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
safetensors = pytest.importorskip("safetensors", reason="needs the extra onnx")

ROUNDING = 2e-5  # of values of order 1; a layer left out or a wrong axis changes images by 0.1 and more


def make_sampler(**model) -> Sampler:
    """A narrow generator with settled statistics, and a weight on every noise map so that a mistake there shows."""
    config = smoke.get_config()
    config.model.output_tanh = False  # unsaturated values show more
    config.model.update(model)
    generator = build_generator(config.model)
    spec = partial(jax.ShapeDtypeStruct, dtype=np.float32)
    noise = tuple(spec((2, side, side, 1)) for side in generator.noise_sides)
    labels = jax.ShapeDtypeStruct((2,), np.int32)
    variables = initial_variables(jax.random.key(0), generator, spec((2, 8)), noise, labels, train=False)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.5 if path[-1].key in ("noise_weight", "bias") else leaf, variables["params"]
    )
    variables = standing_statistics(
        generator,
        params,
        variables["batch_stats"],
        variables["spectral"],
        jax.random.key(1),
        latent_size=8,
        batch_size=4,
        batches=1,
    )
    return Sampler(generator, variables, z_dim=8, step=7, config=config)


@pytest.fixture(scope="module")
def sampler():
    """The plain network."""
    return make_sampler()


@pytest.fixture(scope="module")
def rich():
    """The network with every part, at the first resolution but one at which an exciting map contains noise."""
    parts = {"attention": True, "num_classes": 3, "sle_activation": "leaky_relu", "channels": 4}
    parts |= {"stages": "composite", "output_bias": True, "normalize_latent": True}
    return make_sampler(resolution=256, **parts)


def session(model: bytes):
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def own_noise(sampler: Sampler, count: int, seed: int) -> dict[str, np.ndarray]:
    """Noise maps of `count` images by name, each image its own."""
    random = np.random.RandomState(seed)
    return {
        name: random.standard_normal((count, side, side, 1)).astype(np.float32)
        for name, side in zip(noise_names(sampler.generator), sampler.generator.noise_sides, strict=True)
    }


def test_onnx_equals_jax_for_the_default_noise_and_for_given_noise(sampler):
    exported = session(onnx_bytes(sampler, noise_seed=3))
    z = sampler.latents(3, seed=4)
    (image,) = exported.run(["image"], {"z": z})
    assert image.shape == (3, 64, 64, 3) and image.dtype == np.float32
    assert image.std() > 0.1, "images must have contrast for the comparison to mean anything"
    expected = jax.jit(image_function(sampler.generator, sampler.variables, fixed_noise(sampler.generator, 3), False))(
        z
    )
    np.testing.assert_allclose(image, expected, atol=ROUNDING)
    as_bytes = np.clip(np.round((image + 1) * 127.5), 0, 255)
    assert np.abs(as_bytes - sampler.generate(z, noise_seed=3)).max() <= 1

    noise = own_noise(sampler, 3, seed=5)
    (image,) = exported.run(["image"], {"z": z} | noise)
    maps = tuple(noise.values())
    expected = jax.jit(partial(sampler.generator.apply, train=False))(sampler.variables, z, maps)[0]
    np.testing.assert_allclose(image, expected, atol=ROUNDING)


@pytest.mark.slow
def test_onnx_style_mix_equals_jax_with_noise_of_each_latent(rich):
    """The sampler's own style mixing, to a step of uint8: content and style with the noise of their own latents."""
    from fastgan_jax.inference.sampler import draw_noise, noise_keys

    exported = session(onnx_bytes(rich, style_mix=True))
    content, style = rich.latents(1, seed=1), rich.latents(1, seed=2)
    inputs = [value.name for value in exported.get_overridable_initializers()]
    given = {"z_content": content, "z_style": style, "labels": np.int64([2])}
    for prefix, z in (("", content), ("style_", style)):
        drawn = jax.jit(draw_noise, static_argnums=0)(rich.generator, noise_keys(z))
        named = zip(noise_names(rich.generator), drawn, strict=True)
        given |= {f"{prefix}{name}": np.asarray(noise) for name, noise in named if f"{prefix}{name}" in inputs}
    assert {"style_noise_8_0", "style_noise_8_1", "noise_128_1"} <= given.keys()
    (image,) = exported.run(["image"], given)
    as_bytes = np.clip(np.round((image + 1) * 127.5), 0, 255)[0]
    assert np.abs(as_bytes - rich.style_mix(content, style, labels=2)[0, 0]).max() <= 1

    for name in inputs + ["z_style"]:
        changed = exported.run(["image"], given | {name: given[name] + 1})[0]
        assert np.abs(changed - image).max() > 10 * ROUNDING, f"the input {name} has no effect"


def test_onnx_with_every_part_equals_jax(rich, tmp_path):
    check(rich, tmp_path / "g.onnx", style_mix=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [{"resolution": 1024, "output_tanh": None}, {"skip_excitation": False, "output_tanh": True, "channels": 1}],
    ids=["1024", "no excitation, tanh, gray"],
)
def test_onnx_of_other_networks_equals_jax(model, tmp_path):
    check(make_sampler(**model), tmp_path / "g.onnx")


def check(sampler: Sampler, path: Path, style_mix: bool = False) -> None:
    """Writes a model, which must be valid and equal to JAX."""
    contents = onnx_bytes(sampler, style_mix=style_mix)
    onnx.checker.check_model(onnx.load_from_string(contents), full_check=True)
    path.write_bytes(contents)
    assert check_onnx(path, sampler, batch=None, style_mix=style_mix, noise_seed=0) < ROUNDING


def test_onnx_of_fixed_batch_takes_that_batch_only(sampler):
    exported = session(onnx_bytes(sampler, batch=2))
    assert exported.get_inputs()[0].shape == [2, 8]
    assert exported.run(None, {"z": sampler.latents(2)})[0].shape == (2, 64, 64, 3)
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        exported.run(None, {"z": sampler.latents(3)})


def test_the_check_of_a_written_model_notices_another_generator(sampler, tmp_path):
    path = tmp_path / "g.onnx"
    path.write_bytes(onnx_bytes(sampler, noise_seed=1))
    with pytest.raises(UserError, match="differ from JAX's by"):
        check_onnx(path, sampler, batch=None, style_mix=False, noise_seed=2)


WITHOUT_THE_PACKAGE = """
import sys
import numpy as np

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fastgan_jax", "flax"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Block())
from jax import export

exported = export.deserialize(open(sys.argv[1], "rb").read())
inputs = np.load(sys.argv[2])
np.save(sys.argv[3], exported.call(*(inputs[name] for name in inputs.files)))
assert "fastgan_jax" not in sys.modules
"""


def test_stablehlo_runs_in_a_process_without_this_package(rich, tmp_path, process_environment):
    program, inputs, result = (tmp_path / name for name in ("g.stablehlo", "inputs.npz", "images.npy"))
    program.write_bytes(stablehlo_bytes(rich, style_mix=True, noise_seed=3))
    values = list(example_inputs(rich, True, 2).values())
    np.savez(inputs, *values)
    command = [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(program), str(inputs), str(result)]
    subprocess.run(command, check=True, cwd=tmp_path, env=process_environment)
    noise = fixed_noise(rich.generator, 3)
    expected = jax.jit(image_function(rich.generator, rich.variables, noise, True))(*values)
    found = np.load(result)
    assert found.shape == (2, 256, 256, 4)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_stablehlo_takes_any_batch_or_a_fixed_one(sampler):
    dynamic = jax.export.deserialize(bytearray(stablehlo_bytes(sampler)))
    assert str(dynamic.in_avals[0].shape) == "(N, 8)"
    assert set(dynamic.platforms) == {"cpu", "cuda", "tpu"}
    fixed = jax.export.deserialize(bytearray(stablehlo_bytes(sampler, batch=2)))
    assert fixed.in_avals[0].shape == (2, 8)


def test_safetensors_hold_every_variable_and_the_configuration(sampler):
    from safetensors.numpy import load

    config = sampler.config.copy_and_resolve_references()
    config.data.path = "/home/me/images"
    contents = safetensors_bytes(Sampler(sampler.generator, sampler.variables, z_dim=8, step=7, config=config))
    found = load(contents)
    expected = traverse_util.flatten_dict(sampler.variables, sep=".")
    assert found.keys() == expected.keys() and "params.up_8.conv_0.kernel" in found
    for name, leaf in expected.items():
        np.testing.assert_array_equal(found[name], leaf)
    length = int.from_bytes(contents[:8], "little")
    metadata = json.loads(contents[8 : 8 + length])["__metadata__"]
    assert metadata["step"] == "7" and json.loads(metadata["config"])["model"]["ngf"] == 4
    assert b"/home/me" not in contents and config.data.path == "/home/me/images"


def test_style_mix_needs_excitation(sampler):
    plain = Sampler(sampler.generator.clone(skip_excitation=False), sampler.variables, z_dim=8)
    for make in (onnx_bytes, stablehlo_bytes):
        with pytest.raises(UserError, match="skip_excitation=False"):
            make(plain, style_mix=True)


@pytest.mark.parametrize(
    ("package", "make"),
    [("onnx", onnx_bytes), ("safetensors.numpy", safetensors_bytes), ("flatbuffers", stablehlo_bytes)],
    ids=["onnx", "safetensors", "stablehlo"],
)
def test_a_missing_package_is_named_with_its_cure(sampler, package, make, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'fastgan_jax\[onnx\]'"):
        make(sampler)


@pytest.fixture(scope="module")
def tool():
    return load_tool("export").main


def test_the_tool_writes_and_compares_onnx(tool, smoke_run, tmp_path, capsys):
    out = tmp_path / "new" / "g.onnx"
    arguments = ["--run", str(smoke_run), "--out", str(out), "--format", "onnx", "--batch", "2", "--noise-seed", "5"]
    assert tool(arguments) == 0
    printed = capsys.readouterr().out
    assert f"onnx of iteration 4, 0.4 MB: {out}" in printed
    assert float(printed.rsplit("largest difference from JAX: ")[1].split(",")[0]) < ROUNDING
    z = fastgan_jax.load(smoke_run).latents(2, seed=9)
    (image,) = session(out.read_bytes()).run(None, {"z": z})
    as_bytes = np.clip(np.round((image + 1) * 127.5), 0, 255)
    assert np.abs(as_bytes - fastgan_jax.load(smoke_run).generate(z, noise_seed=5)).max() <= 1
    assert [path.name for path in out.parent.iterdir()] == ["g.onnx"]

    assert tool(arguments) == 2
    assert "exists already: choose another --out, or add --overwrite" in capsys.readouterr().err


def test_the_tool_says_when_it_cannot_compare(tool, smoke_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert tool(["--run", str(smoke_run), "--out", str(tmp_path / "g.onnx"), "--format", "onnx"]) == 0
    assert "not compared: onnxruntime is not installed; pip install 'fastgan_jax[onnx]'" in capsys.readouterr().out


def test_the_tool_writes_the_other_formats(tool, smoke_run, tmp_path):
    out = tmp_path / "g.stablehlo"
    assert tool(["--run", str(smoke_run), "--out", str(out), "--format", "stablehlo", "--step", "2"]) == 0
    assert jax.export.deserialize(bytearray(out.read_bytes())).in_avals[0].dtype == np.float32
    out = tmp_path / "g.safetensors"
    assert tool(["--run", str(smoke_run), "--out", str(out), "--format", "safetensors", "--step", "2"]) == 0
    with safetensors.safe_open(out, "numpy") as file:
        assert file.metadata()["step"] == "2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "onnx", "--batch", "0"], "--batch 0: must be a whole number, at least 1, or dynamic"),
        (["--format", "onnx", "--noise-seed", "-1"], "--noise-seed -1: must be a whole number from 0"),
        (["--format", "onnx", "--step", "last"], "--step last: must be latest, best or an iteration"),
        (["--format", "onnx", "--step", "3"], "has no checkpoint 3"),
        (["--format", "safetensors", "--style-mix"], "--style-mix has no effect on --format safetensors"),
        (["--format", "safetensors", "--noise-seed", "0"], "--noise-seed has no effect"),
        (["--format", "onnx", "--out", "g.safetensors"], "--out g.safetensors: must end in .onnx"),
        (["--format", "stablehlo", "--out", "g.ONNX"], "--out g.ONNX: must end in .stablehlo"),
        (["--format", "onnx", "--out", "."], ". is a folder: choose another --out"),
        (["--format", "safetensors", "--out", "/dev/null/g"], "cannot be written, since"),
        (["--format", "safetensors", "--out", "g" * 256], "File name too long"),
    ],
)
def test_the_tool_refuses_what_it_cannot_do(tool, smoke_run, tmp_path, capsys, arguments, message):
    assert tool(["--run", str(smoke_run), "--out", str(tmp_path / "g"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "g").exists()
