"""Times training on synthetic images: the same program that training runs, for any configuration.

Parameters of a perceptual network are random here, since time does not depend on them.
"""

import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from fastgan_jax.benchmark import operation_counts, results
from fastgan_jax.build import spec_from_config
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.feed import feed
from fastgan_jax.errors import UserError
from fastgan_jax.gan.program import TRAINING_CURE, Program, compile_program, iterations_per_call, make_program
from fastgan_jax.gan.spec import Spec
from fastgan_jax.gan.state import NetworkState, TrainState, create_train_state
from fastgan_jax.models import discriminator as d_shapes
from fastgan_jax.models import generator as g_shapes
from fastgan_jax.models.lpips import BACKBONES
from fastgan_jax.pretrained.networks import PERCEPTUAL
from fastgan_jax.runs import config as configuration
from fastgan_jax.utils.devices import memory_advice

NUM_IMAGES = 64  # of the synthetic set; a batch may repeat some
WARM_UP_CALLS = 2
NOTE = "synthetic images; compile seconds include tracing; perceptual parameters, if any, are random"


@dataclass(frozen=True)
class Workload:
    """The program that training would run for a configuration, with data to run it on.

    Attributes:
        config: the configuration.
        spec: networks and options.
        state: before the first iteration.
        inputs: the program's other arguments: pretrained parameters, images, labels, and for a resident set indices.
        per_call: iterations in a call of the program.
        unroll: whether a call's iterations are written out instead of looped over.
        streamed: the set in host memory that batches are read from; None: it is in device memory.
    """

    config: Any
    spec: Spec
    state: TrainState
    inputs: tuple
    per_call: int
    unroll: bool
    streamed: ImageSet | None = None

    def program(self) -> Program:
        """The program; it is traced anew each time that it is compiled."""
        return make_program(
            self.spec,
            iterations=self.per_call,
            resident=self.streamed is None,
            unroll=self.unroll,
            accumulate=self.config.train.accumulate,
        )

    def calls(self) -> Iterator[tuple]:
        """The inputs of each call of the program."""
        pretrained, *rest = self.inputs
        if self.streamed is None:
            yield from itertools.repeat(self.inputs)
        else:
            with feed(self.streamed, False, 0, self.config.train.batch_size, self.per_call) as batches:
                yield from ((pretrained, *batch) for batch in batches)

    def check_block(self, iterations: int) -> None:
        """Raises UserError if a block cannot be of so many iterations."""
        if iterations < 1 or iterations % self.per_call:
            raise UserError(
                f"--iterations {iterations}: one call makes {self.per_call} iteration(s); give a multiple of that, or "
                "set --config.train.scan to a divisor"
            )


def make_workload(config: Any) -> Workload:
    """The workload of a configuration; its source of images is not used.

    With data.resident=false batches are streamed from host memory as in training, else the set is in device memory.

    Raises:
        UserError: for a configuration that training would refuse.
    """
    configuration.validate(config, check_source=False)
    spec, backend = spec_from_config(config), jax.default_backend()
    state = create_train_state(jax.random.key(config.train.seed), spec)
    per_call = iterations_per_call(config, 0, backend)
    draws = np.random.default_rng(0)
    side, channels = config.model.resolution, config.model.channels
    images = draws.integers(0, 256, (NUM_IMAGES, side, side, channels), np.uint8)
    labels = draws.integers(0, max(1, config.model.num_classes), NUM_IMAGES).astype(np.int32)
    indices = draws.integers(0, NUM_IMAGES, (per_call, config.train.batch_size)).astype(np.int32)
    streamed, arrays = None, (images, labels, indices)
    if config.data.resident == "false":
        streamed, arrays = ImageSet(images, labels, (), (), "synthetic"), (images[indices], labels[indices])
    inputs = jax.device_put((random_pretrained(config), *arrays))
    return Workload(config, spec, state, inputs, per_call, unroll=backend == "cpu", streamed=streamed)


