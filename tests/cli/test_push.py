"""Publishing a run and loading it again, by a server of the hub's routes on this machine."""

import json
import shutil
import threading

import numpy as np
import pytest
from hub_server import Hub
from PIL import Image
from tool_modules import pixels, run

import fastgan_jax
from fastgan_jax.errors import UserError

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra hf is not installed")
constants = pytest.importorskip("huggingface_hub.constants")
NAME = "me/my-monsters"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub without repositories, to which somebody is logged in."""
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    files = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pushed(hub, smoke_run, tmp_path):
    """The files of a run that was pushed, with an evaluation and pages that show training images in its folder."""
    folder = tmp_path / "mine"
    shutil.copytree(smoke_run, folder)
    evaluation = {"checkpoints": [{"step": 4, "fid": 12.25}], "num_samples": 64, "networks": "Inception, legacy"}
    (folder / "evaluation.json").write_text(json.dumps(evaluation | {"real": "training set"}))
    (folder / "nearest.png").write_bytes(b"training images")
    assert run("push", folder, NAME) == 0
    return hub.repositories[NAME]


def test_a_pushed_run_is_loaded_by_its_address(hub, pushed, smoke_run, tmp_path, capsys, caplog):
    mine, theirs = fastgan_jax.load(smoke_run), fastgan_jax.load(f"hf://{NAME}")
    assert theirs.step == 4
    np.testing.assert_array_equal(theirs.sample(2, 3), mine.sample(2, 3))
    assert f"hf://{NAME}: " in caplog.text and f"MB, from {hub.address}" in caplog.text
    assert run("sample", "--run", f"hf://{NAME}", "--num", 1, "--out", tmp_path / "a.png") == 0
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), mine.sample(1)[0])
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["run"] == NAME
    assert run("reconstruct", "--run", f"hf://{NAME}", "--images", tmp_path / "a.png", "--out", tmp_path / "b.png") == 2
    assert "has no state of training" in capsys.readouterr().err
    hub.shutdown()
    hub.server_close()
    assert fastgan_jax.load(f"hf://{NAME}").step == 4
    assert "the copy that was downloaded before" in caplog.text


def test_what_is_published_has_no_training_images_no_paths_and_no_state(pushed, smoke_run):
    tops = {path.split("/")[0] for path in pushed}
    assert tops == {"README.md", "config.json", "metrics.jsonl", "evaluation.json", "samples.png", "checkpoints"}
    assert {path.split("/")[2] for path in pushed if path.startswith("checkpoints/")} == {"sampler", "config", "data"}
    for path in ("config.json", "checkpoints/4/config/metadata"):
        content = json.loads(pushed[path])
        assert content.get("config", content)["data"]["path"] is None
    sizes = {
        item: sum(f.stat().st_size for f in (smoke_run / "checkpoints/4" / item).rglob("*") if f.is_file())
        for item in ("sampler", "state")
    }
    assert sizes["state"] > 2 * sizes["sampler"]


def test_the_card_tells_how_to_use_the_model_and_how_good_it_is(pushed):
    card = pushed["README.md"].decode()
    head, body = card.removeprefix("---\n").split("\n---\n")
    assert huggingface_hub.ModelCard(card).data.to_dict()["library_name"] == "fastgan_jax"
    assert "- few-shot" in head
    use = f'fastgan_jax.load("hf://{NAME}")'
    for text in (use, "64x64", "4 iterations of 4 images", "| fid | 12.25 (lower is better) |"):
        assert text in body
    assert "64 samples against the training set (Inception, legacy)" in body


def test_the_state_is_published_on_request(hub, smoke_run):
    assert run("push", smoke_run, NAME, "--state", "--step", 2) == 0
    files = hub.repositories[NAME]
    assert any(path.startswith("checkpoints/2/state/") for path in files)
    assert "This model was not evaluated." in files["README.md"].decode()
    assert max(json.loads(line)["step"] for line in files["metrics.jsonl"].splitlines()) <= 2


def test_what_is_to_be_private_is_not_published_in_a_public_repository(hub, pushed, smoke_run, capsys):
    before = dict(pushed)
    assert run("push", smoke_run, NAME, "--private") == 2
    assert "it is there already and public" in capsys.readouterr().err and hub.repositories[NAME] == before
    assert run("push", smoke_run, f"{NAME}-2", "--private") == 0 and f"{NAME}-2" in hub.private
    assert run("push", smoke_run, f"{NAME}-2", "--private") == 0


def test_a_second_push_replaces_the_first_and_leaves_the_files_of_others(hub, pushed, smoke_run):
    pushed |= {"LICENSE": b"mine", "examples/metrics.jsonl": b"mine", "checkpoints.md": b"mine"}
    pushed["checkpoints/other.pth"] = b"mine"
    assert any(path.startswith("checkpoints/4/") for path in pushed) and "evaluation.json" in pushed
    assert run("push", smoke_run, NAME, "--step", 2) == 0
    assert {path.split("/")[1] for path in pushed if path.startswith("checkpoints/")} == {"2", "other.pth"}
    assert "evaluation.json" not in pushed and pushed.keys() > {"LICENSE", "examples/metrics.jsonl", "checkpoints.md"}
    assert fastgan_jax.load(f"hf://{NAME}").step == 2
    assert sum(request.endswith("/commit/main") for request in hub.requests) == 2


@pytest.mark.parametrize(
    "name, token, message",
    [
        ("monsters", "hf_secret", "error: monsters: must be USER/NAME"),
        ("me/a b", "hf_secret", "error: me/a b: must be USER/NAME"),
        (NAME, "", "run hf auth login, or set HF_TOKEN"),
    ],
)
def test_before_the_work_names_and_login_are_checked(hub, smoke_run, monkeypatch, capsys, name, token, message):
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    assert run("push", smoke_run, name) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not hub.requests


def test_a_run_that_is_not_on_the_hub_is_one_line(hub, tmp_path, capsys):
    with pytest.raises(UserError, match="hf://me/nothing is not available from http://127"):
        fastgan_jax.load("hf://me/nothing")
    assert run("sample", "--run", "hf://nothing", "--out", tmp_path / "a.png") == 2
    assert capsys.readouterr().err == "error: hf://nothing: must be USER/NAME of letters, digits, -, _ and .\n"
