"""Several runs side by side: samples of the same latents, evaluations over iterations, and a table of the last ones."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.choice import networks_in_words
from fastgan_jax.evaluation.diagnosis import History, evaluations
from fastgan_jax.evaluation.evaluator import TRAINING_SET, Evaluation
from fastgan_jax.evaluation.results import as_text, best_row, finite, of_training_set, read_json
from fastgan_jax.inference.restore import load
from fastgan_jax.metrics.registry import METRICS, output
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.runs.folder import describe_source, run_name, run_of
from fastgan_jax.runs.logging import read_metrics
from fastgan_jax.utils import files
from fastgan_jax.utils.grids import image_grid
from fastgan_jax.utils.images import rgb
from fastgan_jax.utils.plots import import_matplotlib

COLUMNS, CHART_INCHES = 3, 3.5  # of charts: beside each other, and their width
PAUSE = 10  # times the usual interval between lines of the log: the run stood still, its time does not count
MIRRORING = {"layout", "swd", "nearest"}  # compare with mirror images too where training shows them
BY_OPTIONS = {"num_samples", "seed", "num_real", "real", "features", "distance"}  # settings that commands can change


@dataclass(frozen=True)
class Compared:
    """What is shown of one run."""

    name: str
    step: int  # iteration of the samples, and at most of the numbers in the table
    images: np.ndarray  # of the same latents for every run, uint8 [N, H, W, 3]
    minutes: float | None  # of training up to `step`; None if the log does not say
    history: History
    settings: dict[str, Any]  # what its numbers were computed from

    @property
    def last(self) -> dict[str, Any]:
        """The latest evaluation up to `step`: {"step": iteration, output: number or None}; {} if there is none."""
        return next((row for row in reversed(self.history) if row["step"] <= self.step), {})


def read_run(run: Path, step: int | str, num: int, seed: int, evaluation: Evaluation | None = None) -> Compared:
    """A run with `num` samples of a checkpoint, and its numbers: those of `evaluation`, else those that are recorded.

    Recorded are the evaluation.json of the run folder or, without one, the evaluations made while training.

    Raises:
        UserError: if there is no such run or checkpoint, or evaluation.json is damaged.
    """
    sampler, folder = load(run, step), run_of(run)
    lines = read_metrics(folder.metrics)
    if evaluation is not None:
        history, facts = finite(evaluation), evaluation.facts
    elif folder.evaluation.is_file():
        facts = _recorded(folder.evaluation)
        history = facts["checkpoints"]
    else:
        history, facts = evaluations(lines), {}
        if history:
            own = sampler.config.eval
            networks = networks_in_words(sampler.config)
            facts = {"num_samples": own.num_samples, "seed": own.seed, "networks": networks}
    settings = _settings(facts, history, sampler.config)
    images = rgb(sampler.sample(num, seed))
    return Compared(run_name(run), sampler.step, images, _minutes(lines, sampler.step), history, settings)


def with_own_names(runs: Sequence[Compared], paths: Sequence[Path]) -> list[Compared]:
    """The runs, those of equal names named by their paths."""
    names = [run.name for run in runs]
    own = [str(path) if names.count(run.name) > 1 else run.name for run, path in zip(runs, paths, strict=True)]
    return [Compared(**{**vars(run), "name": name}) for run, name in zip(runs, own, strict=True)]


def remarks(runs: Sequence[Compared]) -> list[str]:
    """What keeps the numbers of runs from being compared, in words."""
    missing = [run.name for run in runs if not run.history]
    found = [f"no evaluation of {', '.join(missing)} is recorded: add --metrics layout,swd"] if missing else []
    return [*found, *_differences(runs)]


def names_of(runs: Sequence[Compared]) -> list[str]:
    """The outputs that any of the runs has, as the registry orders them; what is beside a value is left out."""
    present = {name for run in runs for row in run.history for name in row}
    known = [each.name for metric in METRICS.values() for each in metric.outputs if each.role == "value"]
    return [name for name in known if name in present]


def cells(runs: Sequence[Compared]) -> list[list[str]]:
    """The table: a title line, and a line for each run.

    Where all can be compared, * marks a number that is better than those of all others.
    """
    names, alike = names_of(runs), not _differences(runs)
    rows = [run.last for run in runs]
    known = {name: sum(row.get(name) is not None for row in rows) for name in names}
    best = {name: best_row(rows, name) for name in names if alike and output(name).better and known[name] > 1}
    lines = [["run", "iteration", "minutes", *names]]
    for run, row in zip(runs, rows, strict=True):
        at = f"{run.step}" if row.get("step", run.step) == run.step else f"{run.step} (numbers: {row['step']})"
        numbers = [f"{as_text(row.get(name))}{'*' if best.get(name) is row else ''}" for name in names]
        lines.append([run.name, at, "-" if run.minutes is None else f"{run.minutes:.1f}", *numbers])
    return lines


def table(runs: Sequence[Compared]) -> str:
    """The table as text."""
    lines = cells(runs)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def write_json(path: Path, runs: Sequence[Compared]) -> None:
    """Writes {"runs": [...], "remarks": [...]}, see `files.replacing`."""
    entries = [
        {name: getattr(run, name) for name in ("name", "step", "minutes", "settings", "last", "history")}
        for run in runs
    ]
    files.write_json(path, {"runs": entries, "remarks": remarks(runs)})


def draw(path: Path, runs: Sequence[Compared]) -> None:
    """Draws the samples of each run, a chart of every number over iterations, and the table."""
    import_matplotlib()
    from matplotlib.figure import Figure

    names, lines = names_of(runs), cells(runs)
    chart_rows = math.ceil(len(names) / COLUMNS)
    table_height = 0.3 * (len(lines) + 1)
    width = max(CHART_INCHES * COLUMNS, 3 * len(runs), 1.1 * len(lines[0]))
    samples_height = width / len(runs) + 0.4
    heights = [samples_height, *([2.2 * chart_rows] if names else []), table_height]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), height_ratios=heights, squeeze=False)[:, 0]
    for axes, run in zip(parts[0].subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
        axes.imshow(image_grid(run.images), interpolation="nearest")
        axes.set_title(files.as_unicode(f"{run.name}, iteration {run.step}"), fontsize=9, parse_math=False)
        axes.set_axis_off()
    if names:
        _draw_charts(parts[1].subplots(chart_rows, COLUMNS, squeeze=False).ravel(), runs, names)
    axes = parts[-1].subplots()
    axes.set_axis_off()
    lines = [[files.as_unicode(cell) for cell in line] for line in lines]
    drawn = axes.table(lines[1:], colLabels=lines[0], loc="center")
    drawn.auto_set_column_width(range(len(lines[0])))
    for cell in drawn.get_celld().values():
        cell.get_text().set_parse_math(False)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_charts(charts: Any, runs: Sequence[Compared], names: Sequence[str]) -> None:
    for axes, name in zip(charts, names, strict=False):
        for run in runs:
            points = [(row["step"], row[name]) for row in run.history if row.get(name) is not None]
            # A name that begins with _ would be left out of the legend.
            label = files.as_unicode(f" {run.name}" if run.name.startswith("_") else run.name)
            axes.plot(*(zip(*points, strict=True) if points else ([], [])), marker="o", markersize=3, label=label)
        better = output(name).better
        axes.set_title(f"{name} ({better} is better)" if better else name, fontsize=9)
        axes.grid(alpha=0.3)
    for text in charts[0].legend(fontsize=7).get_texts():
        text.set_parse_math(False)
    for axes in charts[len(names) :]:
        axes.set_axis_off()


def _differences(runs: Sequence[Compared]) -> list[str]:
    """Of each run whose numbers come from another evaluation than those of one before it, that and how, in words."""
    found, evaluated = [], [run for run in runs if run.history]
    for place, run in enumerate(evaluated):
        for other in evaluated[:place]:
            ours, theirs = run.settings, other.settings
            keys = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
            if not keys:
                continue
            how = "; ".join(f"{key} {ours[key]}, not {theirs[key]}" for key in keys)
            cure = ": evaluate them alike, by --metrics, with --features, --net or --data where these differ"
            found.append(
                f"the numbers of {run.name} and {other.name} come from different evaluations ({how}) and cannot be "
                f"compared{cure if BY_OPTIONS.intersection(keys) else ''}"
            )
            break
    return found


def _settings(facts: dict[str, Any], history: History, config: Any) -> dict[str, Any]:
    """What the numbers of an evaluation depend on besides the run, by its facts and the run's configuration."""
    data = config.data
    settings = {name: facts[name] for name in ("num_samples", "num_real", "real", "seed") if name in facts}
    if of_training_set(settings.setdefault("real", TRAINING_SET)):
        of_class = settings["real"].removesuffix(TRAINING_SET).removesuffix("the ")
        settings["real"] = f"{of_class}{_training_set(data)}"
    settings |= {"resolution": config.model.resolution, "channels": config.model.channels, "fit": data.fit}
    settings["background"] = data.background
    if any(MIRRORING.intersection(row) for row in history):
        settings["mirrored"] = facts.get("mirrored", data.flip)
    measures = [network.measure for network in PERCEPTUAL.values()]
    for network in filter(None, facts.get("networks", "").split("; ")):
        settings["distance" if network in measures else "features"] = network
    return settings


def _training_set(data: Any) -> str:
    """The training set of the group `data` of a configuration, in words: its source, and which part of that."""
    parts = {"hf": data.hf_split, "tfds": data.tfds_split, "demo_images": f"{data.demo_images}, seed {data.demo_seed}"}
    part = next((part for source, part in parts.items() if data[source] is not None), "")
    return f"{describe_source(data)}{part and f' ({part})'}"


def _recorded(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it, and evaluate the run again") from None


def _minutes(lines: Sequence[dict[str, Any]], step: int) -> float | None:
    """Minutes of training from the first line of metrics.jsonl to the last one of `step`, without pauses."""
    times = [line["wall_time"] for line in lines if line["step"] <= step and "wall_time" in line]
    passed = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    if not passed:
        return None
    longest = PAUSE * statistics.median(passed)
    return sum(seconds for seconds in passed if seconds <= longest) / 60
