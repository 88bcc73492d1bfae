"""Whole training iterations against the reference program, with recorded weights, images and random draws.

The recording (tests/fixtures) is in float64, where the order of summation moves results by 1e-14 per operation, so that
three iterations agree to 1e-9 or something is wrong; the same iteration in float32 shows how much of a difference is
rounding. All that is drawn at random enters by `randomness.StepDraws`; the code under test runs as it is in training.
"""

import contextlib
import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from reference import (
    FIXTURES,
    assert_close,
    logits_flat,
    logits_rows,
    optimized_jit,
    quick_jit,
    recipe,
    report,
    to_nchw,
    to_nhwc,
)

from configs import base
from fastgan_jax.build import spec_from_config
from fastgan_jax.gan.randomness import StepDraws
from fastgan_jax.gan.spec import Spec
from fastgan_jax.gan.state import NetworkState, TrainState
from fastgan_jax.gan.step import update
from fastgan_jax.interop.pytorch import state_dict_to_variables, variables_to_state_dict
from fastgan_jax.models.generator import noise_sides, small_side

pytestmark = pytest.mark.slow

SEED, BATCH, RESOLUTION, WIDTH, NZ = 7, 4, 256, 8, 32
ITERATIONS = 3
NETWORKS = {"G": "generator", "D": "discriminator"}
BUFFERS = ("weight_u", "weight_v", "running_mean", "running_var")
STRICT = 1e-11  # float64 over three iterations: twenty times the rounding seen, far below any mistake


class Iteration(NamedTuple):
    """What one iteration left behind, in PyTorch's layout and names."""

    calls: dict[str, dict[str, np.ndarray]]  # "generator", "real", "fake", "g": what the networks put out
    metrics: dict[str, float]
    tensors: dict[str, dict[str, np.ndarray]]  # "G", "D": parameters and buffers
    gradients: dict[str, dict[str, np.ndarray]]
    average: dict[str, np.ndarray]


class Recorder:
    """Stands in for a network of the spec: passes every call on and notes what it returns."""

    def __init__(self, network: Any, tags: tuple[str, ...], log: dict):
        self.network, self.tags, self.log, self.count = network, tags, log, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def apply(self, *args, **kwargs):
        tag = self.tags[self.count % len(self.tags)]
        self.count += 1
        output, mutated = self.network.apply(*args, **kwargs)
        jax.debug.callback(partial(self.log.__setitem__, tag), output)
        return output, mutated


def gradient_recorder() -> optax.GradientTransformation:
    """Passes gradients on unchanged and keeps the last ones as its state."""
    return optax.GradientTransformation(
        init=lambda params: jax.tree.map(jnp.zeros_like, params), update=lambda g, state, params=None: (g, g)
    )


def spec_of_the_recording(log: dict) -> Spec:
    """The default method with the recording's deviations: small, no augmentation, L1 for LPIPS."""
    config = base.get_config()
    with config.unlocked():
        config.model.update(resolution=RESOLUTION, ngf=WIDTH, ndf=WIDTH, nz=NZ)
        config.loss.update(reconstruction="l1", reconstruction_weight=1.0)
        config.augment.policy = ""
        config.data.flip = False
        config.train.ops = "auto,discriminate=apart"  # D sees real and generated images in calls of their own
    spec = spec_from_config(config)
    return dataclasses.replace(
        spec,
        generator=Recorder(spec.generator, ("generator",), log),
        discriminator=Recorder(spec.discriminator, ("real", "fake", "g"), log),
        optimizer=optax.chain(gradient_recorder(), spec.optimizer),
    )


def recorded_state(spec: Spec, dtype: type) -> TrainState:
    """The recipe's state before the first iteration."""
    states = {}
    for name, network in NETWORKS.items():
        values = recorded_state_dict(name, getattr(spec, network).network)
        variables = jax.tree.map(partial(jnp.asarray, dtype=dtype), state_dict_to_variables(values, network))
        states[network] = NetworkState(**variables, optimizer=spec.optimizer.init(variables["params"]))
    average = jax.tree.map(jnp.copy, states["generator"].params)
    return TrainState(step=jnp.int32(0), **states, ema_params=average, rng=jax.random.key(0))


