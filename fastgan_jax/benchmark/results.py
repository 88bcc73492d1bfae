"""Results of timing a program, ours or PyTorch's: statistics, shares of a device's peak, tables, ratios.

A result is a dict fit for JSON with the keys of `RESULT_KEYS`; a value that is not known is None. "machine" is
{processor, cores that this process may use}, "config" all fields, "arithmetic" what convolutions multiply in (float32 |
tfloat32 | bfloat16); "ms_per_iteration" is the `spread` of blocks, each the mean of its iterations, "compile_seconds"
{cold, cached}, "memory" bytes {allocator_peak, program: its own analysis}. Operations are "counted", those of the
reference variants, with their parts per image, or "executed", those of the program (see `operation_counts`), and so are
"teraflops" and "share_of_peak"; "peak_teraflops" are the device's in this arithmetic.
"""

import datetime
import json
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fastgan_jax.data.memory import cpu_threads
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import user_path, write_json

Result = dict[str, Any]

RESULT_KEYS = (
    *("program", "date", "device", "backend", "machine", "versions", "resolution", "batch_size", "precision"),
    *("arithmetic", "remat", "reconstruction", "iterations_per_call", "config", "ms_per_iteration"),
    *("iterations_per_block", "images_per_second", "minutes_per_10k", "compile_seconds", "memory"),
    *("flops_per_iteration", "teraflops", "peak_teraflops", "share_of_peak", "parameters", "notes"),
)
MUST_AGREE = ("device", "resolution", "batch_size", "precision", "arithmetic", "reconstruction", "iterations_per_block")

# Dense teraflops of devices whose name in JAX and PyTorch matches, the first match counting; from the makers' data
# sheets: NVIDIA's of H100, H200, A100, T4 and V100 (halved where they count zeros skipped), NVIDIA's papers on Turing,
# GA102 and AD102 (sums in float32), Cloud TPU's documentation. None: no such units, or the maker does not say.
ARITHMETICS = ("bfloat16", "tfloat32", "float32")
PEAKS: dict[str, tuple[float | None, float | None, float | None]] = {
    r"H[12]00 NVL": (835, 417, 60),
    r"H100 PCIe": (756, 378, 51),
    r"H[12]00\b": (989, 494, 67),
    r"A100\b": (312, 156, 19.5),
    r"\bT4$": (None, None, 8.1),
    r"V100-PCIE": (None, None, 14),
    r"V100-SXM2": (None, None, 15.7),
    r"GTX 1050 Ti$": (None, None, 2.1),
    r"GTX 1650$": (None, None, 3.0),
    r"RTX 2080 Ti$": (None, None, 13.4),
    r"RTX 3090$": (71, 35.6, 35.6),
    r"RTX 4090$": (165.2, 82.6, 82.6),
    r"TPU v4$": (275, None, None),
    r"TPU v5( lite|e)$": (197, None, None),
    r"TPU v6( lite|e)$": (918, None, None),
}


def peak_teraflops(device: str, arithmetic: str) -> float | None:
    """Peak teraflops of a device of this name in one of ARITHMETICS; None: not known here."""
    peaks = next((peaks for name, peaks in PEAKS.items() if re.search(name, device)), (None,) * 3)
    return peaks[ARITHMETICS.index(arithmetic)]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest, largest and quartiles of one value or more, and the values as "blocks"."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * list(values)
    ends = {"min": min(values), "quartile_1": low, "quartile_3": high, "max": max(values)}
    return {"median": median, **ends, "blocks": list(values)}


def complete(known: Mapping[str, Any], seconds: Sequence[float], iterations: int) -> Result:
    """A whole result from what each block of so many iterations took.

    `known` has values of RESULT_KEYS, among them those that the rates are computed from; missing ones become None.
    """
    times = spread([1e3 * block / iterations for block in seconds])
    per_second = 1e3 / times["median"]
    flops, peak = known["flops_per_iteration"], peak_teraflops(known["device"], known["arithmetic"])
    achieved = {name: flops[name] and flops[name] * per_second / 1e12 for name in ("counted", "executed")}
    values = {
        **known,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {"processor": processor_name(), "cores": cpu_threads()},
        "ms_per_iteration": times,
        "iterations_per_block": iterations,
        "images_per_second": known["batch_size"] * per_second,
        "minutes_per_10k": 10_000 / per_second / 60,
        "teraflops": achieved,
        "peak_teraflops": peak,
        "share_of_peak": {name: peak and value and value / peak for name, value in achieved.items()},
    }
    return {key: values.get(key) for key in RESULT_KEYS}


