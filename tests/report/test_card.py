"""What is published of a run beside its weights: numbers with how they were made, and nothing private."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from configs import smoke
from fastgan_jax.report.card import published_files
from fastgan_jax.runs import config as configuration

NAME = "me/my-monsters"
FACTS = {"run": "secret", "num_samples": 5000, "real": "training set", "networks": "squeeze", "warnings": ["collapse"]}


@pytest.fixture
def publish(tmp_path):
    """A function from the content of evaluation.json, training's fid by iteration, and fields, to what is published.

    The run has one checkpoint, of iteration 4.
    """
    folder = tmp_path / "secret"
    (folder / "checkpoints/4/sampler").mkdir(parents=True)
    (folder / "checkpoints/4/sampler/weights").write_bytes(b"weights")

    def publish(evaluation=None, fids=(), **fields):
        config = smoke.get_config()
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        if evaluation is not None:
            (folder / "evaluation.json").write_text(json.dumps(evaluation))
        lines = (json.dumps({"step": step, "eval/fid": fid}) + "\n" for step, fid in dict(fids).items())
        (folder / "metrics.jsonl").write_text("".join(lines))
        images = np.zeros((16, 64, 64, 3), np.uint8)
        sampler = SimpleNamespace(step=4, resolution=64, config=config, sample=lambda *_: images)
        return published_files(folder, sampler, NAME, state=False)

    return publish


@pytest.mark.parametrize(
    "steps, fids, text, value",
    [
        ((2, 4), {4: 51.2}, "At iteration 4, 5,000 samples against the training set (squeeze):", "| kid | 0.4 "),
        ((2,), {4: 51.2}, "At iteration 4, 500 samples against the training set (inception", "| fid | 51.2 "),
        ((6,), {2: 51.2}, "At iteration 2, 500 samples against the training set (inception", "| fid | 51.2 "),
        ((2, 6), {}, "At iteration 2, 5,000 samples against the training set (squeeze):", "| kid | 0.2 "),
    ],
)
def test_numbers_on_the_card_stand_beside_how_they_were_made(publish, steps, fids, text, value):
    rows = [{"step": step, "kid": step / 10} for step in steps]
    card = publish(FACTS | {"checkpoints": rows}, fids, eval__num_samples=500)["README.md"].decode()
    assert text in card and value in card
    assert ("kid" in value) == ("| kid |" in card) and ("fid" in value) == ("| fid |" in card)


def test_an_evaluation_of_version_0_2_is_described_as_it_was_made(publish):
    facts = {"num_samples": 300, "features": "squeeze, legacy resize", "distance": "LPIPS (squeeze)"}
    card = publish(facts | {"checkpoints": [{"step": 4, "kid": 0.4}]})["README.md"].decode()
    assert "300 samples against the training set (squeeze, legacy resize; LPIPS (squeeze)):" in card


@pytest.mark.parametrize(
    "real, against, noted",
    [
        ("training set", "the training set", True),
        ("class 1 of the training set", "class 1 of the training set", True),
        ("/home/alice/others", "other images", False),
    ],
)
def test_the_card_says_which_images_it_was_evaluated_against(publish, real, against, noted):
    row = {"step": 4, "diversity": 0.1, "diversity_real": 0.5}
    files = publish(FACTS | {"real": real, "networks": "", "checkpoints": [row]})
    card = files["README.md"].decode()
    assert f"At iteration 4, 5,000 samples against {against}:\n" in card
    assert ("Note: collapse" in card) == noted
    assert json.loads(files["evaluation.json"])["real"] == real.replace("/home/alice/others", "other images")


def test_what_was_evaluated_of_later_checkpoints_is_not_published(publish):
    coverage = {"coverage": {"covered": 1, "uncovered": ["alice.png"], "step": 6}}
    rows = [{"step": step, "kid": step / 10} for step in (2, 4, 6)]
    evaluation = json.loads(publish(FACTS | coverage | {"checkpoints": rows})["evaluation.json"])
    assert evaluation["checkpoints"] == rows[:2]
    assert "coverage" not in evaluation and "warnings" not in evaluation
    assert "evaluation.json" not in publish(FACTS | coverage | {"checkpoints": rows[2:]})


def test_neither_paths_nor_names_of_this_machine_are_published(publish):
    coverage = {"coverage": {"covered": 1, "uncovered": ["alice.png"], "step": 4}}
    private = {name: "/home/alice/secret" for name in ("train__init_from", "model__feature_weights", "data__labels")}
    private["data__hf"] = "~/alice/secret"
    files = publish(
        FACTS | coverage | {"real": "/home/alice/others", "checkpoints": [{"step": 4, "kid": 0.4}]},
        **private,
        model__num_classes=2,
        train__freeze_discriminator=1,
    )
    for path in ("config.json", "checkpoints/4/config/metadata", "evaluation.json", "README.md"):
        assert b"alice" not in files[path] and b"secret" not in files[path], path
    assert json.loads(files["evaluation.json"])["coverage"] == {"covered": 1, "step": 4}
    assert json.loads(files["evaluation.json"])["warnings"] == ["collapse"]
    # Others can evaluate it and continue training.
    published = configuration.from_saved(json.loads(files["config.json"])["config"])
    published.data.update(labels=None, demo_images=None)
    configuration.validate(published, check_source=False)


@pytest.mark.parametrize(
    "fields, loss",
    [
        ({}, "hinge, reconstruction by l1"),
        ({"model__discriminator": "projected"}, "hinge"),
        ({"model__decoders": ""}, "hinge"),
    ],
)
def test_the_card_names_a_reconstruction_only_of_what_reconstructs(publish, fields, loss):
    card = publish(loss__reconstruction="l1", loss__adversarial="hinge", **fields)["README.md"].decode()
    assert f"| Loss | {loss} |" in card
