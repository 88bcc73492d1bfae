"""Runs side by side: what is shown of each, what cannot be compared, and the command."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tool_modules import pixels, run

import fastgan_jax
from fastgan_jax.evaluation import comparison
from fastgan_jax.evaluation.comparison import Compared
from fastgan_jax.evaluation.evaluator import Evaluation

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
    (line,) = comparison.remarks([compared("a", []), compared("b", row)])
    assert line.startswith("no evaluation of a is recorded: add --metrics")


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
    assert re.fullmatch(rf" *{first} +4 +[\d.]+ +3.0000", printed[1]) and printed[2].endswith("2.0000*")
    assert "num_samples 5000, not 12" in printed[3] and printed[-2:] == [str(out), str(out.with_suffix(".json"))]
    written = json.loads(out.with_suffix(".json").read_text())
    assert [entry["last"]["layout"] for entry in written["runs"]] == [3.0, 2.0] and len(written["remarks"]) == 1
    assert written["runs"][0]["settings"]["real"] == "20 demo images"
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


def test_a_damaged_record_is_named(smoke_run, tmp_path, capsys):
    folder = copy_of(smoke_run, tmp_path / "run")
    (folder / "evaluation.json").write_text("{")
    assert run("compare", folder, "--out", tmp_path / "page.png") == 2
    assert "evaluation.json is damaged" in capsys.readouterr().err
