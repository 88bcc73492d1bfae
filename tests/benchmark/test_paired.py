"""Programs in processes of their own are timed in turn."""

import json
import sys

import pytest

from fastgan_jax.benchmark import paired
from fastgan_jax.errors import UserError

SIDE = """
import json
import sys
from fastgan_jax.benchmark import paired


class Stub:
    def time_block(self, iterations):
        print("a library's remark")
        return iterations * float(sys.argv[1])
    def result(self, seconds, iterations):
        with open(sys.argv[2], encoding="utf-8") as file:
            return json.load(file) | {"notes": seconds}
paired.answer(Stub())
"""


def test_sides_are_timed_in_turn(result, tmp_path, capfd):
    (tmp_path / "result.json").write_text(json.dumps(result))
    commands = {s: [sys.executable, "-c", SIDE, s, str(tmp_path / "result.json")] for s in ("0.5", "2")}
    paired.compare(commands, iterations=3, blocks=4, json_path=tmp_path / "both.json")
    both = json.loads((tmp_path / "both.json").read_text())
    assert both["results"] == {name: result | {"notes": [3 * float(name)] * 4} for name in commands}
    assert both["ratios"]["2"]["blocks"] == [4.0] * 4
    assert "time of 2 / time of 0.5: median 4.000, quartiles 4.000 to 4.000" in capfd.readouterr().out


def test_a_side_that_ends_early_is_named():
    with pytest.raises(UserError, match="the broken side ended with exit code 3"):
        paired.compare({"broken": [sys.executable, "-c", "raise SystemExit(3)"]}, 1, 1, None)


class Stub:
    """A program that takes a second an iteration."""

    def time_block(self, iterations: int) -> float:
        return float(iterations)

    def result(self, seconds: list[float], iterations: int) -> dict:
        return {"seconds": seconds}


@pytest.mark.parametrize("second", ["2\n", "many\n"])
def test_requests_are_the_same_number(second, monkeypatch):
    monkeypatch.setattr(sys, "stdin", ["1\n", second])
    with pytest.raises(UserError, match="must be a number of iterations, the same in every line"):
        paired.answer(Stub())


def test_systems_that_cannot_confine_processes_say_so(monkeypatch):
    monkeypatch.delattr(paired.os, "sched_setaffinity", raising=False)
    with pytest.raises(UserError, match="--threads 1: this system cannot"):
        paired.limit_cores(1)
