"""What the numbers of a run say about over-training, memorization and collapse, in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastgan_jax.metrics.registry import beside, output, rank, ranked_by

RISING_FOR = 3  # evaluations in a row, all worse than the best by more than MARGIN: over-training
MARGIN = 0.05  # share of the best value; a smaller difference is chance, as is one within the value's spread
COLLAPSED = 0.5  # share of the distance between training images; if unknown, of the highest between samples
# Share of the least baseline below which the distance from the nearest training image means memorization. In a run that
# memorized nothing (docs/evaluation.md) samples measured 0.95 of it; decoded training images 0.3, shifted ones 0.2
# to 0.7.
MEMORIZED = 0.7

History = list[dict[str, Any]]  # evaluations in order: {"step": iteration, output: number or None}


def evaluations(lines: Sequence[dict[str, Any]]) -> History:
    """The evaluations among the lines of metrics.jsonl."""
    rows = (
        {key.removeprefix("eval/"): value for key, value in line.items() if key == "step" or key.startswith("eval/")}
        for line in lines
    )
    return [row for row in rows if len(row) > 1]


def diagnose(history: History, best_metric: str, *, mirrored: bool, trained_on: bool = True) -> list[str]:
    """Warnings about the latest evaluation, in words; none if nothing is wrong.

    Checkpoints are ranked by `best_metric`; for `mirrored` see `baselines`. Memorization and collapse are asked for
    only if the real images are those that the run was `trained_on`.
    """
    if not history:
        return []
    by_training_images = [*memorization(history[-1], mirrored), *collapse(history)] if trained_on else []
    return [*overtraining(history, best_metric), *by_training_images]


def ranking(history: History, best_metric: str) -> str:
    """The metric that ranks checkpoints: `best_metric` if it is among their numbers, else the first that can."""
    return ranked_by(dict.fromkeys(name for row in history for name in row), best_metric)


def baselines(numbers: Mapping[str, float | None], mirrored: bool) -> dict[str, float]:
    """What the distance of samples from training images is compared with, as far as an evaluation has the numbers.

    If the generator is trained on mirror images too (`mirrored`, data.flip), these are training images rather than
    almost-copies, and how far they are from the originals does not count.
    """
    names = ("nearest_cropped", "nearest_real") if mirrored else ("nearest_flipped", "nearest_cropped", "nearest_real")
    values = {name: numbers.get(name) for name in names}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def is_copy(nearest: float, compared: Iterable[float]) -> bool:
    """Whether an image this far from its nearest training image, or such a mean, is memorized by these `baselines`."""
    return nearest < MEMORIZED * min(compared)


def overtraining(history: History, name: str) -> list[str]:
    """The warning that a metric has grown worse for long; [] if it has not, or is not known."""
    known = [entry for entry in history if entry.get(name) is not None]
    if not known:
        return []
    best = min(reversed(known), key=lambda entry: rank(name, entry[name]))
    spread = sum(best.get(other) or 0 for other in beside(name, "spread"))
    limit = rank(name, best[name]) + max(MARGIN * abs(best[name]), spread)
    last_good = max(index for index, entry in enumerate(known) if rank(name, entry[name]) <= limit)
    if len(known) - 1 - last_good < RISING_FOR:
        return []
    worse = "risen" if output(name).better == "lower" else "fallen"
    return [
        f"over-training: {name} was best at iteration {best['step']} ({best[name]:.4g}) and has {worse} to "
        f"{known[-1][name]:.4g}; more training hardly helps: use the checkpoint of iteration {best['step']}"
    ]


def memorization(latest: dict[str, Any], mirrored: bool) -> list[str]:
    """The warning that samples are copies of training images; [] if they are not, or that is not known."""
    nearest, compared = latest.get("nearest"), baselines(latest, mirrored)
    if nearest is None or "nearest_cropped" not in compared or not is_copy(nearest, compared.values()):
        return []
    real = compared.pop("nearest_real", None)
    beside = "" if real is None else f", and than they are to each other ({real:.4g})"
    copies = "cropped" if mirrored else "mirrored or cropped"
    return [
        f"memorization: samples are {nearest:.4g} from their nearest training image on average, far nearer than "
        f"training images are to their own {copies} copies ({min(compared.values()):.4g}){beside}"
    ]


def collapse(history: History) -> list[str]:
    """The warning that samples are hardly different from each other; [] if they are, or that is not known."""
    known = [entry for entry in history if entry.get("diversity") is not None]
    if not known:
        return []
    latest, usual = known[-1]["diversity"], known[-1].get("diversity_real")
    if usual is not None:
        compared = f"that between training images is {usual:.4g}"
    else:
        highest = max(known, key=lambda entry: entry["diversity"])
        usual = highest["diversity"]
        compared = f"it was {usual:.4g} at iteration {highest['step']}"
    text = f"collapse: the mean distance between samples is {latest:.4g}; {compared}"
    return [text] if latest < COLLAPSED * usual else []