@functools.cache
def recorded_state_dict(name: str, network: nn.Module) -> dict[str, np.ndarray]:
    """The recipe's initial values by PyTorch's names; their shapes are those of our own variables."""
    sides = (RESOLUTION, small_side(RESOLUTION))
    noise = tuple(jnp.zeros((1, side, side, 1)) for side in noise_sides(RESOLUTION))
    images = tuple(jnp.zeros((1, side, side, 3)) for side in sides)
    args = {"G": (jnp.zeros((1, NZ)), noise), "D": (*images, jnp.int32(0))}[name]
    shapes = jax.eval_shape(partial(network.init, train=True), jax.random.key(0), *args)
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float64(0), leaf.shape), shapes)
    template = variables_to_state_dict(zeros, NETWORKS[name])
    return {key: recipe().state_value(SEED, name, key, value.shape) for key, value in template.items()}


def state_dict_of(state: NetworkState, network: str, iterations: int) -> dict[str, np.ndarray]:
    """A network's parameters and buffers by PyTorch's names."""
    return variables_to_state_dict(state.variables, network, updates=iterations)


def recorded_draws(index: int, cell: int, dtype: type) -> StepDraws:
    def normal(name: str, *shape: int) -> jax.Array:
        return jnp.asarray(recipe().arr(SEED, name, shape), dtype)

    def uniforms(name: str) -> jax.Array:
        stream = np.random.RandomState(zlib.crc32(f"{SEED}/{name}/{index}".encode()))
        return jnp.asarray(logits_rows(stream.random_sample(50 * BATCH), BATCH), dtype)

    noise = (normal(f"noise/{index}/{k}", BATCH, 1, side, side) for k, side in enumerate(noise_sides(RESOLUTION)))
    return StepDraws(
        z=normal(f"z/{index}", BATCH, NZ),
        noise=tuple(n.transpose(0, 2, 3, 1) for n in noise),
        flip=jnp.ones(BATCH, bool),  # ignored: the recording does not flip
        cell=jnp.int32(cell),
        real_margins=uniforms("smooth_real"),
        fake_margins=uniforms("smooth_fake"),
        augment_real={},
        augment_full={},
        augment_small={},
    )


def real_images(index: int, dtype: type) -> jax.Array:
    small = np.tanh(recipe().arr(SEED, f"real/{index}", (BATCH, 3, 32, 32)))
    return jnp.asarray(to_nhwc(small.repeat(8, 2).repeat(8, 3)), dtype)


def run(parts: np.ndarray, iterations: int, dtype: type, jit: Callable) -> tuple[list[Iteration], TrainState, Spec]:
    """Makes the recording's iterations."""
    log = {}
    spec = spec_of_the_recording(log)
    state = recorded_state(spec, dtype)
    step = jit(partial(update, spec))
    results = []
    for index in range(iterations):
        labels = jnp.zeros(BATCH, jnp.int32)
        draws = recorded_draws(index, parts[index], dtype)
        state, metrics = jax.block_until_ready(step(state, real_images(index, dtype), labels, draws))
        jax.effects_barrier()
        networks = {name: getattr(state, network) for name, network in NETWORKS.items()}
        results.append(
            Iteration(
                calls=_outputs(log),
                metrics={key: float(value) for key, value in metrics.items()},
                tensors={name: state_dict_of(part, NETWORKS[name], index + 1) for name, part in networks.items()},
                gradients={
                    name: variables_to_state_dict({"params": part.optimizer[0]}, NETWORKS[name])
                    for name, part in networks.items()
                },
                average=variables_to_state_dict({"params": state.ema_params}, "generator"),
            )
        )
        log.clear()
    return results, state, spec


def _outputs(log: dict) -> dict[str, dict[str, np.ndarray]]:
    """The recorded outputs of the networks in PyTorch's layout."""
    full, small = log["generator"]
    outputs = {"generator": {"full": to_nchw(full), "small": to_nchw(small)}}
    for tag in ("real", "fake", "g"):
        images = {name: to_nchw(image) for name, image in log[tag].reconstructions.items()}
        outputs[tag] = {"logits": logits_flat(log[tag].logits), **images}
    return outputs


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Float64 for the whole process, not just this thread as by `jax.enable_x64`: the recorder runs in another."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="module")
def recording() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "compact_256_f64.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def double(recording) -> tuple[list[Iteration], TrainState, Spec]:
    """Three iterations in float64, optimized as users run them."""
    with double_precision():
        return run(recording["parts"], ITERATIONS, jnp.float64, optimized_jit)


