"""The program that is timed is that of training, and its result says what was timed."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from fastgan_jax.benchmark import operation_counts, paired, results, workload
from fastgan_jax.data.order import batch_indices
from fastgan_jax.errors import UserError
from fastgan_jax.gan.spec import NO_PRETRAINED
from fastgan_jax.models import lpips

pytestmark = pytest.mark.slow  # a training step is compiled


@pytest.fixture(scope="module")
def timed(runner) -> results.Result:
    return runner.result([runner.time_block(2) for _ in range(2)], 2)


def test_a_result_has_every_key_and_its_numbers_agree(timed, tiny_config):
    assert tuple(timed) == results.RESULT_KEYS
    assert json.loads(json.dumps(timed)) == timed
    per_second = 1e3 / timed["ms_per_iteration"]["median"]
    assert timed["images_per_second"] == pytest.approx(timed["batch_size"] * per_second)
    assert timed["minutes_per_10k"] == pytest.approx(1e4 / per_second / 60)
    flops = timed["flops_per_iteration"]
    assert flops["counted"] == timed["batch_size"] * sum(flops["parts"].values())
    for name in ("counted", "executed"):
        assert timed["teraflops"][name] == pytest.approx(flops[name] * per_second / 1e12)
    assert (timed["resolution"], timed["batch_size"], timed["reconstruction"]) == (64, 4, "l1")
    assert (timed["precision"], timed["remat"], timed["iterations_per_call"]) == ("float32", "none", 1)
    assert timed["config"] == tiny_config().to_dict()
    assert timed["peak_teraflops"] is None and timed["memory"]["allocator_peak"] is None  # on CPU


def test_a_result_counts_the_networks_parameters(runner, timed):
    generator = sum(np.size(leaf) for leaf in jax.tree.leaves(jax.device_get(runner.state.ema_params)))
    assert timed["parameters"]["generator"] == generator
    assert timed["parameters"]["discriminator"] > 0


def test_the_second_compilation_comes_from_a_cache_that_is_gone_afterwards(runner):
    assert runner.cache_hits == 1
    assert runner.compile_seconds.keys() == {"cold", "cached"}
    assert "fastgan-jax-tests" in jax.config.jax_compilation_cache_dir


def test_memory_is_without_the_set_of_images(runner, timed):
    memory, images = timed["memory"]["program"], runner.workload.inputs[1]
    assert memory["images"] == images.nbytes == workload.NUM_IMAGES * 64 * 64 * 3
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(runner.state.ema_params))
    assert memory["total"] + memory["images"] == runner.needed
    assert memory["arguments"] > state + images.nbytes


def test_blocks_are_whole_calls(runner):
    with pytest.raises(UserError, match="--iterations 0: one call makes 1 iteration"):
        runner.time_block(0)
    with pytest.raises(UserError, match=r"--iterations 6: one call makes 4 iteration.*--config\.train\.scan"):
        dataclasses.replace(runner.workload, per_call=4).check_block(6)


def test_executed_operations_are_of_an_iteration_however_many_a_call_makes(runner, timed):
    once = timed["flops_per_iteration"]["executed"]
    assert 0 < once < timed["flops_per_iteration"]["counted"], "the reference computes gradients that nobody uses"
    for unroll in (True, False):
        pretrained, images, labels, indices = runner.workload.inputs
        inputs = (pretrained, images, labels, jnp.tile(indices, (2, 1)))
        twice = dataclasses.replace(runner.workload, per_call=2, unroll=unroll, inputs=inputs)
        assert operation_counts.count(twice.program(), twice.state, *twice.inputs) == 2 * once


def test_every_call_is_an_iteration_of_training(runner):
    before = int(runner.state.step)
    runner.time_block(3)
    assert int(runner.state.step) == before + 3


def test_a_streamed_set_is_read_in_the_order_of_training(tiny_config):
    config = tiny_config()
    config.data.resident = "false"
    config.train.scan = config.train.log_every = 2
    work = workload.make_workload(config)
    first, second = itertools.islice(work.calls(), 2)
    for call, (pretrained, images, labels) in enumerate((first, second)):
        rows = batch_indices(0, 2 * call, 2, config.train.batch_size, workload.NUM_IMAGES)
        np.testing.assert_array_equal(images, work.streamed.images[rows])
        assert pretrained == NO_PRETRAINED and labels.shape == (2, config.train.batch_size)
    traced = jax.eval_shape(work.program(), work.state, *first)
    assert jax.tree.map(jnp.shape, traced[0].ema_params) == jax.tree.map(jnp.shape, work.state.ema_params)


def test_a_profile_is_written(runner, tmp_path):
    runner.profile(str(tmp_path), calls=1)
    assert list(tmp_path.rglob("*.trace.json.gz")) and list(tmp_path.rglob("*.xplane.pb"))


def test_blocks_are_timed_on_command(runner, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", ["2\n", "2\n"])
    paired.answer(runner)
    ready, *seconds, last = [line.removeprefix(paired.MARK) for line in capsys.readouterr().out.splitlines()]
    assert ready == "ready" and len(seconds) == 2
    found = json.loads(last)
    assert tuple(found) == results.RESULT_KEYS and found["iterations_per_block"] == 2
    assert found["ms_per_iteration"]["blocks"] == pytest.approx([1e3 * float(block) / 2 for block in seconds])


@pytest.mark.parametrize(
    ("precision", "products", "device", "expected"),
    [
        ("float32", None, ("gpu", (8, 0)), "tfloat32"),
        ("float32", None, ("gpu", (7, 5)), "float32"),  # Turing has no TF32
        ("float32", "highest", ("gpu",), "float32"),
        ("float32", None, ("tpu",), "bfloat16"),
        ("float32", None, ("cpu",), "float32"),
        ("bfloat16", "highest", ("gpu",), "bfloat16"),
    ],
)
def test_arithmetic_is_what_the_device_multiplies_in(precision, products, device, expected):
    with jax.default_matmul_precision(products):
        assert workload.arithmetic(precision, *device) == expected


def test_random_perceptual_parameters_fit_the_network():
    config = base.get_config()
    config.loss.perceptual_net = "squeeze"
    params = workload.random_pretrained(config).distance
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    features = jax.eval_shape(lambda params, x: lpips.embed("squeeze", params, x), params, images)
    assert {depth: features[depth].shape[-1:] for depth in features} == jax.tree.map(np.shape, params["heads"])
    config.loss.reconstruction = "l1"
    assert workload.random_pretrained(config) == NO_PRETRAINED
