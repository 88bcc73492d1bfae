"""Benchmarks: what is counted, what a result says, and how two programs are timed in turn. Speed itself is no test."""

import dataclasses
import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_modules import load_tool

from configs import base, smoke
from fastgan_jax.benchmark import operation_counts
from fastgan_jax.benchmark import paired as benchmark_sides
from fastgan_jax.benchmark import results as report
from fastgan_jax.benchmark import workload as benchmark
from fastgan_jax.benchmark.device_peaks import PEAKS, peak_teraflops
from fastgan_jax.data.order import batch_indices
from fastgan_jax.errors import UserError
from fastgan_jax.models import lpips as perceptual
from fastgan_jax.models.variants import Compute

ROOT = Path(__file__).resolve().parents[1]

# Operations of the reference program's iteration in 10^9 per image, at 256, 512 and 1024.
REFERENCE = {
    "G forward": (19.47, 26.83, 31.89),
    "D on real, forward": (10.91, 10.96, 11.33),
    "D on real, backward": (21.75, 21.80, 22.44),
    "D on fake, forward": (3.28, 3.32, 3.69),
    "D on fake, backward": (6.48, 6.53, 7.17),
    "G step: D forward": (3.28, 3.32, 3.69),
    "G step: backward through D": (6.55, 6.64, 7.38),
    "G step: backward through G": (38.92, 53.64, 63.76),
    "perceptual forward": (60.15, 60.15, 60.15),
    "perceptual backward": (30.08, 30.08, 30.08),
}
REFERENCE_PER_ITERATION = (1607, 1786, 1932)  # at batch size 8
RESOLUTIONS = (256, 512, 1024)


tool = load_tool("benchmark")


# Operation counts


@pytest.mark.parametrize("index", range(3), ids=map(str, RESOLUTIONS))
def test_counts_are_those_of_the_reference(index):
    config = base.get_config()
    config.model.resolution = RESOLUTIONS[index]
    counts = benchmark.counted_flops(config)
    assert counts["parts"].keys() == REFERENCE.keys()
    for part, expected in REFERENCE.items():
        assert counts["parts"][part] / 1e9 == pytest.approx(expected[index], rel=0.006), part
    assert counts["counted"] / 1e9 == pytest.approx(REFERENCE_PER_ITERATION[index], rel=0.002)


def test_counts_do_not_depend_on_how_the_networks_are_computed(small):
    variants = Compute("phase", "space_to_depth", "products", "output", "joint")
    plain, special = (
        dataclasses.replace(
            small.spec,
            generator=small.spec.generator.clone(**options),
            discriminator=small.spec.discriminator.clone(**options),
        )
        for options in ({}, {"remat": True, "dtype": jnp.bfloat16, "variants": variants})
    )
    counts = operation_counts.count_iteration(plain, None)
    assert operation_counts.count_iteration(special, None) == counts
    assert counts["perceptual forward"] == counts["perceptual backward"] == 0