def config_facts(config: Any) -> dict[str, Any]:
    """The keys of a result that follow from a configuration."""
    train, loss = config.train, config.loss
    facts = {"resolution": config.model.resolution, "config": config.to_dict()}
    facts["reconstruction"] = f"lpips {loss.perceptual_net}" if loss.reconstruction == "lpips" else loss.reconstruction
    return facts | {name: train[name] for name in ("batch_size", "precision", "remat")}


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python, this package and others."""
    from fastgan_jax import __version__

    ours = {"python": platform.python_version(), "fastgan_jax": __version__}
    return ours | {package: metadata.version(package) for package in packages}


def processor_name() -> str:
    """The processor's name where the system gives it, else its architecture."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows {column: cell}."""
    lines = (rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def cells(result: Result) -> dict[str, Any]:
    """A result as a row of `markdown`."""
    times, seconds, memory = result["ms_per_iteration"], result["compile_seconds"], result["memory"]
    device = result["device"]
    if result["backend"] == "cpu":
        device = f"{result['machine']['processor']}, {result['machine']['cores']} cores"
    gigabytes = _text(memory["allocator_peak"], ".2f", 1e9)
    if memory["allocator_peak"] is None and memory["program"]:
        gigabytes = f"{memory['program']['total'] / 1e9:.2f} (compiled)"
    packages = (f"{name} {version}" for name, version in result["versions"].items() if name in ("jax", "torch"))
    return {
        "program": result["program"],
        "device": device,
        "resolution": result["resolution"],
        "batch": result["batch_size"],
        "precision": f"{result['precision']} ({result['arithmetic']})",
        "loss": result["reconstruction"],
        "remat": _text(result["remat"]),
        "scan": _text(result["iterations_per_call"]),
        "ms/iteration (quartiles)": f"{times['median']:.4g} ({times['quartile_1']:.4g} to {times['quartile_3']:.4g})",
        "images/s": f"{result['images_per_second']:.4g}",
        "min/10k": f"{result['minutes_per_10k']:.4g}",
        "compile s cold/cached": f"{_text(seconds['cold'], '.1f')} / {_text(seconds['cached'], '.1f')}",
        "memory GB": gigabytes,
        "TFLOP/s counted/executed": " / ".join(_text(value, ".3g") for value in result["teraflops"].values()),
        "share of peak": _text(result["share_of_peak"]["counted"], ".1%"),
        "versions": ", ".join(packages),
        "date": result["date"],
    }


def show(result: Result, json_path: Path | None = None) -> None:
    """Prints a result, as JSON and as a row of Markdown, and writes it if a path is given."""
    print(json.dumps({key: value for key, value in result.items() if key != "config"}, indent=2))
    print(markdown([cells(result)]), flush=True)
    if json_path:
        write_json(json_path, result)


def read_json(path: str | Path) -> Result:
    """Reads a result; one of an older version may have more keys."""
    try:
        result = json.loads(user_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a benchmark's JSON file ({error})") from None
    missing = [key for key in RESULT_KEYS if not isinstance(result, dict) or key not in result]
    if missing:
        raise UserError(f"{path}: not a result of a benchmark (it has no {missing[0]}): write one with --json")
    return result


def comparison(first: Result, second: Result) -> str:
    """Lines with the ratios second / first; above 1, the first is faster or smaller."""
    lines = [f"ratios of {second['program']} to {first['program']}; above 1, {first['program']} is better"]
    lines += _differences(first, second)
    for key, field in (("ms_per_iteration", "median"), ("compile_seconds", "cold"), ("memory", "allocator_peak")):
        values = first[key][field], second[key][field]
        lines.append(f"  {key} ({field}): " + (f"{values[1] / values[0]:.3f}" if all(values) else "not known of both"))
    a, b = first["ms_per_iteration"], second["ms_per_iteration"]
    lowest, highest = b["quartile_1"] / a["quartile_3"], b["quartile_3"] / a["quartile_1"]
    lines.append(f"  ms_per_iteration (quartiles of both): {lowest:.3f} to {highest:.3f}")
    return "\n".join(lines)


def ratio_lines(outcome: Mapping[str, Any]) -> list[str]:
    """Of what `paired.compare` returns, each ratio to the first side, and what is not the same on both."""
    results = outcome["results"]
    first, lines = next(iter(results)), []
    for name, ratio in outcome["ratios"].items():
        lines.append(
            f"time of {name} / time of {first}: median {ratio['median']:.3f}, quartiles {ratio['quartile_1']:.3f} to "
            f"{ratio['quartile_3']:.3f}, {ratio['min']:.3f} to {ratio['max']:.3f} in {len(ratio['blocks'])} pairs of "
            "blocks"
        )
        lines += _differences(results[first], results[name])
    return lines


def _differences(first: Result, second: Result) -> list[str]:
    """A line for each of `MUST_AGREE` in which two results are not of the same thing."""
    differing = (key for key in MUST_AGREE if first[key] != second[key])
    return [f"  not the same {key}: {first[key]} and {second[key]}" for key in differing]


def _text(value: Any, form: str = "", unit: float = 1) -> str:
    """A value in a format, "-" for None; numbers may be in some unit."""
    return "-" if value is None else format(value / unit if unit != 1 else value, form)
