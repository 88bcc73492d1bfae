"""Evaluations of several checkpoints as a table, as JSON and as a plot."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgan_jax.evaluate import Evaluation
from fastgan_jax.metrics.names import BETTER, rank
from fastgan_jax.writers import write_text

Row = dict[str, Any]  # {"step": iteration, number: value}


def best_row(rows: Sequence[Row], name: str) -> Row:
    """The row whose number `name`, one of `metrics.names.BETTER`, is best; the earliest of equal ones."""
    return min(rows, key=lambda row: rank(name, row[name]))


def summary(evaluation: Evaluation) -> str:
    """What the metrics were computed from, in a line."""
    facts = evaluation.facts
    networks = "; ".join(text for text in (facts["features"], facts["distance"]) if text)
    return f"{facts['run']}: {facts['num_samples']} samples against {facts['num_real']} real pictures ({networks})"


def table(evaluation: Evaluation) -> str:
    """A table for the terminal, one line a checkpoint; * marks the best value of a column if there are several."""
    rows = evaluation.rows
    names = [name for name in rows[0] if name != "step"]
    best = {name: best_row(rows, name) for name in names if name in BETTER and len(rows) > 1}
    lines = [["iteration", *names]]
    for row in rows:
        lines.append([str(row["step"]), *(f"{row[name]:.4f}{'*' if best.get(name) is row else ' '}" for name in names)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Writes {facts..., "checkpoints": rows}.

    Raises:
        UserError: if the file cannot be written.
    """
    write_text(path, json.dumps(evaluation.facts | {"checkpoints": evaluation.rows}, indent=2) + "\n")


def plot(path: Path, evaluation: Evaluation) -> None:
    """Draws each number that can be better or worse against the iteration, the best one marked: .png, .svg or .pdf."""
    from matplotlib.figure import Figure

    rows = evaluation.rows
    names = [name for name in rows[0] if name in BETTER]
    figure = Figure(figsize=(7, 2 * max(len(names), 1) + 0.6), layout="constrained")
    figure.suptitle(summary(evaluation), fontsize=8, wrap=True)
    steps = [row["step"] for row in rows]
    for axes, name in zip(figure.subplots(max(len(names), 1), squeeze=False)[:, 0], names, strict=False):
        axes.plot(steps, [row[name] for row in rows], marker="o", markersize=3)
        best = best_row(rows, name)
        axes.plot([best["step"]], [best[name]], marker="*", markersize=12, linestyle="none")
        axes.set(ylabel=f"{name} ({BETTER[name]} is better)", xlabel="iteration")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
