"""What the page about a run says of its evaluations: warnings in words, a chart of every metric, and all numbers."""

from typing import Any

from fastgan_jax.evaluation.diagnosis import PREFIX, RISING_FOR, diagnose, evaluations
from fastgan_jax.metrics.registry import BASELINES, BETTER, METRICS, rank
from fastgan_jax.pretrained.networks import PERCEPTUAL
from fastgan_jax.report.charts import line_chart
from fastgan_jax.report.page import figure, paragraph, side_by_side, table

MEANINGS = {
    "fid": "Fréchet Inception distance between samples and training images.",
    "frechet": "Fréchet distance on the features named above, which is no FID; to compare checkpoints of a run.",
    "kid": "Kernel distance, unbiased also for small sets.",
    "precision": "Share of samples that look like training images.",
    "recall": "Share of training images that samples come near to.",
    "density": "How densely samples lie among training images; about 1 for a perfect model.",
    "coverage": "Share of training images with a sample in their neighborhood.",
    "diversity": "Mean distance between two samples, beside that of two training images; a collapse makes it fall.",
    "nearest": "Mean distance of a sample from its nearest training image. Memorization makes it fall far below what "
    "training images measure: from themselves cropped, from themselves mirrored unless training mirrors them "
    "(data.flip), and from their nearest other.",
}
SPREAD = "kid_spread"

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
    judged = {
        f"over-training (needs {best} of more than {RISING_FOR} evaluations)": known(best) > RISING_FOR,
        "memorization (needs nearest)": all(history[-1].get(name) is not None for name in compared),
        "collapse (needs diversity)": known("diversity") > 0,
    }
    found = diagnose(lines, best, mirrored=mirrored)
    told = [paragraph(f"{line[:1].upper()}{line[1:]}.", "warning") for line in found]
    signs = [name.split(" ")[0] for name, is_known in judged.items() if is_known]
    quiet = [sign for sign in signs if not any(line.startswith(sign) for line in found)]
    unknown = [name for name, is_known in judged.items() if not is_known]
    *first, last = quiet or [""]
    told += [paragraph(f"No sign of {', '.join(first)}{' or ' if first else ''}{last}.")] if quiet else []
    told += [paragraph(f"Not known: {', '.join(unknown)}.")] if unknown else []
    return "".join(told)


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


def lines_of(judged: dict[str, Any]) -> list[dict[str, Any]]:
    """The checkpoints of an evaluation.json (`evaluation_report.write_json`) as lines of metrics.jsonl."""
    return [
        {"step": row["step"]} | {f"{PREFIX}{name}": value for name, value in row.items() if name != "step"}
        for row in judged["checkpoints"]
    ]


def evaluation_afterwards(judged: dict[str, Any]) -> str:
    """As `evaluation`, of the kept checkpoints that an evaluation.json judges."""
    real = "" if judged["real"] == "training set" else f" of {judged['real']}"
    how = "".join(f" {metric}: {text}." for metric, text in judged["protocol"].items())
    return _numbers(
        f"{judged['num_samples']} samples against {judged['num_real']} real images{real}. {judged['networks']}.{how}",
        evaluations(lines_of(judged)),
    )


def _numbers(described: str, history: History) -> str:
    """How it was evaluated, a chart of every metric, and a table."""
    text = paragraph(
        f"{described} Large numbers are those of iteration {history[-1]['step']}; a ring marks the best of a curve."
    )
    names = list(dict.fromkeys(name for entry in history for name in entry if name != "step"))
    charts = [_metric(name, history) for name in names if name not in (*BASELINES, SPREAD)]
    rows = [(entry["step"], *(_number(entry.get(name)) for name in names)) for entry in history]
    numbers = table(rows, ("iteration", *names))
    return f"{text}{side_by_side(charts)}<details><summary>All evaluations</summary>{numbers}</details>"


def _metric(name: str, history: History) -> str:
    """The chart of a metric beside what the training images alone measure, with its meaning."""
    known = [(entry["step"], entry[name]) for entry in history if entry.get(name) is not None]
    if not known:
        return ""
    value, meaning, mark = _number(history[-1].get(name)), MEANINGS.get(name, ""), None
    if name == "kid" and history[-1].get(SPREAD) is not None:
        meaning += f" Its standard deviation over subsets is {_number(history[-1][SPREAD])}."
    if name in BETTER:
        mark = min(known, key=lambda point: rank(name, point[1]))
        meaning = f"{BETTER[name]} is better; best at iteration {mark[0]}: {_number(mark[1])}. {meaning}"
    curves = [name, *(other for other in METRICS.get(name, ()) if other in BASELINES)]
    series = {
        f"{curve} {_number(history[-1].get(curve))}": [(entry["step"], entry.get(curve)) for entry in history]
        for curve in curves
    }
    return figure(line_chart(name, series, mark), f"{meaning[:1].upper()}{meaning[1:]}", name, value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
