"""How long training takes and what memory it needs here: before it starts by a rule of thumb, or measured."""

import itertools
import time
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastgan_jax.benchmark.workload import counted_flops, random_pretrained
from fastgan_jax.build import spec_from_config
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.feed import feed, is_resident
from fastgan_jax.gan.program import TRAINING_CURE, compile_program, iterations_per_call, make_program
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.utils.console import watched
from fastgan_jax.utils.devices import batch_mesh, memory_advice, placed

FEW_ITERATIONS = 200  # are done before one has read how long they take
LAYER = (8, 64, 64, 64)  # of a convolution of the size that training has many of
SHARE = 0.65  # of that convolution's speed is the speed of an iteration, measured on CPUs for 64 to 256 pixels
LONG_SECONDS = 12 * 3600
SECONDS = 0.2
TIMED_SECONDS = 5  # at least, and
TIMED_CALLS = 3  # calls of the program at least are timed


def hours_on_cpu(config: Any, done: int) -> str | None:
    """How long the iterations that are left take if the device is a CPU, in a line; None elsewhere, or if few are."""
    left = config.train.iterations - done
    if jax.default_backend() != "cpu" or left < FEW_ITERATIONS:
        return None
    seconds = counted_flops(config)["counted"] / (SHARE * convolution_speed())
    size, whole = f"{config.model.resolution}x{config.model.resolution}", duration(left * seconds)
    text = f"on this CPU {left:,} iterations at {size} take about {whole} ({seconds:.2g} s each)"
    slow = left * seconds > LONG_SECONDS and config.model.resolution > 128
    return f"{text}; the presets projected_cpu and cpu128 are made for CPUs" if slow else text


def convolution_speed() -> float:
    """Operations per second of a convolution here, measured for a moment."""
    images, kernel = jnp.ones(LAYER), jnp.ones((3, 3, LAYER[3], LAYER[3]))
    layout = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    convolve = jax.jit(lambda x, k: jax.lax.conv_general_dilated(x, k, **layout)).lower(images, kernel).compile()
    jax.block_until_ready(convolve(images, kernel))
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        jax.block_until_ready(convolve(images, kernel))
        count += 1
    return count * 2 * images.size * kernel[..., 0].size / (time.perf_counter() - start)


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it, such as "3.4 hours"."""
    unit, name = next(
        unit for unit in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if seconds >= 2 * unit[0] or unit[0] == 1
    )
    return f"{seconds / unit:.1f} {name}" if seconds < 10 * unit else f"{seconds / unit:,.0f} {name}"


class Measured(NamedTuple):
    """What training costs on this device."""

    seconds: float  # per iteration
    memory: int  # bytes that the compiled program needs, the resident set included
    resident: int  # bytes of the resident set; 0 if it streams


def measure(config: Any, images: ImageSet) -> Measured:
    """Compiles the program that training on these images runs, which then finds it compiled, and times a few calls."""
    train, backend = config.train, jax.default_backend()
    mesh = batch_mesh(train.batch_size // train.accumulate, train.devices)
    spec, per_call = replace(spec_from_config(config), mesh=mesh), iterations_per_call(config, 0, backend)
    resident = is_resident(images, config.data.resident)
    key, pretrained = jax.random.key(train.seed), random_pretrained(config)
    pretrained = jax.device_put(pretrained) if mesh is None else placed(pretrained, mesh)
    state = placed(watched("preparing the networks", lambda: create_train_state(key, spec)), mesh)
    program = make_program(
        spec, iterations=per_call, resident=resident, unroll=backend == "cpu", accumulate=train.accumulate
    )
    facts = bool(spec.discriminator.heads)
    with feed(images, resident, train.seed, train.batch_size, per_call, mesh=mesh, facts=facts) as batches:
        inputs = next(batches)
        compiled, needed = watched("compiling", lambda: compile_program(program, state, pretrained, *inputs, mesh=mesh))

        def run() -> float:
            nonlocal state
            for count in itertools.count():
                if count == 1:
                    start = time.perf_counter()  # the first call warms up
                elif count > TIMED_CALLS and time.perf_counter() - start >= TIMED_SECONDS:
                    return (time.perf_counter() - start) / (count - 1)
                state, metrics = compiled(state, pretrained, *next(batches))
                jax.block_until_ready(metrics)

        with memory_advice(TRAINING_CURE, needed):
            seconds = watched("timing a few iterations", run) / per_call
    return Measured(seconds, needed, images.images.nbytes if resident else 0)
