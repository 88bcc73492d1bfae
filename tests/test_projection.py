"""Projection: it finds what a generator can make, each image by itself; what it saves gives the images again."""

import dataclasses
import importlib.util
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_perceptual import perceptual_params

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.inference import latent_search
from fastgan_jax.inference.latent_search import Objective
from fastgan_jax.inference.projection import LONGEST_CALL, project, updates_per_call
from fastgan_jax.inference.restore import load_training_set
from fastgan_jax.inference.sampler import Sampler, noise_keys
from fastgan_jax.models.lpips import lpips
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import write_arrays
from fastgan_jax.utils.grids import save_png
from fastgan_jax.utils.images import rgb, to_uint8, to_unit

SETTINGS = {"updates": 50, "starts": 8, "batch_size": 2, "noise_seed": 5}


@dataclasses.dataclass(frozen=True)
class Linear:
    """A generator that compiles in no time: a matrix; class 1 has the colors of class 0 inverted."""

    num_classes: int = 0
    resolution: int = 64
    channels: int = 3

    def apply(self, variables, z, noise, labels, *, train):
        images = jnp.tanh(z @ variables["matrix"]).reshape(-1, 64, 64, 3)
        return (images * (1 - 2 * labels[:, None, None, None]) if self.num_classes else images), None


def linear_sampler(**fields) -> Sampler:
    matrix = np.float32(np.random.RandomState(0).normal(0, 0.2, (8, 64 * 64 * 3)))
    return Sampler(Linear(**fields), {"matrix": matrix}, z_dim=8)


@pytest.fixture(scope="module")
def sampler(smoke_run) -> Sampler:
    """The smoke run's generator with a weight on every noise map, so that a mistake with noise shows."""
    loaded = fastgan_jax.load(smoke_run)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 0.1 if path[-1].key == "noise_weight" else leaf, loaded.variables["params"]
    )
    return Sampler(loaded.generator, loaded.variables | {"params": params}, z_dim=loaded.z_dim, config=loaded.config)


@pytest.fixture(scope="module")
def targets(sampler) -> np.ndarray:
    """Three images that the generator makes of latents where no search begins."""
    return sampler.generate(sampler.latents(3, seed=9), noise_seed=SETTINGS["noise_seed"])


@pytest.fixture(scope="module")
def found(sampler, targets):
    return project(sampler, targets, None, **SETTINGS)


@pytest.fixture(scope="module")
def squeeze() -> dict:
    return perceptual_params("squeeze")


def test_the_generators_own_images_are_found(found):
    assert (found.distances < 0.1 * found.start_distances).all()
    assert (found.losses.min(0) < 0.2 * found.losses[0]).all()  # with the distance from the prior


def test_by_a_perceptual_distance_too(sampler, targets, squeeze):
    few = SETTINGS | {"batch_size": 1, "updates": 15}
    result = project(sampler, targets[:1], "squeeze_caffe", squeeze, **few)
    assert (result.distances < 0.6 * result.start_distances).all()
    expected = jax.jit(lambda a, b: lpips("squeeze", squeeze, to_unit(a), to_unit(b)))(targets[:1], result.images)
    np.testing.assert_allclose(result.distances, expected, rtol=1e-4)
    assert "cosine" in result.measure


def test_the_best_latent_counts_not_the_last():
    generator = linear_sampler()
    own = generator.generate(generator.latents(1, seed=9))
    found = project(generator, own, None, **SETTINGS | {"learning_rate": 2.0, "updates": 4})  # overshoots
    assert found.losses.min() < 0.5 * found.losses[-1]
    np.testing.assert_allclose(found.losses.min(0), loss_of(found), rtol=0.1)


def test_latents_give_the_images_again(sampler, found):
    np.testing.assert_array_equal(found.images, sampler.generate(found.z, noise_seed=found.noise_seed))
    assert not np.array_equal(found.images, sampler.generate(found.z, noise_seed=found.noise_seed + 1))


def test_losses_are_those_of_the_latents(found, targets):
    """The least of the recorded losses is that of the result: its distance, and that of its length from the prior."""
    assert found.losses.shape == (SETTINGS["updates"] + 1, 3)
    np.testing.assert_allclose(found.losses.min(0), loss_of(found), rtol=0.1)  # images are rounded to uint8
    differences = np.square(targets / 127.5 - found.images / 127.5).mean((1, 2, 3))
    np.testing.assert_allclose(found.distances, differences, rtol=1e-3)


