"""Results of evaluations: tables, JSON, and warnings."""

import json

from fastgan_jax.evaluation import results
from fastgan_jax.evaluation.evaluator import Evaluation


def test_a_table_ends_with_warnings_in_words():
    rows = [{"step": step, "kid": kid, "diversity": 0.5} for step, kid in enumerate([3.0, 1.0, 2.0, 3.0, 4.0])]
    evaluation = Evaluation(rows, {"mirrored": True, "trained_on": True})
    for metric in ("kid", "fid"):  # one that is not among the numbers gives way to the first that is
        (line,) = results.warnings(evaluation, metric)
        assert line.startswith("over-training: kid was best at iteration 1 (1) and has risen to 4")


def test_what_is_no_number_is_null_in_json(tmp_path):
    evaluation = Evaluation([{"step": 0, "kid": float("nan")}], {"run": "x"})
    results.write_json(tmp_path / "x.json", evaluation, ["a warning"])
    expected = {"run": "x", "checkpoints": [{"step": 0, "kid": None}], "warnings": ["a warning"]}
    assert json.loads((tmp_path / "x.json").read_text()) == expected


def test_the_best_row_follows_the_direction_of_its_number():
    rows = [{"step": 0, "fid": 5.0, "recall": 0.1}, {"step": 1, "fid": 4.0, "recall": 0.3}, {"step": 2, "fid": 4.5}]
    assert results.best_row(rows, "fid")["step"] == 1
    assert results.best_row(rows[:2], "recall")["step"] == 1


def test_ties_are_not_starred():
    rows = [
        {"step": step, "recall": recall, "kid": kid} for step, recall, kid in ((0, 0.0, 3), (1, 0.0, 2), (2, 0.0, 1))
    ]
    assert results.best_row(rows, "recall") is None
    facts = {"run": "x", "mirrored": True}
    table = results.table(Evaluation(rows, facts)).splitlines()
    assert [line.count("*") for line in table] == [0, 0, 0, 1] and table[3].split() == ["2", "0.0000", "1.0000*"]
    rows[1]["recall"] = 0.00001  # better, but not in what is shown
    assert results.best_row(rows, "recall") is None
    rows[1]["recall"] = 0.1
    assert results.best_row(rows, "recall") is rows[1]


def test_only_training_images_can_be_memorized():
    row = {"step": 4, "nearest": 0.01, "nearest_cropped": 0.3, "diversity": 0.1, "diversity_real": 0.5}
    for facts, expected in (({"trained_on": True}, 2), ({"trained_on": False}, 0)):
        assert len(results.warnings(Evaluation([row], {"mirrored": True} | facts), "fid")) == expected
    recorded = ({"real": "training set"}, {"real": "class 1 of the training set"}, {"real": "/my/training set"}, {})
    assert [results.upgraded(facts)["trained_on"] for facts in recorded] == [True, True, False, True]


def test_without_networks_none_are_named():
    facts = {"run": "x", "num_samples": 5, "num_real": 4, "real": "training set", "networks": "", "protocol": {}}
    assert results.summary(Evaluation([], facts)) == "x: 5 samples against 4 real images"
