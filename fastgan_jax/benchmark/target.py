"""Compiles the training program for a device that is not here, and says what it would do there.

XLA compiles for GPUs and TPUs on any x86 machine: the kernels, the bytes that they move and the memory that they need
are those of the program that training runs there, except for autotuning, which needs the device. Times are an estimate
(`roofline`). The compiler runs in a process of its own, this module's `main`, because it takes its settings from the
environment, ends its process when it fails, and must not touch a device that is here.
"""

import collections
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from fastgan_jax.benchmark import results, scaling
from fastgan_jax.benchmark.hlo import COLLECTIVES, HloProgram, Kernel
from fastgan_jax.benchmark.paired import child_environment
from fastgan_jax.benchmark.workload import arithmetic, make_workload
from fastgan_jax.errors import UserError, gist
from fastgan_jax.utils.devices import BATCH_AXIS, along_batch, on_all
from fastgan_jax.utils.files import check_outputs, user_path, write_text

DEVICES = Path(__file__).with_name("devices")
KEYS = {"cuda": ["target_config"], "tpu": ["topology", "accelerator_type"]}  # of a description, besides the common ones
BACKENDS = {"cuda": "gpu", "tpu": "tpu"}
TURING = (7, 5)  # the least compute capability that CUDA 13 knows
COMPILERS = {  # extra that installs a compiler: the package that it is in
    "target-cuda": "jax_plugins.xla_cuda13",
    "target-cuda12": "jax_plugins.xla_cuda12",
    "target-tpu": "libtpu",
}
LAUNCH_MICROSECONDS = {"cuda": 2.5, "tpu": 0.0}  # from one kernel's end to the next one's start
NUM_IMAGES = 1000  # of the resident set
GPUS_OF_A_HOST = 8
HEAVIEST = 15  # kernels that the report lists

Device = dict[str, Any]  # see `read_device`
Result = dict[str, Any]  # see `count`


def read_device(name: str) -> Device:
    """The description of a device by its name in the folder devices/, or of a user's file of that form.

    Its keys: device (as JAX calls it), platform (cuda | tpu), memory_bandwidth (bytes a second), sources; for cuda
    target_config (XLA's GpuTargetConfigProto), for tpu topology and accelerator_type. A device without an entry in
    `results.PEAKS` may have teraflops, {bfloat16, tfloat32, float32: dense products}.
    """
    known = {path.stem: path for path in sorted(DEVICES.glob("*.json"))}
    path = known.get(name) or user_path(name)
    if not path.is_file():
        raise UserError(f"--target {name}: must be one of {', '.join(known)}, or a file of the same form")
    example = f"see {known['h100']}"
    try:
        device = json.loads(path.read_text(encoding="utf-8"))
        keys = ["device", "memory_bandwidth", *KEYS[device["platform"]]]
        keys += ["links_sources"] if "links" in device else []
        missing = [key for key in keys if key not in device]
        if device["platform"] == "cuda" and not missing:
            _capability(device)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--target {name}: {path} does not describe a device ({error!r}): {example}") from None
    if missing:
        raise UserError(f"--target {name}: {path} has no {missing[0]!r}: {example}")
    return {"target": path.stem} | device


def check_devices(device: Device, train: Any, count: int) -> None:
    """Raises UserError if so many devices of this kind cannot share the batches of the group `train`."""
    if count == 1:
        return
    given = f"--devices {count}"
    if "links" not in device:
        raise UserError(f"{given}: the description of {device['target']} has no 'links': see {DEVICES / 'h100.json'}")
    largest = device["links"][-1]["devices"]
    if count > largest or (device["platform"] == "tpu" and count.bit_count() > 1):
        power = "a power of two, " if device["platform"] == "tpu" else ""
        raise UserError(f"{given}: must be {power}at most {largest} of {device['device']}")
    if device["platform"] == "cuda" and count > GPUS_OF_A_HOST and count % GPUS_OF_A_HOST:
        raise UserError(f"{given}: must be a multiple of {GPUS_OF_A_HOST}, the GPUs of a host, or fewer than those")
    size = train.batch_size // train.accumulate
    if size % count:
        cure = f"set train.batch_size / train.accumulate to a multiple of {count}"
        raise UserError(f"{given}: they cannot share a (micro-)batch of {size} images equally: {cure}")