def random_pretrained(config: Any) -> dict[str, Any] | None:
    """Random parameters in place of those of the configuration's perceptual network; None if it has none."""
    if config.loss.reconstruction != "lpips" or not config.model.decoders:
        return None
    backbone, draws = BACKBONES[PERCEPTUAL[config.loss.perceptual_net].backbone], np.random.default_rng(0)

    def layer(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        deviation = np.sqrt(2 / np.prod(shape[:-1]))  # keeps the size of features through all depths (He et al. 2015)
        kernel = deviation * draws.standard_normal(shape, np.float32)
        return {"kernel": kernel.astype(np.float32), "bias": np.zeros(shape[-1], np.float32)}

    return {
        "input": {"shift": np.zeros(3, np.float32), "scale": np.ones(3, np.float32)},
        "backbone": {name: layer(shape) for name, shape in backbone.kernels.items()},
        "heads": {depth: np.ones(channels, np.float32) for depth, channels in backbone.channels.items()},
    }


class Runner:
    """A compiled workload that is timed block by block."""

    def __init__(self, workload: Workload):
        """Compiles twice, into an empty cache of programs and from it, and warms up."""
        self.workload, self.state, self._calls = workload, workload.state, workload.calls()
        arguments = (workload.state, *workload.inputs)
        self.compile_seconds = {}
        with _empty_cache():
            for cache in ("cold", "cached"):
                start = time.perf_counter()
                self.compiled, self.needed = compile_program(workload.program(), *arguments)
                self.compile_seconds[cache] = time.perf_counter() - start
        self._run(WARM_UP_CALLS)

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations, from the first dispatch until all results are there."""
        self.workload.check_block(iterations)
        start = time.perf_counter()
        self._run(iterations // self.workload.per_call)
        return time.perf_counter() - start

    def _run(self, calls: int) -> None:
        with memory_advice(TRAINING_CURE, self.needed):
            for inputs in itertools.islice(self._calls, calls):
                self.state, metrics = self.compiled(self.state, *inputs)
            jax.block_until_ready((self.state, metrics))

    def profile(self, folder: str, calls: int = 3) -> None:
        """Writes a trace of a few calls that TensorBoard and Perfetto open."""
        with jax.profiler.trace(folder):
            self._run(calls)

    def result(self, seconds: Sequence[float], iterations: int) -> results.Result:
        """The result of blocks of so many iterations, see `results.RESULT_KEYS`."""
        return results.complete(self._facts(), seconds, iterations)

    def _facts(self) -> dict[str, Any]:
        workload, device = self.workload, jax.local_devices()[0]
        allocator = device.memory_stats() or {}  # None on CPU
        return {
            "program": "fastgan_jax",
            "device": device.device_kind,
            "backend": jax.default_backend(),
            "versions": results.versions("jax", "jaxlib", "flax", "numpy"),
            **results.config_facts(workload.config),
            "arithmetic": arithmetic(workload.config.train.precision, jax.default_backend()),
            "iterations_per_call": workload.per_call,
            "compile_seconds": self.compile_seconds,
            "memory": {
                "allocator_peak": allocator.get("peak_bytes_in_use"),
                "program": program_memory(self.compiled, workload.inputs),
            },
            "flops_per_iteration": counted_flops(workload.config) | {"executed": executed_flops(workload)},
            "parameters": count_parameters(workload.state),
            "notes": f"set {'in device' if workload.streamed is None else 'streamed from host'} memory; {NOTE}",
        }


def counted_flops(config: Any) -> dict[str, Any]:
    """Operations of an iteration, "counted", and its "parts" per image: see `operation_counts`."""
    parts = operation_counts.count_iteration(spec_from_config(config), random_pretrained(config))
    return {"counted": config.train.batch_size * sum(parts.values()), "parts": parts}


def executed_flops(workload: Workload) -> float:
    """Operations of an iteration as the program computes it: fast variants, rematerialization and loops included."""
    return operation_counts.count(workload.program(), workload.state, *workload.inputs) / workload.per_call


def count_parameters(state: TrainState) -> dict[str, int]:
    """Parameters of each network."""
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    return {name: sum(leaf.size for leaf in jax.tree.leaves(n.params)) for name, n in networks.items()}


def arithmetic(precision: str, backend: str) -> str:
    """What convolutions multiply in on a backend (cpu, gpu, tpu): float32 | tfloat32 | bfloat16.

    For float32 that is the backend's choice, unless `jax_default_matmul_precision` asks for the highest.
    """
    if precision == "bfloat16" or jax.config.jax_default_matmul_precision in ("highest", "float32"):
        return precision
    return {"gpu": "tfloat32", "tpu": "bfloat16"}.get(backend, "float32")


def abstract_state(spec: Spec) -> TrainState:
    """Shapes of the state of training."""

    def network(module: nn.Module, *shapes: Any) -> NetworkState:
        params, others = operation_counts.variable_shapes(module, *shapes)
        return NetworkState(params, **others, optimizer=jax.eval_shape(spec.optimizer.init, params))

    generator = network(spec.generator, *g_shapes.input_shapes(spec.generator, spec.latent_size))
    discriminator = network(spec.discriminator, *d_shapes.input_shapes(spec.discriminator))
    key = jax.eval_shape(jax.random.key, 0)
    return TrainState(jax.ShapeDtypeStruct((), jnp.int32), generator, discriminator, generator.params, key)


def program_memory(compiled: Any, inputs: tuple) -> dict[str, int]:
    """Bytes of device memory that a compiled program needs, by its own analysis.

    "total" is without the set of images, which is as large as one chooses: arguments + temporary + outputs -
    aliased (outputs that take the place of arguments) - images.
    """
    analysis = compiled.memory_analysis()
    parts = {
        "arguments": analysis.argument_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
        "outputs": analysis.output_size_in_bytes,
        "aliased": analysis.alias_size_in_bytes,
        "images": inputs[1].nbytes,
    }
    needed = parts["arguments"] + parts["temporary"] + parts["outputs"]
    return parts | {"total": needed - parts["aliased"] - parts["images"]}


@contextlib.contextmanager
def _empty_cache() -> Iterator[None]:
    """Keeps compiled programs in a new folder, which is deleted afterwards."""
    settings = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in settings}
    with tempfile.TemporaryDirectory(prefix="fastgan-jax-benchmark-") as folder:
        try:
            for name, value in zip(settings, (folder, 0.0), strict=True):
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
