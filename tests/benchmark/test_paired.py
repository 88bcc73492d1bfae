"""Programs in processes of their own are timed in turn."""

import sys

import pytest

from fastgan_jax.benchmark import paired, results
from fastgan_jax.errors import UserError

SIDE = """
import sys
from fastgan_jax.benchmark import paired


class Stub:
    def time_block(self, iterations):
        print("a library's remark")
        return iterations * float(sys.argv[1])
    def result(self, seconds, iterations):
        return {"program": sys.argv[1], "seconds": seconds}
paired.answer(Stub())
"""


def side(seconds: str):
    return paired.started(seconds, [sys.executable, "-c", SIDE, seconds])


def test_sides_are_timed_in_turn():
    with side("0.5") as first, side("2") as second:
        both = paired.alternate([first, second], iterations=3, blocks=4)
    assert both["results"]["0.5"] == {"program": "0.5", "seconds": [1.5] * 4}
    assert both["results"]["2"] == {"program": "2", "seconds": [6.0] * 4}
    assert both["ratios"]["2"]["blocks"] == [4.0] * 4
    (line,) = results.ratio_lines(both)
    assert line.startswith("time of 2 / time of 0.5: median 4.000, quartiles 4.000 to 4.000")
    assert first.process.returncode == second.process.returncode == 0


def test_a_side_that_ends_early_is_named():
    broken = paired.started("broken", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match="the broken side ended with exit code 3"), broken:
        pass


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