def loss_of(found) -> np.ndarray:
    deviation = (np.square(found.z).sum(1) - 8) / np.sqrt(2 * 8)  # in standard deviations
    return found.distances + 0.01 * np.square(deviation)


def test_a_search_does_not_depend_on_its_companions(sampler, targets, found):
    others = np.stack([targets[0], 255 - targets[1]])
    np.testing.assert_array_equal(project(sampler, others, None, **SETTINGS).z[0], found.z[0])
    alone = project(sampler, targets[2:], None, **SETTINGS)  # the third had padding for company before, too
    swapped = project(sampler, targets[[1, 2]], None, **SETTINGS)
    np.testing.assert_array_equal(alone.z[0], found.z[2])
    np.testing.assert_allclose(swapped.z[1], found.z[2], atol=1e-3)


def test_equal_seeds_equal_results(sampler, targets, found):
    again = project(sampler, targets, None, **SETTINGS)
    np.testing.assert_array_equal(again.z, found.z)
    np.testing.assert_array_equal(again.losses, found.losses)
    other = project(sampler, targets, None, **SETTINGS | {"seed": 1})
    assert not np.array_equal(other.losses[0], found.losses[0])


def test_it_begins_at_the_nearest_sampled_latent(sampler, targets, found):
    candidates = sampler.generate(sampler.latents(SETTINGS["starts"]), noise_seed=SETTINGS["noise_seed"])
    distances = np.square(targets[:, None] / 127.5 - candidates[None] / 127.5).mean((2, 3, 4))
    np.testing.assert_allclose(found.start_distances, distances.min(1), rtol=1e-3)


@pytest.mark.parametrize(("prior_weight", "least", "most"), [(0.1, 0, 1.5), (0.0, 2.5, np.inf)])
def test_latents_stay_near_the_prior(prior_weight, least, most):
    """For a target that only far too long latents could give."""
    generator = linear_sampler()
    far = generator.generate(3 * generator.latents(1, seed=9))
    z = project(generator, far, None, **SETTINGS | {"prior_weight": prior_weight}).z
    deviation = (np.square(z).sum(1) - 8) / np.sqrt(2 * 8)  # in standard deviations
    assert least <= deviation <= most


def test_progress_counts_every_update(targets):
    calls = []
    project(linear_sampler(), targets, None, on_progress=calls.append, **SETTINGS | {"updates": 2})
    assert sum(calls) == 2 * 2  # two chunks


def test_the_update_is_compiled_once(targets, caplog):
    generator = linear_sampler()
    generator.variables = jax.device_put(generator.variables, jax.local_devices()[0])  # as a checkpoint's are
    with jax.log_compiles(), caplog.at_level("WARNING"):
        project(generator, targets, None, **SETTINGS | {"updates": 3, "mse_weight": 0.3})
    compiled = [record.getMessage() for record in caplog.records if "Finished XLA compilation" in record.getMessage()]
    assert sum("update" in message for message in compiled) == 1


def test_updates_in_one_program_equal_single_ones(targets):
    generator = linear_sampler()
    z, labels = generator.latents(2), np.zeros(2, np.int32)
    objective = Objective(generator.generator, None, 0.2, 0.01, 0.1)
    fixed = latent_search.prepare(objective, None, targets[:2], labels, noise_keys(z[:1], 0))
    single, losses = latent_search.begin(objective, z), []
    for _ in range(3):
        single, loss = latent_search.update(objective, 1, generator.variables, None, fixed, single)
        losses.append(loss)
    begun = latent_search.begin(objective, z)
    looped, all_losses = latent_search.update(objective, 3, generator.variables, None, fixed, begun)
    np.testing.assert_allclose(all_losses, np.concatenate(losses), rtol=1e-5)
    np.testing.assert_allclose(looped.z, single.z, rtol=1e-4)
    np.testing.assert_allclose(looped.best_loss, single.best_loss, rtol=1e-5)


@pytest.mark.parametrize(("updates", "expected"), [(1000, 25), (7, 7), (26, 13), (31, 1)])
def test_calls_of_the_program_make_up_all_updates(updates, expected):
    assert updates_per_call(updates, "gpu") == expected <= LONGEST_CALL
    assert updates_per_call(updates, "cpu") == 1