def shape(*sides: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sides, jnp.float32)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.sampled_from([1, 2]))
def test_a_convolution_and_its_gradients_count_alike(batch, width_in, width_out, stride):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def gradients(x, kernel):
        outputs, pull_back = jax.vjp(convolve, x, kernel)
        return pull_back(outputs)

    arguments = (shape(batch, 8, 8, width_in), shape(stride + 2, stride + 2, width_in, width_out))
    forward = 2 * batch * (8 // stride) ** 2 * width_out * (stride + 2) ** 2 * width_in
    assert operation_counts.count(convolve, *arguments) == forward
    assert operation_counts.count(gradients, *arguments) == 3 * forward


def test_products_count_in_loops_and_inner_functions_but_not_with_vectors():
    def looped(x, matrix):
        return jax.lax.scan(lambda carry, _: (jax.jit(jnp.matmul)(carry, matrix), None), x, length=5)[0]

    assert operation_counts.count(looped, shape(3, 4), shape(4, 4)) == 5 * 2 * 3 * 4 * 4
    assert operation_counts.count(jnp.matmul, shape(4, 4), shape(4)) == 0


# A result


def tiny_config():
    """The configuration of configs/smoke.py with less to compile."""
    config = smoke.get_config()
    config.model.decoders = "big"
    config.augment.policy = ""
    return config


@pytest.fixture(scope="module")
def runner():
    """The workload of a tiny configuration, compiled and warm, and how often a program came out of the cache."""
    hits = []

    def listen(event: str, **_) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    workload = benchmark.make_workload(tiny_config())
    jax.monitoring.register_event_listener(listen)
    try:
        made = benchmark.Runner(workload)
    finally:
        jax.monitoring.unregister_event_listener(listen)
    made.cache_hits = len(hits)
    return made


@pytest.fixture(scope="module")
def result(runner) -> report.Result:
    return runner.result([runner.time_block(2) for _ in range(2)], 2)


def test_a_result_has_every_key_and_its_numbers_agree(result):
    assert tuple(result) == report.RESULT_KEYS
    assert json.loads(json.dumps(result)) == result
    per_second = 1e3 / result["ms_per_iteration"]["median"]
    assert result["images_per_second"] == pytest.approx(result["batch_size"] * per_second)
    assert result["minutes_per_10k"] == pytest.approx(1e4 / per_second / 60)
    flops = result["flops_per_iteration"]
    assert flops["counted"] == result["batch_size"] * sum(flops["parts"].values())
    for name in ("counted", "executed"):
        assert result["teraflops"][name] == pytest.approx(flops[name] * per_second / 1e12)
    assert (result["resolution"], result["batch_size"], result["reconstruction"]) == (64, 4, "l1")
    assert (result["precision"], result["remat"], result["iterations_per_call"]) == ("float32", "none", 1)
    assert result["config"] == tiny_config().to_dict()
    assert result["peak_teraflops"] is None and result["memory"]["allocator_peak"] is None  # on CPU


def test_a_result_counts_the_networks_parameters(runner, result):
    generator = sum(np.size(leaf) for leaf in jax.tree.leaves(jax.device_get(runner.state.ema_params)))
    assert result["parameters"]["generator"] == generator
    assert result["parameters"]["discriminator"] > 0


def test_the_second_compilation_comes_from_a_cache_that_is_gone_afterwards(runner):
    assert runner.cache_hits == 1
    assert runner.compile_seconds.keys() == {"cold", "cached"}
    assert "fastgan-jax-tests" in jax.config.jax_compilation_cache_dir


def test_memory_is_without_the_set_of_images(runner, result):
    memory, images = result["memory"]["program"], runner.workload.inputs[1]
    assert memory["images"] == images.nbytes == benchmark.NUM_IMAGES * 64 * 64 * 3
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(runner.state.ema_params))
    assert memory["total"] + memory["images"] == runner.needed
    assert memory["arguments"] > state + images.nbytes


def test_blocks_are_whole_calls(runner):
    with pytest.raises(UserError, match="--iterations 0: one call makes 1 iteration"):
        runner.time_block(0)
    with pytest.raises(UserError, match=r"--iterations 6: one call makes 4 iteration.*--config\.train\.scan"):
        dataclasses.replace(runner.workload, per_call=4).check_block(6)


def test_executed_operations_are_of_an_iteration_however_many_a_call_makes(runner, result):
    once = result["flops_per_iteration"]["executed"]
    assert 0 < once < result["flops_per_iteration"]["counted"], "the reference computes gradients that nobody uses"
    for unroll in (True, False):
        pretrained, images, labels, indices = runner.workload.inputs
        inputs = (pretrained, images, labels, jnp.tile(indices, (2, 1)))
        twice = dataclasses.replace(runner.workload, per_call=2, unroll=unroll, inputs=inputs)
        assert benchmark.executed_flops(twice) == once


def test_xla_counts_a_loops_body_once(runner, monkeypatch):
    once = runner._xla_flops()
    assert once > 0
    for unroll, expected in ((True, once / 4), (False, once)):
        monkeypatch.setattr(runner, "workload", dataclasses.replace(runner.workload, per_call=4, unroll=unroll))
        assert runner._xla_flops() == expected


def test_every_call_is_an_iteration_of_training(runner):
    before = int(runner.state.step)
    runner.time_block(3)
    assert int(runner.state.step) == before + 3