@pytest.fixture(scope="module")
def single(recording) -> Iteration:
    """The first iteration in float32."""
    return run(recording["parts"], 1, jnp.float32, quick_jit)[0][0]


each_iteration = pytest.mark.parametrize("index", range(ITERATIONS))


def test_names_and_counters_are_those_of_the_reference(recording, double):
    for name in NETWORKS:
        tensors, parameters = double[0][0].tensors[name], set(recording[f"names/{name}"])
        assert set(double[0][0].gradients[name]) == parameters
        assert set(tensors) == parameters | set(recording[f"buffer_names/{name}"])


@each_iteration
def test_images_and_logits(recording, double, index):
    calls = double[0][index].calls
    expected = {
        "pred_real": calls["real"]["logits"],
        "pred_fake": calls["fake"]["logits"],
        "pred_g": calls["g"]["logits"],
        "fake_256_s8": calls["generator"]["full"][:, :, ::8, ::8],
        "fake_128_s4": calls["generator"]["small"][:, :, ::4, ::4],
        **{f"rec_{name}_s4": calls["real"][name][:, :, ::4, ::4] for name in ("big", "small", "part")},
    }
    errors = [
        assert_close(value, recording[f"iter{index}/{name}"], rtol=STRICT, what=name)
        for name, value in expected.items()
    ]
    report(f"iteration {index + 1}, float64: images, reconstructions, logits", max(errors), STRICT)


@each_iteration
def test_losses(recording, double, index):
    metrics = double[0][index].metrics
    ours = [metrics["loss/d_real"] + metrics["loss/reconstruction"], metrics["loss/d_fake"], metrics["loss/g"]]
    # Metrics leave the step in float32.
    error = assert_close(ours, recording[f"iter{index}/losses"], rtol=2e-7, what="losses")
    assert metrics["loss/d"] == pytest.approx(ours[0] + ours[1], rel=1e-6)
    report(f"iteration {index + 1}, float64: losses (reported in float32)", error, 2e-7)


def worst_projection(tensors: dict[str, np.ndarray], names: np.ndarray, recorded: np.ndarray) -> tuple[float, str]:
    """The largest difference between the tensors' recorded and present numbers, as a share of the tensor's norm."""
    worst = (0.0, "")
    for name, expected in zip(names, recorded, strict=True):
        difference = np.max(np.abs(recipe().proj(name, tensors[name]) - expected)) / expected[0]
        # A NaN counts as infinitely far.
        worst = max(worst, (float(np.nan_to_num(difference, nan=np.inf)), str(name)))
    return worst


@each_iteration
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(recording, double, name, index):
    gradients = double[0][index].gradients[name]
    worst = worst_projection(gradients, recording[f"names/{name}"], recording[f"iter{index}/grad/{name}"])
    assert worst[0] <= STRICT, worst
    report(f"iteration {index + 1}, float64: gradient of every parameter of {name}", worst[0], STRICT)


@each_iteration
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(recording, double, name, index):
    tensors = double[0][index].tensors[name]
    worst = worst_projection(tensors, recording[f"names/{name}"], recording[f"iter{index}/param/{name}"])
    assert worst[0] <= STRICT, worst
    report(f"iteration {index + 1}, float64: every parameter of {name} after Adam", worst[0], STRICT)


@each_iteration
@pytest.mark.parametrize("name", NETWORKS)
def test_normalization_state(recording, double, name, index):
    """BatchNorm's averages and counters, and the spectral vectors: G's move once in an iteration and D's three times,
    but those of its decoders once, as only real images are reconstructed."""
    tensors = double[0][index].tensors[name]
    worst = worst_projection(tensors, recording[f"buffer_names/{name}"], recording[f"iter{index}/buffer/{name}"])
    assert worst[0] <= STRICT, worst
    report(f"iteration {index + 1}, float64: all normalization state of {name}", worst[0], STRICT)