@pytest.mark.parametrize(("side", "seen"), [(64, 64), (128, 64), (256, 128)])
def test_large_images_are_pooled(side, seen, monkeypatch):
    shapes = []
    monkeypatch.setattr(latent_search, "embed", lambda network, params, x: shapes.append(x.shape) or x)
    images = jnp.asarray(np.random.RandomState(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32))
    features = latent_search._features(Objective(None, "squeeze", 0, 0, 0), None, images)
    assert shapes == [(1, seen, seen, 3)]
    corner = images[0, : side // seen, : side // seen].mean((0, 1))
    np.testing.assert_allclose(features[0, 0, 0], corner, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_seen_as_rgb(channels):
    images = np.random.RandomState(0).randint(0, 256, (2, 4, 4, channels)).astype(np.uint8)
    seen = to_uint8(latent_search._rgb(to_unit(jnp.asarray(images))))
    assert np.abs(np.int32(seen) - rgb(images)).max() <= 1  # rounding


def test_classes():
    """Of a conditional generator, each search begins at and stays with images of its own class."""
    conditional = linear_sampler(num_classes=2)
    wanted = conditional.generate(conditional.latents(2, seed=9), labels=[1, 0])
    result = project(conditional, wanted, None, labels=[1, 0], **SETTINGS)
    for label, own, start in zip([1, 0], wanted, result.start_distances, strict=True):
        starts = conditional.generate(conditional.latents(SETTINGS["starts"]), labels=[label] * SETTINGS["starts"])
        np.testing.assert_allclose(start, np.square(own / 127.5 - starts / 127.5).mean((1, 2, 3)).min(), rtol=1e-3)
    assert (result.distances < 0.1 * result.start_distances).all()
    np.testing.assert_array_equal(result.images, conditional.generate(result.z, labels=result.labels))
    with pytest.raises(UserError, match="1 labels for 2 targets"):
        project(conditional, wanted, None, labels=[1], **SETTINGS)
    with pytest.raises(UserError, match="conditional: pass"):
        project(conditional, wanted, None, **SETTINGS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates": 0}, "updates=0: give at least 1"),
        ({"starts": 0}, "starts=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"mse_weight": -1.0}, "mse_weight=-1.0"),
        ({"prior_weight": float("inf")}, "prior_weight=inf"),
        ({"seed": -1}, "seed=-1: a seed is from 0 to 4294967295"),
        ({"noise_seed": 2**32}, "noise_seed=4294967296"),
        ({"network": "alex"}, "network='alex': allowed is vgg | squeeze"),
        ({"targets": np.zeros((1, 32, 32, 3), np.uint8)}, r"uint8 of shape \[1, 32, 32, 3\]: .* \[N, 64, 64, 3\]"),
        ({"targets": np.zeros((1, 64, 64, 3), np.float32)}, "float32 of shape"),
        ({"targets": np.zeros((0, 64, 64, 3), np.uint8)}, "0 targets"),
        ({"labels": [0, 0, 0]}, "unconditional"),
    ],
)
def test_bad_arguments(sampler, targets, options, message):
    options = {"targets": targets, "network": None} | options
    with pytest.raises(UserError, match=message):
        project(sampler, options.pop("targets"), options.pop("network"), **SETTINGS | options)


@pytest.fixture(scope="module")
def tool():
    """The module of tools/project.py."""
    path = Path(__file__).resolve().parents[1] / "tools" / "project.py"
    spec = importlib.util.spec_from_file_location("project_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory, targets) -> Path:
    """A folder with one of the targets, and a wide gray image in a subfolder."""
    folder = tmp_path_factory.mktemp("pictures")
    save_png(folder / "own.png", targets[0])
    (folder / "sub").mkdir()
    Image.new("L", (90, 50), 200).save(folder / "sub" / "wide.jpg")
    return folder


QUICK = ["--distance", "l2", "--updates", "5", "--starts", "2", "--batch-size", "2"]


def test_the_tool_writes_what_it_says(tool, folder, smoke_run, tmp_path, capsys):
    out = tmp_path / "projected"
    command = ["--run", str(smoke_run), "--out", str(out), *QUICK, "--images", str(folder), str(folder / "own.png")]
    assert tool.main(command) == 0
    printed = capsys.readouterr().out
    names = ["000_own.png", "001_wide.png", "002_own.png"]
    for name in [*names, "side_by_side.png", "table.json", "projected.npz"]:
        assert f"{out / name}\n" in printed and (out / name).is_file()

    saved = np.load(out / "projected.npz")
    loaded = fastgan_jax.load(smoke_run)
    images = loaded.generate(saved["z"], noise_seed=int(saved["noise_seed"]))
    for image, name in zip(images, names, strict=True):
        with Image.open(out / name) as file:
            np.testing.assert_array_equal(np.asarray(file), image)
            assert file.text["noise_seed"] == "0" and file.text["step"] == str(loaded.step)
    assert saved["names"].tolist() == [str(folder / "own.png"), str(folder / "sub/wide.jpg"), str(folder / "own.png")]
    np.testing.assert_allclose(saved["z"][0], saved["z"][2], atol=1e-3)  # the same image twice

    written = json.loads((out / "table.json").read_text())
    assert written["measure"] in printed and written["updates"] == 5
    for row in written["pictures"]:
        assert row["after"] < row["before"]
        assert f"{row['after']:.4f}" in printed
    with Image.open(out / "side_by_side.png") as file:
        grid = np.asarray(file)
    np.testing.assert_array_equal(grid[:64, 66:130], images[0])

    assert tool.main(command) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_tool_projects_training_images(tool, smoke_run, tmp_path, capsys):
    command = ["--run", str(smoke_run), "--out", str(tmp_path / "out"), *QUICK, "--training"]
    assert tool.main([*command, "3,5"]) == 0
    training = load_training_set(smoke_run, fastgan_jax.load(smoke_run).config).images
    with Image.open(tmp_path / "out" / "side_by_side.png") as file:
        grid = np.asarray(file)
    for row, number in enumerate((3, 5)):
        np.testing.assert_array_equal(grid[66 * row : 66 * row + 64, :64], training[number])
        assert (tmp_path / "out" / f"00{row}_training_00000{number}.png").is_file()
    assert tool.main([*command, "3,20", "--overwrite"]) == 2
    assert "--training 3,20: the set has 20 images, counted from 0" in capsys.readouterr().err


def test_the_tool_finds_weights_of_the_network(tool, folder, smoke_run, squeeze, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(store, "_download", unreachable)
    command = ["--run", str(smoke_run), "--images", str(folder / "own.png"), "--out", str(tmp_path / "out")]
    assert tool.main(command) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "vgg16" in message and "--distance l2" in message

    arrays = {f"input/{name}": array for name, array in squeeze["input"].items()}
    arrays |= {f"{layer}/{leaf}": x for layer, leaves in squeeze["backbone"].items() for leaf, x in leaves.items()}
    write_arrays(store.cached_path("squeezenet_caffe"), arrays)
    assert tool.main([*command, "--net", "squeeze_caffe", "--updates", "3", "--starts", "2"]) == 0
    assert "cosine distance (squeeze_caffe), not LPIPS" in capsys.readouterr().out


def unreachable(*_):
    raise OSError("unreachable")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "{folder}/none.png"], "{folder}/none.png: no such file or folder"),
        (["--images", "{folder}/empty"], "there is no image in this folder"),
        (["--images", "{folder}/broken.png"], "broken.png: not a readable image"),
        (["--images", "{folder}/own.png", "--labels", "a"], "--labels a: give numbers"),
        (["--images", "{folder}/own.png", "--labels", "1"], "unconditional"),
        (["--images", "{folder}/own.png", "--step", "new"], "--step new"),
        (["--images", "{folder}/own.png", "--batch-size", "0"], "batch_size=0"),
        (["--images", "{folder}/own.png", "--updates", "-3"], "updates=-3"),
    ],
)
def test_the_tools_errors(tool, folder, smoke_run, tmp_path, capsys, arguments, message):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    filled = [argument.format(folder=folder) for argument in arguments]
    assert tool.main(["--run", str(smoke_run), "--out", str(out), *QUICK, *filled]) == 2
    assert re.match(f"error: .*{re.escape(message.format(folder=folder))}", capsys.readouterr().err)
    assert not out.exists()
    (folder / "broken.png").unlink()
