"""Estimates of time: the line before a run on a CPU."""

import pytest

from configs import fewshot256, smoke
from fastgan_jax.benchmark import estimate
from fastgan_jax.benchmark.estimate import convolution_speed, duration, hours_on_cpu


def test_long_training_on_a_cpu_is_announced_in_hours(monkeypatch):
    monkeypatch.setattr(estimate.jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(estimate, "counted_flops", lambda config: {"counted": 886e9})
    monkeypatch.setattr(estimate, "convolution_speed", lambda: 886e9 / 4 / estimate.SHARE)
    line = hours_on_cpu(fewshot256.get_config(), 5_000)
    assert line.startswith("on this CPU 45,000 iterations at 256x256 take about 50 hours (4 s each)")
    assert line.endswith("the presets projected_cpu and cpu128 are made for CPUs")
    assert "cpu128" not in hours_on_cpu(fewshot256.get_config(), 49_000)
    assert hours_on_cpu(fewshot256.get_config(), 50_000) is None
    assert hours_on_cpu(smoke.get_config(), 0) is None
    monkeypatch.setattr(estimate.jax, "default_backend", lambda: "gpu")
    assert hours_on_cpu(fewshot256.get_config(), 0) is None


def test_the_speed_of_this_machine_is_plausible():
    assert 1e8 < convolution_speed() < 1e15


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 seconds"), (119, "119 seconds"), (150, "2.5 minutes"), (7200, "2.0 hours"), (500_000, "139 hours")],
)
def test_durations_are_in_the_unit_that_suits(seconds, text):
    assert duration(seconds) == text