@each_iteration
def test_moving_average(recording, double, index):
    average = double[0][index].average
    worst = worst_projection(average, recording["names/G"], recording[f"iter{index}/ema/G"])
    assert worst[0] <= STRICT, worst
    report(f"iteration {index + 1}, float64: moving average of G's parameters", worst[0], STRICT)


def test_evaluation_after_three_iterations(recording, double):
    """Both networks in evaluation mode, on the first iteration's inputs and with the state that training left."""
    _, state, spec = double
    with double_precision():
        draws, real = recorded_draws(0, 1, jnp.float64), real_images(0, jnp.float64)

        generate = partial(spec.generator.network.apply, train=False)
        discriminate = partial(spec.discriminator.network.apply, train=False)
        full, small = jax.jit(generate)(state.generator.variables, draws.z, draws.noise)
        output = jax.jit(discriminate)(state.discriminator.variables, real, real[:, ::2, ::2], draws.cell)
    expected = {
        "im_256_s8": to_nchw(full)[:, :, ::8, ::8],
        "im_128_s4": to_nchw(small)[:, :, ::4, ::4],
        "logits": logits_flat(output.logits),
        **{f"rec_{name}_s4": to_nchw(x)[:, :, ::4, ::4] for name, x in output.reconstructions.items()},
    }
    errors = [
        assert_close(value, recording[f"final_eval/{name}"], rtol=STRICT, what=name) for name, value in expected.items()
    ]
    report("after iteration 3, float64: both networks in evaluation mode", max(errors), STRICT)


def relative_differences(narrow: dict, wide: dict, single_numbers: bool = True) -> list[float]:
    """The relative l2 difference of every tensor of two nested dicts, or of those with several numbers, sorted."""
    narrow, wide = traverse_util.flatten_dict(narrow), traverse_util.flatten_dict(wide)
    assert {value.dtype for value in narrow.values()} == {np.dtype(np.float32)}
    return sorted(
        float(np.linalg.norm(narrow[path] - value) / np.linalg.norm(value))
        for path, value in wide.items()
        if single_numbers or value.size > 1
    )


def test_float32_outputs_and_losses_differ_by_rounding(double, single):
    wide = double[0][0]
    error = relative_differences(single.calls, wide.calls)[-1]
    assert error <= 2e-5
    report("iteration 1, float32 against float64: outputs, relative l2 of the worst", error, 2e-5)
    # Absolute, for G's loss is a small mean of logits of size 1.
    names = [name for name in wide.metrics if name.startswith(("loss", "reconstruction"))]
    error = max(abs(single.metrics[name] - wide.metrics[name]) for name in names)
    assert error <= 2e-6
    report("iteration 1, float32 against float64: losses, absolute", error, 2e-6)


def test_float32_gradients_differ_by_rounding(double, single):
    """Half of the tensors agree to a few roundings; the bound on all leaves room for one leaky ReLU whose input is so
    near 0 that it takes the other slope, which moves the gradients before it by up to 5e-3. Those of noise weights are
    single numbers, sums that nearly cancel, and move by several times as much."""
    gradients = (single.gradients, double[0][0].gradients)
    errors = relative_differences(*gradients)
    middle, worst = errors[len(errors) // 2], relative_differences(*gradients, single_numbers=False)[-1]
    assert middle <= 1e-5
    assert worst <= 1e-2
    assert errors[-1] <= 1e-1
    report("iteration 1, float32 against float64: gradients, relative l2 of the median tensor", middle, 1e-5)
    report("iteration 1, float32 against float64: gradients, relative l2 of the worst tensor", worst, 1e-2)


def test_float32_normalization_state_differs_by_rounding(double, single):
    def buffers(run: Iteration) -> dict:
        return {
            name: {key: value for key, value in tensors.items() if key.endswith(BUFFERS)}
            for name, tensors in run.tensors.items()
        }

    error = relative_differences(buffers(single), buffers(double[0][0]))[-1]
    assert error <= 1e-5
    report("iteration 1, float32 against float64: normalization state, relative l2 of the worst tensor", error, 1e-5)
