"""What the numbers of a run tell about over-training, memorisation and collapse, in words."""

from collections.abc import Iterable, Sequence
from typing import Any

from fastgan_jax.metrics.names import BETTER, rank

RISING_FOR = 3  # evaluations, all worse than the best by more than MARGIN, that count as over-training
MARGIN = 0.05  # of the best value: less is chance
COLLAPSED = 0.5  # of the distance between training pictures; where that is not known, of the highest between samples
# Of the least distance that a picture's distance from its nearest training picture is compared with. In a run that
# memorised nothing (docs/evaluation.md) samples measured 0.95 of it; decoded training pictures 0.3, shifted ones 0.2
# to 0.7.
MEMORISED = 0.7

PREFIX = "eval/"  # of an evaluation's numbers in metrics.jsonl


def evaluations(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluations among the lines of metrics.jsonl: {"step": ..., number: value or None}."""
    return [
        {"step": line["step"]} | {key.removeprefix(PREFIX): value for key, value in line.items() if PREFIX in key}
        for line in lines
        if any(key.startswith(PREFIX) for key in line)
    ]


def diagnose(lines: Sequence[dict[str, Any]], best_metric: str) -> list[str]:
    """Warnings about the latest evaluation of a run, in words; none if nothing is wrong.

    Args:
        lines: of metrics.jsonl.
        best_metric: the number by which checkpoints are judged.
    """
    history = evaluations(lines)
    if not history:
        return []
    return [*_overtraining(history, best_metric), *_memorisation(history[-1]), *_collapse(history)]


def is_copy(nearest: float, baselines: Iterable[float]) -> bool:
    """Whether a picture this far from its nearest training picture, or such a mean, counts as memorised.

    Args:
        nearest: the distance.
        baselines: distances of training pictures from each other, and from mirrored and cropped copies of themselves.
    """
    return nearest < MEMORISED * min(baselines)


def _overtraining(history: list[dict[str, Any]], name: str) -> list[str]:
    judged = [entry for entry in history if entry.get(name) is not None]
    if not judged:
        return []
    best = min(judged, key=lambda entry: rank(name, entry[name]))
    limit = rank(name, best[name]) + MARGIN * abs(best[name])
    last_good = max(index for index, entry in enumerate(judged) if rank(name, entry[name]) <= limit)
    if len(judged) - 1 - last_good < RISING_FOR:
        return []
    worse = "risen" if BETTER[name] == "lower" else "fallen"
    return [
        f"over-training: {name} was best at iteration {best['step']} ({best[name]:.4g}) and has {worse} to "
        f"{judged[-1][name]:.4g}; more training hardly helps: use the checkpoint of iteration {best['step']}"
    ]


def _memorisation(latest: dict[str, Any]) -> list[str]:
    names = ("nearest", "nearest_flipped", "nearest_cropped", "nearest_real")
    nearest, flipped, cropped, real = (latest.get(name) for name in names)
    if None in (nearest, flipped, cropped) or not is_copy(nearest, (flipped, cropped, real or flipped)):
        return []
    beside = "" if real is None else f", and than they are to each other ({real:.4g})"
    return [
        f"memorisation: samples are {nearest:.4g} from their nearest training picture on average, far nearer than "
        f"training pictures are to their own mirrored or cropped copies ({min(flipped, cropped):.4g}){beside}"
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
        usual = f"that between training pictures is {real:.4g}"
    return [f"collapse: the mean distance between samples is {latest['diversity']:.4g}; {usual}"]
