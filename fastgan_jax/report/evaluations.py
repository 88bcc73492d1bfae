"""The evaluations of a run on its page: warnings in words, a chart of every metric, and all numbers."""

from typing import Any

from fastgan_jax.evaluation.diagnosis import RISING_FOR, History, diagnose
from fastgan_jax.evaluation.results import best_row, sizes
from fastgan_jax.metrics.registry import beside, output
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.report.figures import line_chart
from fastgan_jax.report.html import figure, folded, paragraph, side_by_side, table


def warnings(config: dict, history: History) -> str:
    """Over-training, memorization and collapse in words, and which of them is not known.

    `config` has the run's settings by group.
    """
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
    found = diagnose(history, best, mirrored=mirrored)
    signs = [name.split(" ")[0] for name, is_known in known_of.items() if is_known]
    absent = [sign for sign in signs if not any(line.startswith(sign) for line in found)]
    unknown = [name for name, is_known in known_of.items() if not is_known]
    text = [paragraph(f"{_capitalized(line)}.", "warning") for line in found]
    if absent:
        *first, last = absent
        text.append(paragraph(f"No sign of {', '.join(first)}{' or ' if first else ''}{last}."))
    if unknown:
        text.append(paragraph(f"Not known: {', '.join(unknown)}."))
    return "".join(text)


def evaluation(config: dict, history: History) -> str:
    """How training evaluated, a chart of every metric, and a table of all evaluations; arguments as for `warnings`."""
    if not history:
        return paragraph("There are no evaluations in metrics.jsonl: none was made while training (eval.every).")
    settings = config.get("eval", {}) | config.get("loss", {})
    count, features, resize, network = (
        settings.get(name, "unknown") for name in ("num_samples", "features", "resize", "perceptual_net")
    )
    measure = PERCEPTUAL[network].measure if network in PERCEPTUAL else network
    described = f"{count} samples. Feature network: {features}, resize convention: {resize}."
    return _numbers(f"{described} Distances between images: {measure}.", history)


def evaluation_afterwards(results: dict[str, Any]) -> str:
    """As `evaluation`, of the kept checkpoints in an evaluation.json, see `results.write_json`."""
    how = "".join(f" {metric}: {text}." for metric, text in results["protocol"].items())
    return _numbers(f"{sizes(results)}. {results['networks']}.{how}", results["checkpoints"])


def _numbers(described: str, history: History) -> str:
    """How the evaluation was done, a chart of every metric, and a table."""
    text = paragraph(
        f"{described} Large numbers are those of iteration {history[-1]['step']}; a ring marks the best of a curve."
    )
    names = list(dict.fromkeys(name for entry in history for name in entry if name != "step"))
    charts = [_metric(name, history) for name in names if output(name).role == "value"]
    rows = [(entry["step"], *(_number(entry.get(name)) for name in names)) for entry in history]
    return f"{text}{side_by_side(charts)}{folded('All evaluations', table(rows, ('iteration', *names)))}"


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
        best = best_row(history, name)
        where = f"; best at iteration {best['step']}: {_number(best[name])}" if best else ""
        mark = (best["step"], best[name]) if best else None
        meaning = f"{entry.better} is better{where}. {meaning}"
    series = {
        f"{curve} {_number(latest.get(curve))}": [(line["step"], line.get(curve)) for line in history]
        for curve in (name, *beside(name, "baseline"))
    }
    chart = line_chart(name, series, mark)
    return figure(chart, _capitalized(meaning), name, _number(latest.get(name)))


def _capitalized(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
