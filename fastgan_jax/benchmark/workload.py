"""Times training on synthetic images: the same program that training runs on one device, for any configuration.

Parameters of a perceptual network are random here, since time does not depend on them.
"""

import contextlib
import dataclasses
import itertools
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from fastgan_jax.benchmark import operation_counts, results
from fastgan_jax.build import spec_from_config, uses_perceptual
from fastgan_jax.data.accounting import Accounting, ReadFile
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.feed import feed
from fastgan_jax.errors import UserError
from fastgan_jax.gan.program import TRAINING_CURE, Program, compile_program, iterations_per_call, make_program
from fastgan_jax.gan.spec import Pretrained, Spec
from fastgan_jax.gan.state import TrainState, create_train_state
from fastgan_jax.models.efficientnet import feature_kernel_shapes
from fastgan_jax.models.lpips import BACKBONES
from fastgan_jax.pretrained.networks import PERCEPTUAL
from fastgan_jax.utils.console import watched
from fastgan_jax.utils.devices import memory_advice

NUM_IMAGES = 64  # of the synthetic set; a batch may repeat some
WARM_UP_CALLS = 2
AMPERE = (8, 0)  # the least compute capability with TF32


@dataclasses.dataclass(frozen=True)
class Workload:
    """The program that training would run for a configuration, with data to run it on."""

    config: Any
    spec: Spec
    state: TrainState  # before the first iteration
    inputs: tuple  # the program's other arguments: pretrained parameters, images, labels; for a resident set indices
    per_call: int  # iterations in a call of the program
    unroll: bool  # whether a call's iterations are written out instead of looped over
    streamed: ImageSet | None = None  # the set in host memory that batches are read from; None: it is on the device

    def program(self) -> Program:
        """The program; it is traced anew each time that it is compiled."""
        options = {"unroll": self.unroll, "accumulate": self.config.train.accumulate}
        return make_program(self.spec, iterations=self.per_call, resident=self.streamed is None, **options)

    def calls(self) -> Iterator[tuple]:
        """The inputs of each call of the program."""
        if self.streamed is None:
            yield from itertools.repeat(self.inputs)
        else:
            facts = bool(self.spec.discriminator.heads)
            with feed(self.streamed, False, 0, self.config.train.batch_size, self.per_call, facts=facts) as batches:
                yield from ((self.inputs[0], *batch) for batch in batches)

    def check_block(self, iterations: int) -> None:
        """Raises UserError if a block cannot be of so many iterations."""
        if iterations < 1 or iterations % self.per_call:
            raise UserError(
                f"--iterations {iterations}: one call makes {self.per_call} iteration(s); give a multiple of that, or "
                "set --config.train.scan to a divisor"
            )


def make_workload(config: Any, backend: str | None = None) -> Workload:
    """The workload of a valid configuration as on a backend (None: the one that is here), of synthetic images.

    With data.resident=false batches are streamed from host memory as in training, else the set is in device memory.
    """
    backend = backend or jax.default_backend()
    spec = spec_from_config(config, backend)
    state = create_train_state(jax.random.key(config.train.seed), spec)
    per_call, draws = iterations_per_call(config, 0, backend), np.random.default_rng(0)
    side, channels = config.model.resolution, config.model.channels
    images = draws.integers(0, 256, (NUM_IMAGES, side, side, channels), np.uint8)
    labels = draws.integers(0, max(1, config.model.num_classes), NUM_IMAGES).astype(np.int32)
    indices = draws.integers(0, NUM_IMAGES, (per_call, config.train.batch_size)).astype(np.int32)
    synthetic = ImageSet(
        images, labels, Accounting("synthetic", [ReadFile("", side, side, "")] * NUM_IMAGES), "synthetic"
    )
    known = (images, synthetic.facts() if spec.discriminator.heads else labels)
    streamed, arrays = None, (*known, indices)
    if config.data.resident == "false":
        streamed, arrays = synthetic, jax.tree.map(lambda x: x[indices], known)
    inputs = jax.device_put((random_pretrained(config), *arrays))
    return Workload(config, spec, state, inputs, per_call, unroll=backend == "cpu", streamed=streamed)


