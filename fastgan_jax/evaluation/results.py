"""Evaluations of several checkpoints as a table, as JSON, as a plot, and in words."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.diagnosis import diagnose, ranking
from fastgan_jax.evaluation.evaluator import TRAINING_SET, Evaluation
from fastgan_jax.metrics.registry import beside, output, rank
from fastgan_jax.utils import files
from fastgan_jax.utils.plots import check_matplotlib, import_matplotlib

Row = dict[str, Any]  # {"step": iteration, output: number}
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def upgraded(facts: dict[str, Any]) -> dict[str, Any]:
    """An evaluation.json in the words of this version; 0.2 named networks apart, and knew no other images."""
    networks = "; ".join(filter(None, (facts.get("features"), facts.get("distance"))))
    facts = {"networks": networks, "real": TRAINING_SET, "protocol": {}} | facts
    return {"trained_on": of_training_set(facts["real"])} | facts


def read_json(path: Path) -> dict[str, Any]:
    """The evaluation.json at `path`, in the words of this version.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged, or of no checkpoint.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    rows = facts.get("checkpoints") if isinstance(facts, dict) else None
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) and "step" in row for row in rows)):
        raise ValueError("it holds no list of checkpoints with their steps")
    try:
        return upgraded(facts)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"facts of another kind: {error}") from None


def best_row(rows: Sequence[Row], name: str) -> Row | None:
    """The row in which `name`, a ranked output, is best; None if it is so in several, to the four digits shown."""
    best = min(rows, key=lambda row: rank(name, row.get(name)))
    ties = [row for row in rows if as_text(row.get(name)) == as_text(best.get(name))]
    return best if len(ties) == 1 else None


def summary(evaluation: Evaluation) -> str:
    """What the metrics were computed from, and how, in a line or two."""
    facts = evaluation.facts
    networks = facts["networks"] and f" ({facts['networks']})"
    lines = [
        f"{facts['run']}: {sizes(facts)}{networks}",
        "; ".join(f"{metric}: {how}" for metric, how in facts["protocol"].items()),
    ]
    return "\n".join(filter(None, lines))


def of_training_set(real: str) -> bool:
    """Whether the real images of an evaluation, as its facts call them, are those that its run names."""
    return re.fullmatch(rf"(class \d+ of the )?{TRAINING_SET}", real) is not None


def sizes(facts: dict[str, Any]) -> str:
    """How many images were compared, in words."""
    against = "" if facts["real"] == TRAINING_SET else f" of {facts['real']}"
    return f"{facts['num_samples']} samples against {facts['num_real']} real images{against}"


def table(evaluation: Evaluation) -> str:
    """A table for the terminal, one line per checkpoint; * marks the value of a column that is better than all others.

    What the real images measure alone is the same for all checkpoints and stands below.
    """
    rows, names = evaluation.rows, _names(evaluation.rows)
    columns = [name for name in names if output(name).role != "baseline"]
    best = {name: best_row(rows, name) for name in columns if output(name).better and len(rows) > 1}
    lines = [["iteration", *(f"{name} " for name in columns)]]
    for row in rows:
        cells = (f"{_digits(row[name])}{'*' if best.get(name) is row else ' '}" for name in columns)
        lines.append([str(row["step"]), *cells])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    alone = [f"{name} {_digits(rows[0][name])}" for name in names if name not in columns]
    return "\n".join([*text, f"real images alone: {', '.join(alone)}"] if alone else text)


def warnings(evaluation: Evaluation, best_metric: str) -> list[str]:
    """What the rows, as the history of a run, say in words; `best_metric` counts if it is among their numbers."""
    rows, facts = finite(evaluation), evaluation.facts
    return diagnose(rows, ranking(rows, best_metric), mirrored=facts["mirrored"], trained_on=facts["trained_on"])


def write_json(path: Path, evaluation: Evaluation, warned: Sequence[str] = ()) -> None:
    """Writes {facts..., "checkpoints": rows, "warnings": warned}, see `files.replacing`; what is not finite is null."""
    files.write_json(path, evaluation.facts | {"checkpoints": finite(evaluation), "warnings": list(warned)})


def check_plot(path: Path) -> None:
    """Checks that a plot can be written in the format that a file's name says; a UserError if not."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise UserError(f"--plot {path}: must end in {', '.join(PLOT_SUFFIXES)}")
    check_matplotlib()


def plot(path: Path, evaluation: Evaluation) -> None:
    """Draws every metric against the iteration, the best value marked, beside what it is to be compared with."""
    import_matplotlib()
    from matplotlib.figure import Figure

    rows = evaluation.rows
    steps = [row["step"] for row in rows]
    names = [name for name in _names(rows) if output(name).role == "value"]
    figure = Figure(figsize=(7, 2 * len(names) + 1), layout="constrained")
    figure.suptitle(files.as_unicode(summary(evaluation)), fontsize=8, wrap=True, parse_math=False)
    for axes, name in zip(figure.subplots(len(names), sharex=True, squeeze=False)[:, 0], names, strict=True):
        axes.plot(steps, [row[name] for row in rows], marker="o", markersize=3, label=name)
        baselines = [other for other in beside(name, "baseline") if other in rows[0]]
        for baseline in baselines:
            axes.plot(steps, [row[baseline] for row in rows], linestyle="--", linewidth=1, label=baseline)
        better = output(name).better
        best = best_row(rows, name) if better else None
        if best:
            axes.plot([best["step"]], [best[name]], marker="*", markersize=12, linestyle="none", color="C3")
        if baselines:
            axes.legend(fontsize=7)
        axes.set_ylabel(f"{name}\n({better} is better)" if better else name, fontsize=8)
        axes.grid(alpha=0.3)
    axes.set_xlabel("iteration")
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def finite(evaluation: Evaluation) -> list[Row]:
    """The rows with None for what is not finite."""
    return [{name: value if math.isfinite(value) else None for name, value in row.items()} for row in evaluation.rows]


def _names(rows: Sequence[Row]) -> list[str]:
    return [name for name in rows[0] if name != "step"]


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.1f}"


def as_text(value: float | None) -> str:
    """A number as tables show it."""
    return "-" if value is None else _digits(value)
