"""The evaluations of a run on its page: warnings in words, a chart of every metric, and all numbers."""

import contextlib
from typing import Any

from fastgan_jax.evaluation.choice import networks_in_words
from fastgan_jax.evaluation.diagnosis import RISING_FOR, History, collapse, memorization, overtraining, ranking
from fastgan_jax.evaluation.results import best_row, sizes
from fastgan_jax.metrics.registry import METRICS, beside, output
from fastgan_jax.report.figures import line_chart
from fastgan_jax.report.html import figure, folded, paragraph, side_by_side, table
from fastgan_jax.runs.config import from_saved


def warnings(config: dict, history: History, afterwards: dict[str, Any]) -> str:
    """Over-training, memorization and collapse in words, and which of them is not known.

    Each is asked of the newest evaluations that can tell: those made while training, or those of an evaluation.json.
    For memorization and collapse these must compare with the training images.

    Args:
        config: the run's settings by group.
        history: evaluations made while training.
        afterwards: content of evaluation.json; {} without one.
    """
    sources = [(history, True)]
    if afterwards:
        sources.append((afterwards["checkpoints"], afterwards["trained_on"]))
    sources = sorted((each for each in sources if each[0]), key=lambda each: each[0][-1]["step"])[::-1]
    if not sources:
        return paragraph("No evaluation was made, so nothing is known of over-training, memorization or collapse.")
    best = config.get("eval", {}).get("best_metric", "fid")
    mirrored = bool(config.get("data", {}).get("flip", False))
    compared = ("nearest", "nearest_cropped") if mirrored else ("nearest", "nearest_flipped", "nearest_cropped")

    def known(rows: History, name: str) -> int:
        return sum(row.get(name) is not None for row in rows)

    signs = {  # of each, whether evaluations can tell, and what they say
        f"over-training (needs {ranking(sources[0][0], best)} of more than {RISING_FOR} evaluations)": (
            lambda rows, _: known(rows, ranking(rows, best)) > RISING_FOR,
            lambda rows: overtraining(rows, ranking(rows, best)),
        ),
        "memorization (needs nearest)": (
            lambda rows, of_training: of_training and all(rows[-1].get(name) is not None for name in compared),
            lambda rows: memorization(rows[-1], mirrored),
        ),
        "collapse (needs diversity)": (
            lambda rows, of_training: of_training and known(rows, "diversity") > 0,
            collapse,
        ),
    }
    found, absent, unknown = [], [], []
    for sign, (tells, says) in signs.items():
        rows = next((rows for rows, of_training in sources if tells(rows, of_training)), None)
        said = [] if rows is None else says(rows)
        found += said
        if rows is None:
            unknown.append(sign)
        elif not said:
            absent.append(sign.split(" ")[0])
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
    networks = "networks that are not recorded"
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # settings that are damaged
        complete = from_saved(config)
        shown = {name for row in history for name, value in row.items() if value is not None}
        of_these = [name for name, metric in METRICS.items() if shown.intersection(x.name for x in metric.outputs)]
        complete.eval.metrics = ",".join(of_these)
        networks = networks_in_words(complete)
    count = config.get("eval", {}).get("num_samples", "unknown")
    return _numbers(f"{count} samples.{networks and f' {networks}.'}", history)


def evaluation_afterwards(results: dict[str, Any]) -> str:
    """As `evaluation`, of the kept checkpoints in an evaluation.json, see `results.write_json`."""
    how = "".join(f" {metric}: {text}." for metric, text in results["protocol"].items())
    remarks = "".join(f" {_capitalized(remark)}." for remark in results.get("remarks", ()))
    networks = results["networks"] and f" {results['networks']}."
    return _numbers(f"{sizes(results)}.{networks}{how}{remarks}", results["checkpoints"])


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