def test_a_streamed_set_is_read_in_the_order_of_training():
    config = tiny_config()
    config.data.resident = "false"
    config.train.scan = config.train.log_every = 2
    workload = benchmark.make_workload(config)
    first, second = itertools.islice(workload.calls(), 2)
    for call, (pretrained, images, labels) in enumerate((first, second)):
        rows = batch_indices(0, 2 * call, 2, config.train.batch_size, benchmark.NUM_IMAGES)
        np.testing.assert_array_equal(images, workload.streamed.images[rows])
        assert pretrained is None and labels.shape == (2, config.train.batch_size)
    assert workload.batch()[0].shape == (config.train.batch_size, 64, 64, 3)
    traced = jax.eval_shape(workload.program(), workload.state, *first)
    assert jax.tree.map(jnp.shape, traced[0].ema_params) == jax.tree.map(jnp.shape, workload.state.ema_params)


def test_a_profile_is_written(runner, tmp_path):
    runner.profile(str(tmp_path), calls=1)
    assert list(tmp_path.rglob("*.trace.json.gz")) and list(tmp_path.rglob("*.xplane.pb"))


def test_blocks_are_timed_on_command(runner, capsys):
    benchmark_sides.answer(runner, ["2\n", "2\n"])
    ready, *seconds, last = [line.removeprefix(benchmark_sides.MARK) for line in capsys.readouterr().out.splitlines()]
    assert ready == "ready" and len(seconds) == 2
    found = json.loads(last)
    assert tuple(found) == report.RESULT_KEYS and found["iterations_per_block"] == 2
    assert found["ms_per_iteration"]["blocks"] == pytest.approx([1e3 * float(block) / 2 for block in seconds])


@pytest.mark.parametrize("second", ["2\n", "many\n"])
def test_commands_are_the_same_number(result, second):
    with pytest.raises(UserError, match="a command is a number of iterations, always the same"):
        benchmark_sides.answer(StubRunner(result), ["1\n", second])


@pytest.mark.parametrize(
    ("precision", "products", "backend", "expected"),
    [
        ("float32", None, "gpu", "tfloat32"),
        ("float32", "highest", "gpu", "float32"),
        ("float32", None, "tpu", "bfloat16"),
        ("float32", None, "cpu", "float32"),
        ("bfloat16", "highest", "gpu", "bfloat16"),
    ],
)
def test_arithmetic_is_what_the_backend_multiplies_in(monkeypatch, precision, products, backend, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with jax.default_matmul_precision(products):
        assert benchmark.arithmetic(precision) == expected


def test_random_perceptual_parameters_fit_the_network():
    config = base.get_config()
    config.loss.perceptual_net = "squeeze"
    params = benchmark.random_pretrained(config)
    features = jax.eval_shape(lambda params, x: perceptual.embed("squeeze", params, x), params, shape(2, 32, 32, 3))
    assert {depth: features[depth].shape[-1:] for depth in features} == jax.tree.map(np.shape, params["heads"])
    config.loss.reconstruction = "l1"
    assert benchmark.random_pretrained(config) is None


# Phases


# Reports


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
def test_spread_is_ordered(values):
    found = report.spread(values)
    ordered = [found[name] for name in ("min", "quartile_1", "median", "quartile_3", "max")]
    assert np.all(np.diff(ordered) >= -1e-9 * max(values)) and ordered[0] == min(values)
    assert found["blocks"] == values


@pytest.mark.parametrize(
    ("device", "arithmetic", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "tfloat32", 378),
        ("NVIDIA H200", "float32", 67),
        ("NVIDIA A100-SXM4-40GB", "tfloat32", 156),
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA T400", "float32", None),
        ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16", None),
        ("TPU v5 lite", "bfloat16", 197),
        ("cpu", "float32", None),
    ],
)
def test_peaks_are_those_of_the_very_device(device, arithmetic, expected):
    assert peak_teraflops(device, arithmetic) == expected


def test_known_peaks_give_shares(result):
    known = result | {"device": "NVIDIA H100 80GB HBM3", "arithmetic": "tfloat32"}
    found = report.complete(known, [0.5, 0.5], 10)
    assert found["peak_teraflops"] == 494
    assert found["share_of_peak"]["counted"] == pytest.approx(found["flops_per_iteration"]["counted"] / 0.05 / 494e12)
    assert all(peaks.keys() == {"bfloat16", "tfloat32", "float32"} for peaks in PEAKS.values())


