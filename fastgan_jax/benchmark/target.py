"""Compiles the training program for a device that is not here, and says what it would do there.

XLA compiles for GPUs and TPUs on any x86 machine: the kernels, the bytes that they move and the memory that they need
are those of the very program that training runs there. Times are an estimate (`target_process.roofline`). The compiler
runs in a process of its own, because it takes its settings from the environment, ends its process when it fails, and
must not touch a device that is here.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastgan_jax.benchmark.paired import child_environment
from fastgan_jax.benchmark.results import markdown
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import check_outputs, user_path

DEVICES = Path(__file__).with_name("devices")
KEYS = {
    "cuda": ("target_config",),
    "tpu": ("topology", "accelerator_type"),
}  # of a description, besides the common ones
BACKENDS = {"cuda": "gpu", "tpu": "tpu"}
PACKAGES = {"cuda": ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12"), "tpu": ("libtpu",)}  # the compilers

Device = dict[str, Any]  # see `read_device`
Result = dict[str, Any]  # see `target_process.count`


def read_device(name: str) -> Device:
    """The description of a device by its name in the folder devices/, or of a user's file of that form.

    Its keys: device (as JAX calls it), platform (cuda | tpu), memory_bandwidth (bytes a second), sources; for cuda
    target_config (XLA's GpuTargetConfigProto), for tpu topology and accelerator_type. A device without an entry in
    `device_peaks` may have teraflops, {bfloat16, tfloat32, float32: dense products}.

    Raises:
        UserError: if there is no such device or file, or it lacks something.
    """
    known = {path.stem: path for path in sorted(DEVICES.glob("*.json"))}
    path = known.get(name) or user_path(name)
    if not path.is_file():
        raise UserError(f"--target {name}: must be one of {', '.join(known)}, or a file of the same form")
    try:
        device = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in ("device", "memory_bandwidth", *KEYS[device["platform"]]) if key not in device]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"--target {name}: {path} does not describe a device ({error!r}): see {known['h100']}"
        ) from None
    if missing:
        raise UserError(f"--target {name}: {path} has no {missing[0]!r}: see {known['h100']}")
    return {"target": path.stem} | device


def compile_for(device: Device, config: Any, hlo: str | None = None) -> Result:
    """Compiles in a process of its own and returns what `target_process.count` says.

    Args:
        device: from `read_device`.
        config: the configuration; its source of images is not used.
        hlo: also write the compiled program's text here.

    Raises:
        UserError: if the compiler is not installed, or fails.
    """
    platform = device["platform"]
    if not any(map(_installed, PACKAGES[platform])):
        extra = f"fastgan_jax[target-{platform}]"
        raise UserError(f"--target {device['target']} needs the compiler for {platform}: pip install '{extra}'")
    variables = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if platform == "cuda":  # algorithms cannot be tried out
        variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
    else:
        variables |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
        variables["TPU_ACCELERATOR_TYPE"] = device["accelerator_type"]
    if hlo:
        check_outputs([user_path(hlo)], overwrite=True, option="--hlo")
    request = json.dumps({"device": device, "config": config.to_dict(), "hlo": hlo})
    command = [sys.executable, "-m", "fastgan_jax.benchmark.target_process"]
    done = subprocess.run(command, input=request, stdout=subprocess.PIPE, text=True, env=child_environment(**variables))
    if done.returncode:
        code = f"exit code {done.returncode}"
        raise UserError(f"--target {device['target']}: the compiler ended with {code}; its own messages are above")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise UserError(answer["error"])
    return answer


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def report(results: Mapping[str, Result]) -> str:
    """A table of counts {name of the configuration: result}; of a single result also its kernels."""
    first = next(iter(results.values()))
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
        for name, result in results.items()
    ]
    what = f"{first['resolution']} pixels, {first['precision']}, remat {first['remat']}, {first['reconstruction']}"
    parts = [
        f"{first['target']} ({first['device']}), per iteration: batch {first['batch_size']}, {what}",
        markdown(rows),
    ]
    if len(results) == 1:
        sizes = first["bytes_by_kind"]
        kinds = first["kernels_by_kind"].items()
        parts.append(markdown([{"kernels": k, "number": n, "GB": f"{sizes[k] / 1e9:.2f}"} for k, n in kinds]))
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
        parts.append(markdown(heaviest))
    assumptions = dict.fromkeys(words for result in results.values() for words in result["assumptions"])
    return "\n\n".join([*parts, "\n- ".join(["The roofline assumes:", *assumptions])])
