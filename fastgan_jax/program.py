"""The device program of training: several iterations of the step in one call, compiled once, ahead of time."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from fastgan_jax.accumulation import accumulated_update
from fastgan_jax.errors import UserError
from fastgan_jax.method import Method
from fastgan_jax.train_state import TrainState
from fastgan_jax.train_step import Metrics, make_train_step

LONGEST_CALL = 10  # iterations per call where the configuration leaves it open: dispatch is invisible from here on

Program = Callable[..., tuple[TrainState, Metrics]]


def iterations_per_call(config: Any, first_iteration: int, backend: str) -> int:
    """How many iterations one call of the device program makes: a number after which no event is missed.

    Args:
        config: the whole configuration.
        first_iteration: iterations already made.
        backend: "cpu", "gpu" or "tpu". On CPU the default is 1: convolution gradients inside a loop are slow there.
    """
    train = config.train
    events = (train.log_every, train.sample_every, train.checkpoint_every, config.eval.every or 0)  # gcd(n, 0) is n
    common = math.gcd(*events, train.iterations - first_iteration)
    longest = train.scan or (1 if backend == "cpu" else LONGEST_CALL)
    return max(k for k in range(1, longest + 1) if common % k == 0)


def make_program(method: Method, *, iterations: int, resident: bool, unroll: bool, accumulate: int = 1) -> Program:
    """The function that makes `iterations` training iterations and returns the last one's metrics.

    Args:
        method: networks and options.
        iterations: K.
        resident: whether the whole set is an argument, (state, pretrained, images uint8 [N, R, R, C], labels int32 [N],
            indices int32 [K, B]), or the batches are, (state, pretrained, images uint8 [K, B, R, R, C], labels int32
            [K, B]). `pretrained` holds the parameters of `method.distance`, None if it has none.
        unroll: write the iterations out instead of looping (for CPU, where a loop makes convolutions slow).
        accumulate: micro-batches that a batch is cut into, see `accumulation`.
    """
    in_parts = partial(accumulated_update, parts=accumulate, unroll=unroll) if accumulate > 1 else None
    step = make_train_step(method, in_parts)

    def of_resident(
        state: TrainState, pretrained: Any, images: jax.Array, labels: jax.Array, indices: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, rows: jax.Array) -> tuple[TrainState, Metrics]:
            return step(state, images[rows], labels[rows], pretrained)

        return _repeat(body, state, indices, iterations, unroll)

    def of_streamed(
        state: TrainState, pretrained: Any, images: jax.Array, labels: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Metrics]:
            return step(state, *batch, pretrained)

        return _repeat(body, state, (images, labels), iterations, unroll)

    return of_resident if resident else of_streamed


def _repeat(body: Callable, state: TrainState, inputs: Any, iterations: int, unroll: bool) -> tuple:
    if iterations == 1:
        return body(state, jax.tree.map(lambda x: x[0], inputs))
    state, metrics = jax.lax.scan(body, state, inputs, length=iterations, unroll=iterations if unroll else 1)
    return state, jax.tree.map(lambda x: x[-1], metrics)


def compile_program(program: Program, *args: Any) -> tuple[Program, float, int]:
    """Compiles for arguments of these shapes, the state donated.

    Returns:
        The compiled program, seconds that tracing and compiling took, and bytes of device memory that it will need.

    Raises:
        UserError: if the device's memory does not suffice.
    """
    start = time.perf_counter()
    with memory_advice():
        compiled = jax.jit(program, donate_argnums=0).lower(*args).compile()
    analysis = compiled.memory_analysis()
    needed = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return compiled, time.perf_counter() - start, needed - analysis.alias_size_in_bytes


class memory_advice:  # noqa: N801 (a context manager, used like a function)
    """Turns the runtime's out-of-memory error into one line that says what to lower."""

    def __init__(self, needed: int | None = None):
        """`needed`: bytes that the program was estimated to need, if known."""
        self.needed = needed

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            estimate = f" (this program needs about {self.needed / 1e9:.1f} GB)" if self.needed else ""
            raise UserError(
                f"out of device memory on {jax.devices()[0].device_kind}{estimate}: lower train.batch_size, or set "
                "train.accumulate, train.remat=full, train.precision=bfloat16 or data.resident=false"
            ) from error
