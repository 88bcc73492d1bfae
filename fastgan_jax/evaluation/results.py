"""Evaluations of several checkpoints as a table, as JSON, as a plot, and in words."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.diagnosis import PREFIX, diagnose
from fastgan_jax.evaluation.evaluator import Evaluation
from fastgan_jax.metrics.registry import BASELINES, BETTER, METRICS, rank
from fastgan_jax.utils.files import write_text

Row = dict[str, Any]  # {"step": iteration, number: value}
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def best_row(rows: Sequence[Row], name: str) -> Row:
    """The row whose number `name`, one of `metrics.names.BETTER`, is best; the earliest of equal ones."""
    return min(rows, key=lambda row: rank(name, row[name]))


def summary(evaluation: Evaluation) -> str:
    """What the metrics were computed from, and how, in a line or two."""
    facts = evaluation.facts
    against = "" if facts["real"] == "training set" else f" of {facts['real']}"
    lines = [
        f"{facts['run']}: {facts['num_samples']} samples against {facts['num_real']} real images{against} "
        f"({facts['networks']})"
    ]
    if facts["protocol"]:
        lines.append("; ".join(f"{metric}: {how}" for metric, how in facts["protocol"].items()))
    return "\n".join(lines)


def table(evaluation: Evaluation) -> str:
    """A table for the terminal, one line a checkpoint; * marks the best value of a column if there are several.

    What the real images measure alone is the same for all checkpoints and stands below.
    """
    rows = evaluation.rows
    names = [name for name in _names(rows) if name not in BASELINES]
    best = {name: best_row(rows, name) for name in names if name in BETTER and len(rows) > 1}
    lines = [["iteration", *(f"{name} " for name in names)]]
    for row in rows:
        lines.append(
            [str(row["step"]), *(f"{_digits(row[name])}{'*' if best.get(name) is row else ' '}" for name in names)]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    alone = [f"{name} {_digits(rows[0][name])}" for name in BASELINES if name in rows[0]]
    return "\n".join([*text, f"real images alone: {', '.join(alone)}"] if alone else text)


def warnings(evaluation: Evaluation, best_metric: str) -> list[str]:
    """What the rows, as the history of a run, tell in words; `best_metric` counts if it is among their numbers."""
    names = _names(evaluation.rows)
    judged = next((name for name in (best_metric, *names) if name in names and name in BETTER), best_metric)
    lines = [{"step": row["step"]} | {f"{PREFIX}{name}": row[name] for name in names} for row in _finite(evaluation)]
    return diagnose(lines, judged, mirrored=evaluation.facts["mirrored"])


def write_json(path: Path, evaluation: Evaluation, told: Sequence[str] = ()) -> None:
    """Writes {facts..., "checkpoints": rows, "warnings": told}; what is no number becomes null.

    Raises:
        UserError: if the file cannot be written.
    """
    result = evaluation.facts | {"checkpoints": _finite(evaluation), "warnings": list(told)}
    write_text(path, json.dumps(result, indent=2) + "\n")


def check_plot(path: Path) -> None:
    """Checks that a plot can be written in the format that a file's name asks for.

    Raises:
        UserError: if not.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise UserError(f"--plot {path}: give a file that ends in {', '.join(PLOT_SUFFIXES)}")


def plot(path: Path, evaluation: Evaluation) -> None:
    """Draws every metric against the iteration, the best value marked, beside what it is to be compared with."""
    from matplotlib.figure import Figure

    rows = evaluation.rows
    steps = [row["step"] for row in rows]
    panels = _panels(_names(rows))
    figure = Figure(figsize=(7, 2 * len(panels) + 1), layout="constrained")
    figure.suptitle(summary(evaluation), fontsize=8, wrap=True)
    for axes, (name, baselines) in zip(
        figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels, strict=True
    ):
        axes.plot(steps, [row[name] for row in rows], marker="o", markersize=3, label=name)
        for baseline in baselines:
            axes.plot(steps, [row[baseline] for row in rows], linestyle="--", linewidth=1, label=baseline)
        if name in BETTER:
            best = best_row(rows, name)
            axes.plot([best["step"]], [best[name]], marker="*", markersize=12, linestyle="none", color="C3")
        if baselines:
            axes.legend(fontsize=7)
        axes.set_ylabel(f"{name}\n({BETTER[name]} is better)" if name in BETTER else name, fontsize=8)
        axes.grid(alpha=0.3)
    axes.set_xlabel("iteration")
    figure.savefig(path, dpi=120)


def _finite(evaluation: Evaluation) -> list[Row]:
    """The rows with None for what is no number."""
    return [{name: value if math.isfinite(value) else None for name, value in row.items()} for row in evaluation.rows]


def _names(rows: Sequence[Row]) -> list[str]:
    return [name for name in rows[0] if name != "step"]


def _panels(names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The numbers that get a plot of their own, each with those of the real images alone that belong to it."""
    own = [name for name in names if name not in BASELINES and name != "kid_spread"]
    return [(name, [other for other in METRICS.get(name, ()) if other in BASELINES and other in names]) for name in own]


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.1f}"
