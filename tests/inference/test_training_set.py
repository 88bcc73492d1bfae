"""The training set and the perceptual network of a run, and others in their place."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.inference import restore
from fastgan_jax.inference.restore import load_run_perceptual, load_training_set


@pytest.fixture(scope="module")
def config(smoke_run):
    return fastgan_jax.load(smoke_run).config


def test_a_moved_training_set_is_named(smoke_run, config, tmp_path):
    moved = config.copy_and_resolve_references()
    moved.data.demo_images, moved.data.path = None, str(tmp_path / "gone")
    with pytest.raises(UserError, match=r"no longer in data.path=.*gone: .*--data"):
        load_training_set(smoke_run, moved)


def test_a_training_set_that_has_changed_is_named(smoke_run, config, monkeypatch, caplog):
    assert len(load_training_set(smoke_run, config).images) == 20 and not caplog.messages
    monkeypatch.setattr(restore, "image_fingerprint", lambda path: "another")
    load_training_set(smoke_run, config)
    assert caplog.messages == [restore.IMAGES_CHANGED]


def test_the_training_set_of_a_checkpoints_folder_is_that_of_its_run(smoke_run, config):
    real = load_training_set(smoke_run, config).images
    for path in (smoke_run / "checkpoints", smoke_run / "checkpoints" / "4"):
        np.testing.assert_array_equal(load_training_set(path, config).images, real)
        assert not (path / "data" / "demo-20-0-64-3-v2").exists()


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        (None, None, ("vgg", "run.npz")),
        ("vgg", None, ("vgg", "run.npz")),
        ("squeeze", None, ("squeeze", None)),
        ("squeeze", "own.npz", ("squeeze", "own.npz")),
        (None, "own.npz", ("vgg", "own.npz")),
    ],
)
def test_weights_of_the_run_are_for_the_network_of_the_run(config, tmp_path, monkeypatch, name, weights, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.npz").write_bytes(b"")
    own = config.copy_and_resolve_references()
    own.loss.perceptual_weights = "run.npz"
    monkeypatch.setattr(restore, "load_perceptual", lambda *arguments: arguments)
    assert load_run_perceptual(own, name, weights) == (expected[0], expected)
    (tmp_path / "run.npz").unlink()
    assert load_run_perceptual(own, "vgg") == ("vgg", ("vgg", None)), "a file that is gone is looked for elsewhere"


def test_images_from_elsewhere_may_have_the_classes_of_the_run(smoke_run, config, tmp_path, caplog):
    conditional = config.copy_and_resolve_references()
    conditional.model.num_classes = 2
    conditional.data.update(cache_dir=str(tmp_path / "cache"), labels="labels.csv")
    run, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(smoke_run, run)

    def classes(names: list[str]) -> list[int]:
        (run / "data.json").write_text(json.dumps({"classes": {name: number for number, name in enumerate(names)}}))
        caplog.clear()
        found = load_training_set(run, conditional, moved)
        assert bool(found.files.classes) != ("does not have the classes of the run" in caplog.text)
        return found.labels.tolist() if found.files.classes else []

    for name in ("a/0.png", "b/1.png", "b/2.png"):
        (moved / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(moved / name)
    assert classes(["a", "b"]) == [0, 1, 1]
    assert classes(["cats", "dogs"]) == [], "as many folders are not the same classes"
    (moved / "labels.csv").write_text("0.png,dogs\n1.png,cats\n2.png,cats\n")
    assert classes(["cats", "dogs"]) == [1, 0, 0]
    (run / "data.json").unlink()
    assert not load_training_set(run, conditional, moved).files.classes
