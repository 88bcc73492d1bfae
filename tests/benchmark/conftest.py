"""A small workload, compiled once for all tests of this folder, and its result."""

from collections.abc import Callable

import jax
import ml_collections
import pytest

from configs import smoke
from fastgan_jax.benchmark import results, workload


@pytest.fixture(scope="session")
def tiny_config() -> Callable[[], ml_collections.ConfigDict]:
    """Makes the configuration of configs/smoke.py with less to compile."""

    def make() -> ml_collections.ConfigDict:
        config = smoke.get_config()
        config.model.decoders = "big"
        config.augment.policy = ""
        return config

    return make


@pytest.fixture(scope="session")
def runner(tiny_config) -> workload.Runner:
    """The workload of a tiny configuration, compiled and warm; `cache_hits` programs came out of the cache."""
    hits = []

    def listen(event: str, **_) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    work = workload.make_workload(tiny_config())
    jax.monitoring.register_event_listener(listen)
    try:
        made = workload.Runner(work)
    finally:
        jax.monitoring.unregister_event_listener(listen)
    made.cache_hits = len(hits)
    return made


@pytest.fixture(scope="session")
def result(tiny_config) -> results.Result:
    """A result like that of timing it, on a CPU."""
    flops = {"counted": 4e9, "executed": 3e9, "parts": {"G forward": 1e9}}
    known = results.config_facts(tiny_config()) | {
        "program": "fastgan_jax",
        "device": "cpu",
        "backend": "cpu",
        "versions": results.versions("jax"),
        "arithmetic": "float32",
        "iterations_per_call": 1,
        "compile_seconds": {"cold": 20.0, "cached": 2.0},
        "memory": {"allocator_peak": None, "program": {"total": 123_000_000}},
        "flops_per_iteration": flops,
    }
    return results.complete(known, [0.5, 0.4], 2)


@pytest.fixture(scope="session")
def changed(result) -> Callable[..., results.Result]:
    """Makes a result whose times are `factor` times as long, with other values of some keys."""

    def make(factor: float, **other) -> results.Result:
        seconds = [factor * block / 1e3 for block in result["ms_per_iteration"]["blocks"]]
        return results.complete(result | other, seconds, 1)

    return make