def random_pretrained(config: Any) -> Pretrained:
    """Random parameters in place of those of the configuration's pretrained networks."""
    draws = np.random.default_rng(0)

    def layer(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        deviation = np.float32(np.sqrt(2 / np.prod(shape[:-1])))  # keeps the size of features (He et al. 2015)
        kernel = deviation * draws.standard_normal(shape, np.float32)
        return {"kernel": kernel, "bias": np.zeros(shape[-1], np.float32)}

    distance = features = None
    if uses_perceptual(config):
        backbone = BACKBONES[PERCEPTUAL[config.loss.perceptual_net].backbone]
        distance = {
            "input": {"shift": np.zeros(3, np.float32), "scale": np.ones(3, np.float32)},
            "backbone": {name: layer(shape) for name, shape in backbone.kernels.items()},
            "heads": {depth: np.ones(channels, np.float32) for depth, channels in backbone.channels.items()},
        }
    if config.model.discriminator != "fastgan":
        features = {name: layer(shape) for name, shape in feature_kernel_shapes().items()}
    return Pretrained(distance, features)


class Runner:
    """A compiled workload that is timed block by block."""

    def __init__(self, workload: Workload):
        """Compiles twice, into an empty cache of programs and from it, and warms up."""
        self.workload, self.state, self._calls = workload, workload.state, workload.calls()
        self.compile_seconds = {}
        with _empty_cache():
            for cache in ("cold", "cached"):
                start = time.perf_counter()
                self.compiled, self.needed = watched(
                    f"compiling ({cache})",
                    lambda: compile_program(workload.program(), workload.state, *workload.inputs),
                )
                self.compile_seconds[cache] = time.perf_counter() - start
        self._run(WARM_UP_CALLS)

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations, from the first dispatch until all results are there."""
        self.workload.check_block(iterations)
        start = time.perf_counter()
        self._run(iterations // self.workload.per_call)
        return time.perf_counter() - start

    def profile(self, folder: str, calls: int = 3) -> None:
        """Writes a trace of a few calls that TensorBoard and Perfetto open."""
        with jax.profiler.trace(folder):
            self._run(calls)

    def _run(self, calls: int) -> None:
        with memory_advice(TRAINING_CURE, self.needed):
            for inputs in itertools.islice(self._calls, calls):
                self.state, metrics = self.compiled(self.state, *inputs)
            jax.block_until_ready((self.state, metrics))

    def result(self, seconds: Sequence[float], iterations: int) -> results.Result:
        """The result of blocks of so many iterations, see `results.RESULT_KEYS`."""
        work, device, backend = self.workload, jax.local_devices()[0], jax.default_backend()
        named = re.fullmatch(r"(\d+)\.(\d+)", getattr(device, "compute_capability", ""))  # of CUDA
        capability = [tuple(map(int, named.groups()))] if named else []
        executed = operation_counts.count(work.program(), work.state, *work.inputs) / work.per_call
        networks = {"generator": work.state.generator, "discriminator": work.state.discriminator}
        analysis, images = self.compiled.memory_analysis(), work.inputs[1].nbytes
        memory = {
            "arguments": analysis.argument_size_in_bytes,
            "temporary": analysis.temp_size_in_bytes,
            "outputs": analysis.output_size_in_bytes,
            "aliased": analysis.alias_size_in_bytes,  # outputs that take the place of arguments
            "images": images,
            "total": self.needed - images,  # without the images, as many as one chooses
        }
        facts = results.config_facts(work.config) | {
            "program": "fastgan_jax",
            "device": device.device_kind,
            "backend": backend,
            "versions": results.versions("jax", "jaxlib", "flax", "numpy"),
            "arithmetic": arithmetic(work.config.train.precision, backend, *capability),
            "iterations_per_call": work.per_call,
            "compile_seconds": self.compile_seconds,
            "memory": {"allocator_peak": (device.memory_stats() or {}).get("peak_bytes_in_use"), "program": memory},
            "flops_per_iteration": counted_flops(work.config) | {"executed": executed},
            "parameters": {name: sum(x.size for x in jax.tree.leaves(n.params)) for name, n in networks.items()},
            "notes": f"set {'in device' if work.streamed is None else 'streamed from host'} memory; synthetic images; "
            "compile seconds include tracing; perceptual parameters, if any, are random",
        }
        return results.complete(facts, seconds, iterations)


def counted_flops(config: Any) -> dict[str, Any]:
    """Operations of an iteration, "counted", and its "parts" per image: see `operation_counts`."""
    parts = operation_counts.count_iteration(spec_from_config(config), random_pretrained(config))
    return {"counted": config.train.batch_size * sum(parts.values()), "parts": parts}


def arithmetic(precision: str, backend: str, capability: tuple[int, ...] = AMPERE) -> str:
    """What convolutions multiply in: for float32 the backend's choice, unless JAX is set to the highest precision.

    `capability` is that of a CUDA GPU, such as (7, 5).
    """
    if precision == "bfloat16" or jax.config.jax_default_matmul_precision in ("highest", "float32"):
        return precision
    if backend == "gpu" and capability < AMPERE:
        return precision
    return {"gpu": "tfloat32", "tpu": "bfloat16"}.get(backend, "float32")


@contextlib.contextmanager
def _empty_cache() -> Iterator[None]:
    """Keeps compiled programs in a new folder, which is deleted afterwards."""

    def use(folder: str | None, least_seconds: float) -> None:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least_seconds)
        compilation_cache.reset_cache()

    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    with tempfile.TemporaryDirectory(prefix="fastgan-jax-benchmark-") as folder:
        try:
            use(folder, 0.0)
            yield
        finally:
            use(*before)
