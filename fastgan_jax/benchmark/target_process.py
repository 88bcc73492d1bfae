"""The process that compiles the training program for a device that is not here, and counts; `target` starts it.

The environment names the device's compiler and settings before jax starts.
"""

import collections
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fastgan_jax.benchmark import results
from fastgan_jax.benchmark.device_peaks import peak_teraflops
from fastgan_jax.benchmark.hlo import Kernel, Program
from fastgan_jax.benchmark.target import BACKENDS, Device, Result
from fastgan_jax.benchmark.workload import abstract_state, arithmetic, random_pretrained
from fastgan_jax.build import compute_from_config, spec_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.gan.program import iterations_per_call, make_program
from fastgan_jax.utils.files import user_path, write_text

NUM_IMAGES = 1000  # of the resident set
HEAVIEST = 15  # kernels that the report lists
LAUNCH_MICROSECONDS = {"cuda": 2.5, "tpu": 0.0}  # from one kernel's end to the next one's start


def count(device: Device, config: Any, hlo: str | None = None) -> Result:
    """Compiles for a device in this process, and counts; all but memory and compile_seconds are per iteration.

    Returns:
        "kernels", also "kernels_by_kind"; "bytes_moved" and "bytes_by_kind": of every kernel's operands and results;
        "flops": of convolutions and matrix products; "peak_memory": bytes by XLA's buffer assignment, without the
        "resident_set" of images; "roofline_ms", see `roofline`, with its "assumptions"; "compile_seconds": tracing and
        compilation; "heaviest": the kernels that take the longest by the roofline; and what was compiled.
    """
    backend = BACKENDS[device["platform"]]
    program, shapes, per_call = training_program(config, backend)
    shapes = _on(_abstract_device(device), shapes)
    start = time.perf_counter()
    try:
        compiled = jax.jit(program, donate_argnums=0).lower(*shapes).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"the program does not fit the memory of {device['device']} ({reason})") from None
    compile_seconds = time.perf_counter() - start
    text = compiled.as_text()
    if hlo:
        write_text(user_path(hlo), text)
    kernels = list(Program(text).kernels())
    resident_set = 0 if config.data.resident == "false" else sum(x.size * x.dtype.itemsize for x in shapes[2:4])
    estimate = roofline(device, kernels, arithmetic(config.train.precision, backend))
    return {
        "target": device["target"],
        "device": device["device"],
        **results.config_facts(config),
        "iterations_per_call": per_call,
        "kernels": round(sum(k.times for k in kernels) / per_call),
        "kernels_by_kind": _by_kind(kernels, per_call, lambda kernel: 1),
        "bytes_moved": round(sum(k.times * k.bytes for k in kernels) / per_call),
        "bytes_by_kind": _by_kind(kernels, per_call, lambda kernel: kernel.bytes),
        "flops": round(sum(k.times * k.flops for k in kernels) / per_call),
        "peak_memory": _peak_memory(compiled) - resident_set,
        "resident_set": resident_set,
        "roofline_ms": estimate["seconds"] / per_call * 1e3,
        "assumptions": estimate["assumptions"],
        "heaviest": estimate["heaviest"],
        "compile_seconds": compile_seconds,
        "versions": results.versions("jax", "jaxlib", "flax"),
    }


def training_program(config: Any, backend: str) -> tuple[Any, tuple, int]:
    """What training would compile on a backend: the program, the shapes of its arguments, and iterations per call.

    The variants are the backend's; the set of images, of NUM_IMAGES, is resident unless data.resident=false.
    """
    spec, compute = spec_from_config(config), compute_from_config(config.train, backend)
    networks = {name: getattr(spec, name).clone(compute=compute) for name in ("generator", "discriminator")}
    spec = dataclasses.replace(spec, **networks)
    per_call, resident = iterations_per_call(config, 0, backend), config.data.resident != "false"
    accumulate, batches = config.train.accumulate, (per_call, config.train.batch_size)
    program = make_program(spec, iterations=per_call, resident=resident, unroll=False, accumulate=accumulate)
    leading, side, channels = (NUM_IMAGES,) if resident else batches, config.model.resolution, config.model.channels
    shapes = (
        abstract_state(spec),
        jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), random_pretrained(config)),
        jax.ShapeDtypeStruct((*leading, side, side, channels), np.uint8),
        jax.ShapeDtypeStruct(leading, np.int32),
        *([jax.ShapeDtypeStruct(batches, np.int32)] if resident else []),
    )
    return program, shapes, per_call