def test_a_row_has_a_cell_for_each_column(result):
    header, rule = report.markdown_header().splitlines()
    row = report.markdown_row(result)
    assert header.count("|") == rule.count("|") == row.count("|") == len(report.COLUMNS) + 1
    cells = dict(zip(report.COLUMNS, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
    assert cells["resolution"] == "64" and cells["loss"] == "l1" and cells["remat"] == "none"
    assert "cores" in cells["device"] and "compiled" in cells["memory GB"] and cells["share of peak"] == "-"
    unknown = result | {"memory": {"allocator_peak": None, "program": None}, "remat": None, "backend": "gpu"}
    assert "| not known |" in report.markdown_row(unknown) and "| cpu |" in report.markdown_row(unknown)
    measured = result | {"memory": {"allocator_peak": 3_210_000_000, "program": None}}
    assert "| 3.21 |" in report.markdown_row(measured)


def changed(result: report.Result, factor: float, **other) -> report.Result:
    """A result whose times are so many times as long."""
    return report.complete(result | other, [factor * block / 1e3 for block in result["ms_per_iteration"]["blocks"]], 1)


def test_compare_prints_ratios(result, tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path, factor in zip(paths, (1, 2.5), strict=True):
        report.write_json(path, changed(result, factor))
    assert tool.main(["--compare", *paths]) == 0
    text = capsys.readouterr().out
    assert "ms_per_iteration (median): 2.500" in text and "compile_seconds (cold): 1.000" in text
    assert "memory (allocator_peak): not known of both" in text and "not the same" not in text


def test_compare_says_what_is_not_the_same(result):
    text = report.comparison(changed(result, 1), changed(result, 1, batch_size=16))
    assert "not the same batch_size: 4 and 16" in text


@pytest.mark.parametrize(("content", "message"), [("{", "not a benchmark's JSON file"), ("{}", "not a result")])
def test_compare_refuses_other_files(tmp_path, capsys, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert tool.main(["--compare", str(path), str(path)]) == 2
    assert f"error: {path}: {message}" in capsys.readouterr().err


# The tool


class StubRunner:
    """In place of a compiled workload."""

    def __init__(self, result: report.Result):
        self.made, self.profiled = result, None

    def check_block(self, iterations: int) -> None:
        assert iterations == 4

    def time_block(self, iterations: int) -> float:
        return 0.25 * iterations

    def result(self, seconds: list[float], iterations: int) -> report.Result:
        return report.complete(self.made, seconds, iterations)

    def profile(self, folder: str) -> None:
        self.profiled = folder

    def time_phases(self, iterations: int, blocks: int) -> dict:
        return {"G forward": report.spread([1.0] * blocks)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory", "--against", "train.remat=full"], "--against does nothing beside"),
        (["--phases", "--memory"], "--phases does nothing beside"),
        (["--traced"], "--traced does nothing beside"),
        (["--against", "bfloat16"], "--against 'bfloat16': fields are NAME=VALUE"),
        (["--against", "train.remat=full", "--against", "train.remat=full"], "is given twice"),
        (
            ["--iterations", "7", "--config.train.scan=2", "--config.train.log_every=2"],
            "--iterations 7: one call makes 2",
        ),
    ],
)
def test_the_tool_refuses_what_makes_no_sense(options, message, capsys):
    assert tool.main(["--config", str(ROOT / "configs" / "smoke.py"), *options]) == 2
    assert message in capsys.readouterr().err


def test_sides_that_are_not_of_the_same_thing_say_so(result):
    results = {"one": changed(result, 1), "two": changed(result, 1, batch_size=16)}
    lines = report.ratio_lines({"results": results, "ratios": {"two": report.spread([2.0])}})
    assert lines[0].startswith("time of two / time of one: median 2.000") and lines[1:] == [
        "  not the same batch_size: 4 and 16"
    ]


def test_the_tool_prints_and_writes(result, monkeypatch, tmp_path, capsys):
    stub, path = StubRunner(result), tmp_path / "out" / "result.json"
    monkeypatch.setattr(benchmark, "make_workload", lambda config: stub)
    monkeypatch.setattr(benchmark, "Runner", lambda workload: stub)
    options = ["--iterations", "4", "--blocks", "3", "--json", str(path), "--profile", "trace", "--phases"]
    assert tool.main(["--config", str(ROOT / "configs" / "smoke.py"), *options]) == 0
    written = report.read_json(str(path))
    assert written["ms_per_iteration"]["blocks"] == [250.0] * 3 and written["iterations_per_block"] == 4
    assert written["phases"].keys() == {"G forward"} and stub.profiled == "trace"
    assert report.markdown_row(written) in capsys.readouterr().out


def test_the_memory_table_has_every_combination(runner, monkeypatch, tmp_path, capsys):
    compiled = []

    def compile_program(program, *arguments):
        compiled.append(arguments)
        return runner.compiled, 0.0, 0

    monkeypatch.setattr(benchmark, "compile_program", compile_program)
    monkeypatch.setattr(benchmark, "make_workload", lambda config: dataclasses.replace(runner.workload, config=config))
    path = tmp_path / "memory.json"
    command = ["--config", str(ROOT / "configs" / "smoke.py"), "--json", str(path)]
    choice = ["--resolutions", "64,128", "--batches", "2", "--precisions", "bfloat16", "--remats", "none,blocks"]
    assert tool.main([*command, "--memory-table", *choice]) == 0
    rows = json.loads(path.read_text())
    found = {(row["resolution"], row["batch_size"], row["precision"], row["remat"]) for row in rows}
    assert len(rows) == len(found) == len(compiled) == 4 and (128, 2, "bfloat16", "blocks") in found
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 6 and {line.count("|") for line in printed} == {len(report.MEMORY_COLUMNS) + 1}
    assert tool.main([*command, "--memory"]) == 0
    assert len(json.loads(path.read_text())) == 1


@pytest.mark.parametrize("module", [tool, load_tool("benchmark_pytorch")])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to time: add --config FILE"),
        (["--config", "configs/smoke.py", "--blocks", "0"], "--blocks 0: at least 1"),
        (["--config", "configs/smoke.py", "--iterations", "-1"], "--iterations -1: at least 1"),
        (["--config", "configs/smoke.py", "--threads", "0"], "--threads 0: "),
        (["--config", "configs/smoke.py", "--config.train.remat=some"], "train.remat='some'"),
    ],
)
def test_bad_arguments_are_refused(module, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert module.main(arguments) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_systems_that_cannot_confine_processes_say_so(monkeypatch):
    monkeypatch.delattr(benchmark_sides.os, "sched_setaffinity", raising=False)
    with pytest.raises(UserError, match="--threads 1: this system cannot"):
        benchmark_sides.limit_cores(1)


# Two sides in turn

SIDE = """
import sys
from fastgan_jax.benchmark import paired as benchmark_sides
class Stub:
    def time_block(self, iterations):
        print("a library's remark")
        return iterations * float(sys.argv[1])
    def result(self, seconds, iterations):
        return {"program": sys.argv[1], "seconds": seconds}
benchmark_sides.answer(Stub())
"""


def side(seconds: str) -> benchmark_sides.Side:
    return benchmark_sides.Side(seconds, [sys.executable, "-c", SIDE, seconds], {"PYTHONPATH": str(ROOT)})


def test_sides_are_timed_in_turn():
    with side("0.5") as first, side("2") as second:
        both = benchmark_sides.alternate([first, second], iterations=3, blocks=4)
    assert both["results"]["0.5"] == {"program": "0.5", "seconds": [1.5] * 4}
    assert both["results"]["2"] == {"program": "2", "seconds": [6.0] * 4}
    assert both["ratios"]["2"]["blocks"] == [4.0] * 4
    (line,) = report.ratio_lines(both)
    assert line.startswith("time of 2 / time of 0.5: median 4.000, quartiles 4.000 to 4.000")
    assert first.process.returncode == second.process.returncode == 0


def test_a_side_that_ends_early_is_named():
    with pytest.raises(UserError, match="the broken side ended with exit code 3"):
        benchmark_sides.Side("broken", [sys.executable, "-c", "raise SystemExit(3)"])
