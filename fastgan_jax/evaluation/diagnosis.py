"""What the numbers of a run say about over-training, memorization and collapse, in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastgan_jax.metrics.registry import beside, output, rank

RISING_FOR = 3  # evaluations in a row, all worse than the best by more than MARGIN: over-training
MARGIN = 0.05  # share of the best value; a smaller difference is chance, as is one within the value's spread
COLLAPSED = 0.5  # share of the distance between training images; if unknown, of the highest between samples
# Share of the least baseline below which the distance from the nearest training image means memorization. In a run that
# memorized nothing (docs/evaluation.md) samples measured 0.95 of it; decoded training images 0.3, shifted ones 0.2
# to 0.7.
MEMORIZED = 0.7

PREFIX = "eval/"  # of an evaluation's numbers in metrics.jsonl


def to_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row {"step": ..., number: value} of an evaluation as a line of metrics.jsonl."""
    return {name if name == "step" else f"{PREFIX}{name}": value for name, value in row.items()}


def evaluations(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations among the lines of metrics.jsonl: {"step": ..., number: value or None}."""
    found = []
    for line in lines:
        values = {key.removeprefix(PREFIX): value for key, value in line.items() if key.startswith(PREFIX)}
        if values:
            found.append({"step": line["step"]} | values)
    return found


def diagnose(lines: Sequence[dict[str, Any]], best_metric: str, *, mirrored: bool) -> list[str]:
    """Warnings about the latest evaluation of a run, in words; none if nothing is wrong.

    Args:
        lines: of metrics.jsonl.
        best_metric: the number by which checkpoints are ranked.
        mirrored: whether training images are mirrored at random (data.flip), see `baselines`.
    """
    history = evaluations(lines)
    if not history:
        return []
    return [*_overtraining(history, best_metric), *_memorization(history[-1], mirrored), *_collapse(history)]


def baselines(numbers: Mapping[str, float | None], mirrored: bool) -> dict[str, float]:
    """What the distance of samples from training images is compared with, as far as it is among `numbers`.

    Args:
        numbers: of an evaluation.
        mirrored: whether the generator is trained on mirror images too. These are then training images rather than
            almost-copies, and how far they are from the originals does not count.
    """
    names = ("nearest_cropped", "nearest_real") if mirrored else ("nearest_flipped", "nearest_cropped", "nearest_real")
    values = {name: numbers.get(name) for name in names}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


def is_copy(nearest: float, compared: Iterable[float]) -> bool:
    """Whether an image this far from its nearest training image, or such a mean, counts as memorized.

    Args:
        nearest: the distance.
        compared: the values of `baselines`.
    """
    return nearest < MEMORIZED * min(compared)


def _overtraining(history: list[dict[str, Any]], name: str) -> list[str]:
    known = [entry for entry in history if entry.get(name) is not None]
    if not known:
        return []
    best = min(known, key=lambda entry: rank(name, entry[name]))
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


def _memorization(latest: dict[str, Any], mirrored: bool) -> list[str]:
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


def _collapse(history: list[dict[str, Any]]) -> list[str]:
    known = [entry for entry in history if entry.get("diversity") is not None]
    if not known:
        return []
    highest = max(known, key=lambda entry: entry["diversity"])
    latest, real = known[-1], known[-1].get("diversity_real")
    if latest["diversity"] >= COLLAPSED * (highest["diversity"] if real is None else real):
        return []
    usual = f"it was {highest['diversity']:.4g} at iteration {highest['step']}"
    if real is not None:
        usual = f"that between training images is {real:.4g}"
    return [f"collapse: the mean distance between samples is {latest['diversity']:.4g}; {usual}"]