def roofline(device: Device, kernels: Sequence[Kernel], arithmetic: str) -> dict[str, Any]:
    """Seconds of kernels that run one after the other, each at the device's bandwidth or arithmetic peak.

    Args:
        device: from `read_device`.
        kernels: what runs.
        arithmetic: what products are computed in: bfloat16 | tfloat32 | float32.

    Returns:
        "seconds"; "assumptions" in words; "heaviest": kernels {kind, times, bytes, flops, source, seconds of all runs}.
    """
    bandwidth, launch = device["memory_bandwidth"], LAUNCH_MICROSECONDS[device["platform"]] * 1e-6
    peak, in_words = _peak(device, arithmetic)

    def seconds(kernel: Kernel) -> float:
        return kernel.times * (launch + max(kernel.bytes / bandwidth, kernel.flops / peak if peak else 0))

    heaviest = sorted(kernels, key=seconds, reverse=True)[:HEAVIEST]
    return {
        "seconds": sum(map(seconds, kernels)),
        "heaviest": [dataclasses.asdict(kernel) | {"seconds": seconds(kernel)} for kernel in heaviest],
        "assumptions": [
            f"every kernel reads its operands from memory and writes its results there, at {bandwidth / 1e9:.0f} GB/s",
            in_words,
            "a kernel takes the longer of the two, and no two run at the same time",
            f"{launch * 1e6:g} microseconds from each kernel's end to the next one's start",
            "caches, working memory of libraries and the choice of algorithms by trial are left out",
            f"the resident set, if any, has {NUM_IMAGES} images; of it, kernels read the images of a batch",
        ],
    }


def _peak(device: Device, arithmetic: str) -> tuple[float | None, str]:
    """Operations a second of a device, None if unknown, and what is assumed of them."""
    for kind in (arithmetic, "float32"):
        own = device.get("teraflops", {}).get(kind)
        if peak := own or peak_teraflops(device["device"], kind):
            note = "" if kind == arithmetic else f", since the device has no units for {arithmetic}"
            return peak * 1e12, f"convolutions and matrix products in {kind} at {peak:g} TFLOP/s{note}"
    return None, f"convolutions and matrix products take no time: the peak of {device['device']} is not known"


def _abstract_device(device: Device) -> Any:
    """A device of this kind that programs can be compiled for."""
    if device["platform"] == "tpu":
        return topologies.get_topology_desc(platform="tpu", topology_name=device["topology"]).devices[0]
    config = device["target_config"]
    config["gpu_device_info"]["memory_bandwidth"] = device["memory_bandwidth"]
    text = _as_text(config | {"device_description_str": device["device"]})
    topology = topologies.get_topology_desc(platform="cuda", topology_name="", target_config=text, topology="1x1x1")
    return topology.devices[0]


def _as_text(message: Mapping[str, Any]) -> str:
    """A protocol buffer's fields in its text format."""
    return " ".join(
        f"{name} {{ {_as_text(value)} }}" if isinstance(value, Mapping) else f"{name}: {json.dumps(value)}"
        for name, value in message.items()
    )


def _on(device: Any, shapes: Any) -> Any:
    """Shapes of arrays that lie on a device."""
    sharding = NamedSharding(Mesh(np.array([device]), ("device",)), PartitionSpec())
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)


def _peak_memory(compiled: Any) -> int:
    analysis = compiled.memory_analysis()
    outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return analysis.peak_memory_in_bytes or analysis.argument_size_in_bytes + analysis.temp_size_in_bytes + outputs


def _by_kind(kernels: Sequence[Kernel], per_call: int, measure: Callable[[Kernel], int]) -> dict[str, int]:
    """Sums over an iteration's kernels of each kind, the largest first."""
    sums = collections.Counter()
    for kernel in kernels:
        sums[kernel.kind] += kernel.times * measure(kernel)
    return {kind: round(total / per_call) for kind, total in sums.most_common()}


def main() -> None:
    """Answers a request on standard input with a line of JSON."""
    request = json.load(sys.stdin)
    try:
        answer = count(request["device"], ml_collections.ConfigDict(request["config"]), request["hlo"])
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
