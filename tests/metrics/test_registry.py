"""The registry of metrics: a new metric is one entry, and its documentation follows."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from configs import smoke
from fastgan_jax.evaluation import results
from fastgan_jax.evaluation.evaluator import Evaluation, Evaluator, load_networks
from fastgan_jax.metrics.registry import METRICS, Metric, Output, beside, output, rank, ranked
from fastgan_jax.report.page import write_report
from fastgan_jax.runs import config as configuration

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"

# All that a new metric needs.
BRIGHTNESS = Metric(
    (
        Output("brightness", "How much brighter samples are than training images.", "lower"),
        Output("brightness_real", "Mean value of training images.", role="baseline"),
    ),
    needs="images",
    fewest=(1, 1),
    compute=lambda real, fake: {
        "brightness": float(abs(fake.images.mean() - real.images.mean())),
        "brightness_real": real.once("brightness", lambda: float(real.images.mean())),
    },
    protocol=lambda num_samples, num_real, mirrored: f"means of {num_samples} and {num_real} images",
)


@pytest.fixture
def brightness(monkeypatch):
    """The new metric among the others."""
    monkeypatch.setitem(METRICS, "brightness", BRIGHTNESS)


@pytest.mark.usefixtures("brightness")
def test_a_new_metric_is_one_entry(tmp_path):
    config = smoke.get_config()
    overrides = {"eval.metrics": "brightness", "eval.best_metric": "brightness", "eval.every": "1"}
    configuration.apply_overrides(config, overrides.items())
    configuration.validate(config)  # its rules take the new names

    real = np.full((3, 64, 64, 3), 100, np.uint8)
    evaluator = Evaluator(config, load_networks(config), real, "content", tmp_path)
    assert evaluator.protocol == {"brightness": f"means of {config.eval.num_samples} and 3 images"}
    rows = [{"step": step, **evaluator.evaluate_images(real[:2] + value)} for step, value in enumerate((50, 10, 20))]
    facts = {"num_samples": 2, "num_real": 3, "real": "training set", "networks": "none", "mirrored": True}
    evaluation = Evaluation(rows, facts | {"run": "x", "protocol": evaluator.protocol})

    table = results.table(evaluation).splitlines()
    assert table[2].split() == ["1", "10.0000*"] and table[-1] == "real images alone: brightness_real 100.0000"
    results.plot(tmp_path / "x.png", evaluation)
    assert (tmp_path / "x.png").stat().st_size > 1000

    (tmp_path / "config.json").write_text(json.dumps({"config": config.to_dict()}))
    results.write_json(tmp_path / "evaluation.json", evaluation)
    page = write_report(tmp_path).read_text()
    assert "Lower is better; best at iteration 1: 10. How much brighter samples are than training images." in page
    assert "brightness_real 100" in page and "brightness: means of" in page


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_row_in_the_documentation(name):
    outputs = METRICS[name].outputs
    (row,) = re.findall(rf"^\| `{name}` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    numbers, better, _ = row.split(" | ")
    assert numbers == ", ".join(each.name for each in outputs)
    directions = {each.better for each in outputs if each.better}
    assert not directions or directions == {better}


def test_outputs_have_names_of_their_own_and_a_meaning():
    outputs = [each for metric in METRICS.values() for each in metric.outputs]
    assert len({each.name for each in outputs}) == len(outputs)
    assert all(each.meaning.endswith(".") for each in outputs)
    assert all(metric.outputs[0].role == "value" for metric in METRICS.values())


def test_what_stands_beside_an_output_follows_from_its_metric():
    assert beside("kid", "spread") == ["kid_spread"] and beside("diversity", "baseline") == ["diversity_real"]
    assert beside("recall", "baseline") == beside("unknown", "baseline") == []
    assert output("unknown").better is None and "recall" in ranked() and "diversity" not in ranked()


def test_ranks_follow_the_direction():
    assert rank("fid", 1.0) < rank("fid", 2.0) < rank("fid", None)
    assert rank("recall", 0.9) < rank("recall", 0.1) < rank("recall", float("nan"))