def compile_for(device: Device, config: Any, hlo: str | None = None, devices: int = 1) -> Result:
    """Lets a process of its own `count`, and write the compiled program's text to `hlo` if that is given.

    Raises:
        UserError: if the compiler is not installed, or fails.
    """
    platform, name = device["platform"], f"--target {device['target']}"
    extras = compilers_of(device)
    if not any(_installed(COMPILERS[extra]) for extra in extras):
        raise UserError(f"{name} needs its compiler: pip install 'fastgan_jax[{extras[0]}]'")
    if platform == "cuda" and _installed(COMPILERS["target-cuda"]) and _installed(COMPILERS["target-cuda12"]):
        cure = "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt, or the two of jax-cuda12"
        raise UserError(f"{name}: two CUDA compilers are installed, of which JAX takes either: {cure}")
    variables = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if platform == "cuda":  # algorithms cannot be tried out
        variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
    else:
        variables |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
        variables["TPU_ACCELERATOR_TYPE"] = device["accelerator_type"]
    if hlo:
        check_outputs([hlo], overwrite=True, option="--hlo")
    request = json.dumps({"device": device, "config": config.to_dict(), "hlo": hlo, "devices": devices})
    command = [sys.executable, "-m", "fastgan_jax.benchmark.target"]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, text=True, env=child_environment(**variables))
    if done.returncode:
        raise UserError(f"{name}: the compiler ended with exit code {done.returncode}; its own messages are above")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise UserError(answer["error"])
    return answer


def compilers_of(device: Device) -> list[str]:
    """Of COMPILERS, those that compile for a device, the one to install first."""
    if device["platform"] == "tpu":
        return ["target-tpu"]
    return ["target-cuda", "target-cuda12"] if _capability(device) >= TURING else ["target-cuda12"]


def _capability(device: Device) -> tuple[int, int]:
    """The compute capability of a GPU, such as (7, 5)."""
    capability = device["target_config"]["gpu_device_info"]["cuda_compute_capability"]
    return capability["major"], capability["minor"]


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def main() -> None:
    """Answers a request of `compile_for` on standard input with a line of JSON."""
    request = json.load(sys.stdin)
    try:
        config = ml_collections.ConfigDict(request.pop("config"))
        answer = count(config=config, **request)
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


def count(device: Device, config: Any, hlo: str | None = None, devices: int = 1) -> Result:
    """Compiles for a device in this process, and counts; all but memory and compile_seconds are per iteration.

    Of several `devices`, which share each batch, numbers are those of one.

    Bytes moved are those of every kernel's operands and results, flops those of convolutions and matrix products.
    "peak_memory" is bytes by XLA's buffer assignment, without the "resident_set" of images.
    """
    backend = BACKENDS[device["platform"]]
    mesh = Mesh(np.array(_abstract_devices(device, devices)), (BATCH_AXIS,))
    program, shapes, per_call = training_program(config, backend, mesh if devices > 1 else None)
    start = time.perf_counter()
    try:
        jitted = jax.jit(program, donate_argnums=0, out_shardings=on_all(mesh) if devices > 1 else None)
        compiled = jitted.lower(*placed(shapes, mesh, resident=config.data.resident != "false")).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(f"the program does not fit the memory of {device['device']} ({gist(error)})") from None
    compile_seconds, text, memory = time.perf_counter() - start, compiled.as_text(), compiled.memory_analysis()
    if hlo:
        write_text(hlo, text)
    kernels, numbers, moved = list(HloProgram(text).kernels()), collections.Counter(), collections.Counter()
    for kernel in kernels:
        numbers[kernel.kind] += kernel.times
        moved[kernel.kind] += kernel.times * kernel.bytes
    images_and_labels = [] if config.data.resident == "false" else jax.tree.leaves(shapes[2:4])
    resident_set = sum(x.size * x.dtype.itemsize for x in images_and_labels)
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    local = [kernel for kernel in kernels if kernel.kind not in COLLECTIVES]
    capability = [_capability(device)] if backend == "gpu" else []
    estimate = roofline(device, local, arithmetic(config.train.precision, backend, *capability))
    roofline_ms = estimate.pop("seconds") / per_call * 1e3
    if devices > 1:
        found = scaling.collectives(kernels, per_call)
        predicted = scaling.predict(device, found, roofline_ms, config.train.batch_size / devices)
        estimate["assumptions"] += scaling.assumptions(device)
        estimate |= {"devices": devices, "collectives": found, "scaling": predicted}
    return results.config_facts(config) | {
        "target": device["target"],
        "device": device["device"],
        "iterations_per_call": per_call,
        "kernels": round(numbers.total() / per_call),
        "kernels_by_kind": {kind: round(number / per_call) for kind, number in numbers.most_common()},
        "bytes_moved": round(moved.total() / per_call),
        "bytes_by_kind": {kind: round(size / per_call) for kind, size in moved.most_common()},
        "flops": round(sum(kernel.times * kernel.flops for kernel in kernels) / per_call),
        "peak_memory": (memory.peak_memory_in_bytes or needed - memory.alias_size_in_bytes) - resident_set,
        "resident_set": resident_set,
        "roofline_ms": roofline_ms,
        "compile_seconds": compile_seconds,
        "versions": results.versions("jax", "jaxlib", "flax"),
        **estimate,
    }


