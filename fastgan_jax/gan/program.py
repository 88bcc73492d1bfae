"""The device program of training: several iterations of the step in one call, compiled once, ahead of time."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fastgan_jax.gan.accumulation import accumulated_update
from fastgan_jax.gan.spec import Pretrained, Spec
from fastgan_jax.gan.state import TrainState
from fastgan_jax.gan.step import Metrics, train_step
from fastgan_jax.utils.devices import memory_advice, on_all

LONGEST_CALL = 10  # iterations per call where the configuration leaves it open: dispatch is invisible from here on
TRAINING_CURE = (
    "lower train.batch_size, or set train.accumulate, train.remat=blocks, train.precision=bfloat16 or "
    "data.resident=false"
)

GUARDED = ("loss/d", "loss/g", "grad_norm/d", "grad_norm/g")  # metrics that are not finite once anything is not
FIRST_NONFINITE = "first_nonfinite"  # among the metrics of a call: see `make_program`

Program = Callable[..., tuple[TrainState, Metrics]]


def iterations_per_call(config: Any, first_iteration: int, backend: str) -> int:
    """How many iterations one call of the device program makes: a number after which no event is missed.

    Args:
        config: the whole configuration.
        first_iteration: iterations already done.
        backend: "cpu", "gpu" or "tpu". On CPU the default is 1: convolution gradients inside a loop are slow there.
    """
    train = config.train
    events = (train.log_every, train.sample_every, train.checkpoint_every, config.eval.every or 0)  # gcd(n, 0) is n
    # The steps are first_iteration + n * k, and the last one is train.iterations.
    common = math.gcd(*events, train.iterations, first_iteration)
    longest = train.scan or (1 if backend == "cpu" else LONGEST_CALL)
    return max(k for k in range(1, longest + 1) if common % k == 0)


def make_program(spec: Spec, *, iterations: int, resident: bool, unroll: bool, accumulate: int = 1) -> Program:
    """The function that computes `iterations` training iterations and returns the last one's metrics.

    Beside them FIRST_NONFINITE, int32: the first iteration of the call (counted from 1, as `state.step` after it) in
    which one of GUARDED was not finite; 0 if all were.

    Args:
        spec: networks and options.
        iterations: K.
        resident: whether the whole set is an argument, (state, pretrained, images uint8 [N, R, R, C], labels int32 [N],
            indices int32 [K, B]), or the batches are, (state, pretrained, images uint8 [K, B, R, R, C], labels int32
            [K, B]). `pretrained` and `labels`, which may be `Facts`, are as for `step.update`.
        unroll: write the iterations out instead of looping (for CPU, where a loop makes convolutions slow).
        accumulate: micro-batches that a batch is cut into, see `accumulation`.
    """
    iteration = partial(accumulated_update, parts=accumulate, unroll=unroll) if accumulate > 1 else None
    step = partial(train_step, spec, iteration=iteration)

    def program(
        state: TrainState, pretrained: Pretrained, images: jax.Array, labels: jax.Array, *indices: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, batch: tuple[jax.Array, ...]) -> tuple[TrainState, Metrics]:
            own_images, own_labels = jax.tree.map(lambda x: x[batch[0]], (images, labels)) if resident else batch
            return step(state, own_images, own_labels, pretrained)

        batches = indices if resident else (images, labels)
        if iterations == 1:
            state, metrics = body(state, jax.tree.map(lambda x: x[0], batches))
            each = jax.tree.map(lambda x: x[None], metrics)
        else:
            state, each = jax.lax.scan(body, state, batches, length=iterations, unroll=iterations if unroll else 1)
            metrics = jax.tree.map(lambda x: x[-1], each)
        return state, metrics | {FIRST_NONFINITE: first_nonfinite(each, state.step - iterations)}

    return program


def first_nonfinite(metrics: Metrics, before: jax.Array) -> jax.Array:
    """The first iteration after iteration `before` in which one of GUARDED, each float32 [K], is not finite; else 0."""
    finite = jnp.all(jnp.isfinite(jnp.stack([metrics[name] for name in GUARDED])), axis=0)
    return jnp.where(finite.all(), 0, before + 1 + jnp.argmin(finite).astype(jnp.int32))


def compile_program(program: Program, *args: Any, mesh: Mesh | None = None) -> tuple[Program, int]:
    """Compiles for arguments of these shapes, on the devices that they are on, the state donated.

    With a `mesh`, state and metrics are left on all of its devices.

    Returns:
        The compiled program, and bytes of memory that it will need on each device.

    Raises:
        UserError: if the device's memory does not suffice.
    """
    with memory_advice(TRAINING_CURE):
        compiled = jax.jit(program, donate_argnums=0, out_shardings=on_all(mesh)).lower(*args).compile()
    analysis = compiled.memory_analysis()
    needed = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return compiled, needed - analysis.alias_size_in_bytes
