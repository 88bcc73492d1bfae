"""The evaluations of a run on its page: warnings in words, a chart of every metric, and all numbers."""

from typing import Any

from fastgan_jax.evaluation.diagnosis import RISING_FOR, diagnose, evaluations, to_line
from fastgan_jax.metrics.registry import beside, output, rank
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.report.figures import line_chart
from fastgan_jax.report.html import figure, paragraph, side_by_side, table

History = list[dict[str, Any]]


def warnings(config: dict, lines: list[dict]) -> str:
    """Over-training, memorization and collapse in words, and which of them is not known.

    Args:
        config: the settings of the run, by group.
        lines: of metrics.jsonl, or `lines_of` an evaluation.json.
    """
    history = evaluations(lines)
    if not history:
        return paragraph("No evaluation was made, so nothing is known of over-training, memorization or collapse.")
    best = config.get("eval", {}).get("best_metric", "fid")

    def known(name: str) -> int:
        return sum(entry.get(name) is not None for entry in history)

    mirrored = bool(config.get("data", {}).get("flip", False))
    compared = ("nearest", "nearest_cropped") if mirrored else ("nearest", "nearest_flipped", "nearest_cropped")
    known_of = {
        f"over-training (needs {best} of more than {RISING_FOR} evaluations)": known(best) > RISING_FOR,
        "memorization (needs nearest)": all(history[-1].get(name) is not None for name in compared),
        "collapse (needs diversity)": known("diversity") > 0,
    }
    found = diagnose(lines, best, mirrored=mirrored)
    signs = [name.split(" ")[0] for name, is_known in known_of.items() if is_known]
    absent = [sign for sign in signs if not any(line.startswith(sign) for line in found)]
    unknown = [name for name, is_known in known_of.items() if not is_known]
    text = [paragraph(f"{line[:1].upper()}{line[1:]}.", "warning") for line in found]
    if absent:
        *first, last = absent
        text.append(paragraph(f"No sign of {', '.join(first)}{' or ' if first else ''}{last}."))
    if unknown:
        text.append(paragraph(f"Not known: {', '.join(unknown)}."))
    return "".join(text)


def evaluation(config: dict, lines: list[dict]) -> str:
    """How training evaluated, a chart of every metric, and a table of all evaluations; arguments as for `warnings`."""
    history = evaluations(lines)
    if not history:
        return paragraph("There are no evaluations in metrics.jsonl: none was made while training (eval.every).")
    settings = config.get("eval", {}) | config.get("loss", {})
    count, features, resize, network = (
        settings.get(name, "unknown") for name in ("num_samples", "features", "resize", "perceptual_net")
    )
    measure = PERCEPTUAL[network].measure if network in PERCEPTUAL else network
    return _numbers(
        f"{count} samples. Feature network: {features}, resize convention: {resize}. Distances between images: "
        f"{measure}.",
        history,
    )


def lines_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The checkpoints of an evaluation.json (`results.write_json`) as lines of metrics.jsonl."""
    return [to_line(row) for row in results["checkpoints"]]


def evaluation_afterwards(results: dict[str, Any]) -> str:
    """As `evaluation`, of the kept checkpoints in an evaluation.json."""
    real = "" if results["real"] == "training set" else f" of {results['real']}"
    how = "".join(f" {metric}: {text}." for metric, text in results["protocol"].items())
    sizes = f"{results['num_samples']} samples against {results['num_real']} real images{real}"
    return _numbers(f"{sizes}. {results['networks']}.{how}", evaluations(lines_of(results)))


def _numbers(described: str, history: History) -> str:
    """How the evaluation was done, a chart of every metric, and a table."""
    text = paragraph(
        f"{described} Large numbers are those of iteration {history[-1]['step']}; a ring marks the best of a curve."
    )
    names = list(dict.fromkeys(name for entry in history for name in entry if name != "step"))
    charts = [_metric(name, history) for name in names if output(name).role == "value"]
    rows = [(entry["step"], *(_number(entry.get(name)) for name in names)) for entry in history]
    numbers = table(rows, ("iteration", *names))
    return f"{text}{side_by_side(charts)}<details><summary>All evaluations</summary>{numbers}</details>"


def _metric(name: str, history: History) -> str:
    """The chart of a metric beside what the training images alone measure, with its meaning."""
    known = [(entry["step"], entry[name]) for entry in history if entry.get(name) is not None]
    if not known:
        return ""
    latest, entry = history[-1], output(name)
    meaning, mark = entry.meaning, None
    for spread in beside(name, "spread"):
        if latest.get(spread) is not None:
            meaning += f" {output(spread).meaning.removesuffix('.')}: {_number(latest[spread])}."
    if entry.better:
        mark = min(known, key=lambda point: rank(name, point[1]))
        meaning = f"{entry.better} is better; best at iteration {mark[0]}: {_number(mark[1])}. {meaning}"
    series = {
        f"{curve} {_number(latest.get(curve))}": [(line["step"], line.get(curve)) for line in history]
        for curve in (name, *beside(name, "baseline"))
    }
    chart = line_chart(name, series, mark)
    return figure(chart, f"{meaning[:1].upper()}{meaning[1:]}", name, _number(latest.get(name)))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
