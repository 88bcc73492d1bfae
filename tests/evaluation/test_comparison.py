"""Runs side by side: what is shown of each, what cannot be compared, and the command."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from random_networks import cache_random_squeezenet
from tool_modules import pixels, run

import fastgan_jax
from configs import base
from fastgan_jax.evaluation import comparison, evaluator
from fastgan_jax.evaluation.choice import networks_in_words
from fastgan_jax.evaluation.comparison import Compared
from fastgan_jax.evaluation.evaluator import Evaluation, Evaluator, load_networks
from fastgan_jax.pretrained import store
from fastgan_jax.runs import checkpoint

IMAGES = np.zeros((4, 64, 64, 3), np.uint8)


def compared(name: str, history: list, step: int = 4, **settings: object) -> Compared:
    return Compared(name, step, IMAGES, 1.5, history, settings)


def test_the_table_has_the_last_numbers_and_stars_the_better_ones():
    first = compared("a", [{"step": 2, "kid": 1.0}, {"step": 4, "kid": 2.0, "recall": 0.5, "kid_spread": 0.1}])
    second = compared("b", [{"step": 2, "kid": 3.0, "recall": 0.5}, {"step": 9, "kid": 0.0}])
    lines = [line.split("  ") for line in comparison.table([first, second]).splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert rows[0] == ["run", "iteration", "minutes", "kid", "recall"]
    assert rows[1] == ["a", "4", "1.5", "2.0000*", "0.5000"]
    assert rows[2] == ["b", "4 (numbers: 2)", "1.5", "3.0000", "0.5000"]
    assert "*" not in comparison.table([first, compared("c", [])])  # nothing to compare with


def test_numbers_from_different_evaluations_are_told():
    row = [{"step": 4, "kid": 1.0}]
    assert comparison.remarks([compared("a", row, num_samples=5), compared("b", row, num_samples=5)]) == []
    (line,) = comparison.remarks([compared("a", row, num_samples=5, seed=1), compared("b", row, num_samples=6, seed=1)])
    assert "numbers of b and a come from different evaluations (num_samples 6, not 5)" in line and "--metrics" in line
    assert "--features, --net or --data" in line
    (line,) = comparison.remarks([compared("a", row, fit="crop"), compared("b", row, fit="squash")])
    assert line.endswith("(fit squash, not crop) and cannot be compared")  # no option changes that
    named = [compared("a", row), compared("b", row, features="x"), compared("c", row, features="y")]
    assert "numbers of c and b" in comparison.remarks(named)[0]
    (line,) = comparison.remarks([compared("a", []), compared("b", row)])
    assert line.startswith("no evaluation of a is recorded: add --metrics")


def test_what_cannot_be_compared_has_no_star():
    runs = [compared(name, [{"step": 4, "kid": kid}], features="x") for name, kid in (("a", 1.0), ("b", 2.0))]
    assert "1.0000*" in comparison.table(runs)
    runs.append(compared("c", [{"step": 4, "kid": 0.5}], features="y"))
    assert "*" not in comparison.table(runs)


def settings_of(*, facts: dict | None = None, row: dict | None = None, **fields: object) -> dict:
    """The settings of a recorded evaluation of a run with these fields of its configuration."""
    config = base.get_config()
    config.update_from_flattened_dict({"data.hf": "user/set"} | fields)
    facts = {"num_samples": 5, "networks": networks_in_words(config)} if facts is None else facts
    return comparison._settings(facts, [{"step": 4} | (row or {"kid": 1.0, "layout": 1.0})], config)


@pytest.mark.parametrize(
    ("field", "value", "setting"),
    [
        ("data.flip", False, "mirrored"),
        ("data.fit", "crop", "fit"),
        ("data.hf", "user/other", "real"),
        ("data.hf_split", "test", "real"),
        ("data.background", "black", "background"),
        ("model.channels", 1, "channels"),
        ("model.resolution", 512, "resolution"),
        ("eval.features", "squeeze", "features"),
        ("loss.perceptual_net", "squeeze", "distance"),
    ],
)
def test_what_makes_evaluations_differ_is_recorded(field, value, setting):
    alike = {"eval.metrics": "kid,nearest"}
    first, second = settings_of(**alike), settings_of(**alike | {field: value})
    assert {name for name in first if first[name] != second[name]} == {setting}


def test_a_class_is_one_of_its_set():
    facts = {"num_samples": 5, "networks": "", "real": "class 1 of the training set"}
    own, other = (settings_of(facts=facts, **{"data.hf": name})["real"] for name in ("user/set", "user/other"))
    assert own == "class 1 of hf=user/set (train)" and other != own


def test_names_of_runs_cannot_break_the_picture(tmp_path):
    row = [{"step": 4, "kid": 1.0}]
    runs = [compared(name, row) for name in ("cost$5_vs_$10^", "_hidden", "caf\udce9")]
    comparison.draw(tmp_path / "page.png", runs)
    assert pixels(tmp_path / "page.png").std() > 0


def test_what_does_not_touch_the_numbers_is_left_out():
    assert "mirrored" not in settings_of(row={"kid": 1.0}) and "distance" not in settings_of()
    afterwards = {"num_samples": 5, "networks": "inception, legacy resize; LPIPS (vgg)", "mirrored": True}
    runs = [
        compared("a", [{"kid": 1.0}], **settings_of(facts=afterwards)),
        compared("b", [{"kid": 1.0}], **settings_of()),
    ]
    assert comparison.remarks(runs) == []


@pytest.mark.parametrize("metrics", ["kid", "nearest", "kid,diversity", "layout"])
@pytest.mark.parametrize("discriminator", ["fastgan", "both"])
def test_evaluations_while_training_are_described_as_others_are(metrics, discriminator, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fastgan_jax.evaluation.features.PROJECTED_WEIGHTS", "squeezenet_caffe")
    cache_random_squeezenet()
    config = base.get_config()
    config.eval.update(metrics=metrics, features="squeeze_caffe")
    config.loss.perceptual_net, config.model.discriminator = "squeeze_caffe", discriminator
    assert (
        networks_in_words(config) == Evaluator(config, load_networks(config), IMAGES, "content", tmp_path).description
    )


def test_pauses_do_not_count_as_training():
    lines = [{"step": step, "wall_time": 60.0 * step + (step > 3) * 9000} for step in range(6)]
    assert comparison._minutes(lines, 5) == 4 and comparison._minutes(lines, 2) == 2
    assert comparison._minutes(lines[:1], 5) is None


def copy_of(smoke_run: Path, folder: Path) -> Path:
    """A run folder with the same checkpoints, in which an evaluation can be left."""
    folder.mkdir(parents=True)
    for name in ("checkpoints", "data", "config.json"):
        (folder / name).symlink_to(smoke_run / name)
    shutil.copy(smoke_run / "metrics.jsonl", folder)
    return folder


def test_recorded_numbers_are_shown(smoke_run, tmp_path, capsys):
    first, second = (copy_of(smoke_run, tmp_path / name / "run") for name in ("x", "y"))
    facts = {"num_samples": 12, "num_real": 20, "real": "training set", "seed": 0, "networks": "none"}
    record = facts | {"checkpoints": [{"step": 0, "layout": 9.0}, {"step": 4, "layout": 3.0}]}
    (first / "evaluation.json").write_text(json.dumps(record))
    with open(second / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 4, "eval/layout": 2.0}) + "\n")
    out = tmp_path / "page.png"
    assert run("compare", first, second, "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf" *{first} +4 +[\d.]+ +3.0000", printed[1]) and printed[2].endswith(" 2.0000")
    assert "num_samples 5000, not 12" in printed[3] and printed[-2:] == [str(out), str(out.with_suffix(".json"))]
    written = json.loads(out.with_suffix(".json").read_text())
    assert [entry["last"]["layout"] for entry in written["runs"]] == [3.0, 2.0] and len(written["remarks"]) == 1
    assert written["runs"][0]["settings"]["real"] == "the demo images (20, seed 0)"
    page = pixels(out)
    assert min(page.shape[:2]) > 400
    # Both show the same latents of the same model.
    expected = fastgan_jax.load(smoke_run).sample(16, 0)
    for folder in (first, second):
        np.testing.assert_array_equal(comparison.read_run(folder, "latest", 16, 0).images, expected)


def test_runs_are_evaluated_alike(smoke_run, tmp_path, capsys):
    out = tmp_path / "page.png"
    assert run("compare", smoke_run, "--metrics", "layout,swd", "--num", 12, "--samples", 2, "--out", out) == 0
    (entry,) = json.loads(out.with_suffix(".json").read_text())["runs"]
    assert [row["step"] for row in entry["history"]] == [0, 2, 4] and entry["settings"]["num_samples"] == 12
    assert entry["last"] == entry["history"][-1] and set(entry["last"]) == {"step", "layout", "swd", "swd_64", "swd_32"}
    assert "layout" in capsys.readouterr().out
    given = Evaluation(entry["history"], {"num_samples": 12})
    assert comparison.read_run(smoke_run, 2, 2, 0, given).last["step"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num", "5"], "--num without --metrics: the recorded numbers are shown; add --metrics"),
        (["--metrics", "layot"], "eval.metrics='layot': must be names among"),
        (["--step", "3"], "no checkpoint 3"),
        (["nothing"], "nothing"),
    ],
)
def test_what_is_wrong_is_told_before_the_work(smoke_run, tmp_path, capsys, words, message):
    assert run("compare", smoke_run, *words, "--out", tmp_path / "page.png") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.fixture
def other_run(smoke_run, tmp_path, monkeypatch):
    """A run folder, and a dictionary of fields that its configuration has in place of those of the smoke run."""
    folder, fields, original = copy_of(smoke_run, tmp_path / "other"), {}, checkpoint.read_config

    def changed(path):
        config = original(path)
        for field, value in fields.items() if path.is_relative_to(folder) else ():
            group, name = field.split(".")
            config[group][name] = value
        return config

    monkeypatch.setattr(checkpoint, "read_config", changed)
    return folder, fields


def test_the_images_of_all_runs_are_read_before_the_first_evaluation(
    smoke_run, other_run, tmp_path, capsys, monkeypatch
):
    folder, fields = other_run
    fields |= {"data.demo_images": None, "data.path": "/gone"}
    monkeypatch.setattr(evaluator, "evaluate_run", lambda *_: pytest.fail("an evaluation"))
    assert run("compare", smoke_run, folder, "--metrics", "layout", "--out", tmp_path / "page.png") == 2
    assert "are no longer in data.path=/gone: give their folder with --data" in capsys.readouterr().err


def test_no_run_is_judged_by_the_own_network_of_another(smoke_run, other_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for file in ("efficientnet_lite0", "squeezenet_caffe"):
        store.cached_path(file).write_bytes(b"")
    folder, fields = other_run
    fields |= {"model.discriminator": "projected", "eval.num_samples": 7}
    used = []

    def evaluated(_run, steps, config, _images):
        used.append((config.eval.features, config.eval.num_samples))
        return Evaluation([{"step": step, "kid": 1.0} for step in steps], {})

    monkeypatch.setattr(evaluator, "evaluate_run", evaluated)
    command = ("compare", smoke_run, folder, "--metrics", "kid,layout", "--samples", 1, "--out")
    assert run(*command, tmp_path / "page.png") == 0
    assert used == [("squeeze_caffe", 5000)] * 2


def test_a_damaged_record_is_named(smoke_run, tmp_path, capsys):
    folder = copy_of(smoke_run, tmp_path / "run")
    (folder / "evaluation.json").write_text("{")
    assert run("compare", folder, "--out", tmp_path / "page.png") == 2
    assert "evaluation.json is damaged" in capsys.readouterr().err