def training_program(config: Any, backend: str, mesh: Mesh | None = None) -> tuple[Any, tuple, int]:
    """What training would compile on a backend: the program, the shapes of its arguments, and iterations per call.

    `mesh` has the devices that share each batch; None: a single one.

    The set of images, of NUM_IMAGES, is resident unless data.resident=false.
    """
    work = make_workload(config, backend)
    work = dataclasses.replace(work, spec=dataclasses.replace(work.spec, mesh=mesh))
    state, pretrained, *arrays = jax.eval_shape(lambda *arguments: arguments, work.state, *work.inputs)
    if work.streamed is None:
        arrays[:2] = jax.tree.map(lambda x: jax.ShapeDtypeStruct((NUM_IMAGES, *x.shape[1:]), x.dtype), arrays[:2])
    return work.program(), (state, pretrained, *arrays), work.per_call


def placed(shapes: tuple, mesh: Mesh, *, resident: bool) -> list:
    """The shapes of the program's arguments with the devices of `mesh` that they are on, as in training."""
    batches = 1 if resident else 2  # arguments, the last ones
    shardings = [on_all(mesh)] * (len(shapes) - batches) + [along_batch(mesh, axis=1)] * batches

    def place(tree: Any, sharding: NamedSharding) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    return list(map(place, shapes, shardings))


def roofline(device: Device, kernels: Sequence[Kernel], arithmetic: str) -> dict[str, Any]:
    """Kernels that run one after the other, each at the device's bandwidth or its peak in this arithmetic.

    "seconds" of all; "heaviest", those that take the longest, as dicts with seconds of all their runs; "assumptions".
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
        if peak := own or results.peak_teraflops(device["device"], kind):
            note = "" if kind == arithmetic else f", since the device has no units for {arithmetic}"
            return peak * 1e12, f"convolutions and matrix products in {kind} at {peak:g} TFLOP/s{note}"
    return None, f"convolutions and matrix products take no time: the peak of {device['device']} is not known"


def _abstract_devices(device: Device, count: int) -> list:
    """So many devices of this kind that programs can be compiled for."""
    if device["platform"] == "tpu":
        topology = device["topology"]
        if count > 1:  # a slice whose sides are equal, or 1 to 2
            rows = 2 ** ((count.bit_length() - 1) // 2)
            topology = f"{topology.partition(':')[0]}:{rows}x{count // rows}"
        return topologies.get_topology_desc(topology, "tpu").devices[:count]
    config = device["target_config"] | {"device_description_str": device["device"]}
    config["gpu_device_info"]["memory_bandwidth"] = device["memory_bandwidth"]
    hosts = -(-count // GPUS_OF_A_HOST)
    topology = f"1x{hosts}x{count // hosts}"
    return topologies.get_topology_desc("", "cuda", target_config=_as_text(config), topology=topology).devices


def _as_text(message: Mapping[str, Any]) -> str:
    """A protocol buffer's fields in its text format."""
    return " ".join(
        f"{name} {{ {_as_text(value)} }}" if isinstance(value, Mapping) else f"{name}: {json.dumps(value)}"
        for name, value in message.items()
    )


def report(counts: Mapping[str, Result]) -> str:
    """A table of counts {name of the configuration: result}; of a single result also its kernels."""
    first = next(iter(counts.values()))
    what = f"{first['resolution']} pixels, {first['precision']}, remat {first['remat']}, {first['reconstruction']}"
    rows = [
        {
            "program": name,
            "kernels": result["kernels"],
            "bytes moved, GB": f"{result['bytes_moved'] / 1e9:.2f}",
            "peak memory, GB": f"{result['peak_memory'] / 1e9:.2f}",
            "resident set, GB": f"{result['resident_set'] / 1e9:.2f}",
            "GFLOP": f"{result['flops'] / 1e9:.0f}",
            "roofline, ms": f"{result['roofline_ms']:.2f}",
            "compile, s": f"{result['compile_seconds']:.0f}",
        }
        for name, result in counts.items()
    ]
    sizes, kinds = first["bytes_by_kind"], first["kernels_by_kind"].items()
    kinds = [{"kernels": kind, "number": number, "GB": f"{sizes[kind] / 1e9:.2f}"} for kind, number in kinds]
    heaviest = [
        {
            "heaviest kernels": kernel["kind"],
            "microseconds": f"{kernel['seconds'] / kernel['times'] * 1e6:.1f}",
            "MB": f"{kernel['bytes'] / 1e6:.1f}",
            "GFLOP": f"{kernel['flops'] / 1e9:.1f}",
            "of": kernel["source"],
        }
        for kernel in first["heaviest"]
    ]
    tables = [rows] if len(counts) > 1 else [rows, kinds, heaviest]
    if "scaling" in first:
        tables += scaling.tables(first["collectives"], first["scaling"])
    shared = f", on each of {first['devices']}" if "devices" in first else ""
    heading = f"{first['target']} ({first['device']}){shared}, per iteration: batch {first['batch_size']}, {what}"
    assumptions = dict.fromkeys(words for result in counts.values() for words in result["assumptions"])
    return "\n\n".join([heading, *map(results.markdown, tables), "\n- ".join(["The roofline assumes:", *assumptions])])


if __name__ == "__main__":
    main()
