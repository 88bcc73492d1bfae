"""The compiled program: one trace, one compilation, the same result however many iterations a call makes."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from configs import base
from fastgan_jax.errors import UserError
from fastgan_jax.gan import program
from fastgan_jax.gan.spec import NO_PRETRAINED
from fastgan_jax.gan.state import create_train_state

pytestmark = pytest.mark.slow


def copy(state):
    return jax.tree.map(lambda x: x.copy(), state)


@pytest.fixture(scope="module")
def resident(small):
    """The program of one iteration on a resident set, compiled as training compiles it."""
    function = program.make_program(small.spec, iterations=1, resident=True, unroll=False)
    return program.compile_program(
        function, small.state, NO_PRETRAINED, small.images, small.labels, np.zeros((1, 4), np.int32)
    )


def test_scanned_iterations_equal_single_ones(small):
    # Plain gradient descent: Adam would turn rounding of gradients near zero into whole steps.
    narrow = {"generator": small.spec.generator.clone(ngf=1), "discriminator": small.spec.discriminator.clone(ndf=1)}
    spec = dataclasses.replace(small.spec, optimizer=optax.sgd(1e-3), **narrow)  # CPUs are slow in loops
    state = create_train_state(jax.random.key(0), spec)
    indices = np.array([[0, 1, 2, 3], [3, 1, 0, 0]])
    single, scanned = (jax.jit(program.make_program(spec, iterations=k, resident=True, unroll=False)) for k in (1, 2))
    at_once, metrics_at_once = scanned(state, NO_PRETRAINED, small.images, small.labels, indices)
    for row in indices:
        state, metrics = single(state, NO_PRETRAINED, small.images, small.labels, row[None])
    assert int(at_once.step) == 2
    # The compiler may order float32 sums differently in the two programs: a few units in the sixth digit.
    for a, b in zip(jax.tree.leaves(state.generator.params), jax.tree.leaves(at_once.generator.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    for name, value in metrics.items():
        assert float(metrics_at_once[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-4), name


def test_resident_rows_are_drawn_by_index(small, resident):
    compiled, _ = resident
    indices = np.array([[2, 0, 3, 1]], np.int32)
    _, metrics = compiled(copy(small.state), NO_PRETRAINED, small.images, small.labels, indices)
    _, expected = small.step(small.state, small.images[indices[0]], small.labels)
    assert int(metrics.pop(program.FIRST_NONFINITE)) == 0
    for name, value in metrics.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-4), name


@pytest.mark.parametrize(("name", "place", "expected"), [("loss/g", 1, 12), ("grad_norm/d", 0, 11), (None, None, 0)])
def test_the_guard_names_the_first_iteration_that_is_not_finite(name, place, expected):
    metrics = {each: np.ones(3, np.float32) for each in program.GUARDED}
    if name:
        metrics[name][place:] = np.nan
        metrics["loss/d"][2] = np.inf
    assert int(program.first_nonfinite(metrics, jax.numpy.int32(10))) == expected


def test_streamed_batches_are_taken_as_they_come(small):
    streamed = program.make_program(small.spec, iterations=1, resident=False, unroll=False)
    indices = np.array([[2, 0, 3, 1]])
    jaxpr = jax.make_jaxpr(streamed)(small.state, NO_PRETRAINED, small.images[indices], small.labels[indices])
    assert jaxpr.in_avals[-2].shape == (1, 4, 64, 64, 3)


def test_the_state_is_donated_and_memory_reported(small, resident):
    compiled, needed = resident
    state = copy(small.state)
    assert needed > sum(leaf.nbytes for leaf in jax.tree.leaves(state.generator.params))
    compiled(state, NO_PRETRAINED, small.images, small.labels, np.zeros((1, 4), np.int32))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.generator.params))


@pytest.mark.parametrize(
    ("scan", "backend", "iterations", "first", "expected"),
    [
        (None, "cpu", 1000, 0, 1),
        (None, "gpu", 1000, 0, 10),
        (None, "gpu", 1000, 995, 5),
        (4, "cpu", 1000, 0, 4),
        (None, "gpu", 999, 0, 1),
        (None, "gpu", 12345, 1235, 5),
        (None, "gpu", 2003, 1003, 1),
        (6, "cpu", 36, 1, 1),
    ],
)
def test_iterations_per_call_divide_every_interval(scan, backend, iterations, first, expected):
    config = base.get_config()
    config.train.scan = scan
    config.train.iterations = iterations
    per_call = program.iterations_per_call(config, first, backend)
    assert per_call == expected
    steps = range(first, iterations + 1, per_call)
    assert {*range(0, iterations + 1, config.train.log_every)} - {*range(first)} <= {*steps} and steps[-1] == iterations


def test_iterations_per_call_divide_the_interval_of_evaluations():
    config = base.get_config()
    config.eval.every = 25
    assert program.iterations_per_call(config, 0, "gpu") == 5


def test_out_of_memory_says_what_to_lower():
    with (
        pytest.raises(UserError, match=r"about 12\.0 GB.*train\.batch_size.*train\.remat"),
        program.memory_advice(program.TRAINING_CURE, 12 * 10**9),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with pytest.raises(jax.errors.JaxRuntimeError), program.memory_advice(program.TRAINING_CURE):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
