"""The metrics that can be asked for, what numbers each gives, and which way each number is better."""

# metric: the numbers that it gives
METRICS: dict[str, tuple[str, ...]] = {
    "fid": ("fid",),
    "frechet": ("frechet",),
    "kid": ("kid", "kid_spread"),
    "precision_recall": ("precision", "recall"),
    "density_coverage": ("density", "coverage"),
    "diversity": ("diversity", "diversity_real"),
    "nearest": ("nearest", "nearest_flipped", "nearest_cropped", "nearest_real"),
}
# metric: the fewest images that it can be computed from, generated and real; one where it does not matter
FEWEST: dict[str, tuple[int, int]] = {
    "fid": (2, 2),
    "frechet": (2, 2),
    "kid": (2, 2),
    "precision_recall": (4, 4),  # three neighbors of each
    "density_coverage": (1, 6),  # five neighbors of each real one
    "diversity": (2, 2),
    "nearest": (1, 1),
}
# number: whether the lower or the higher one is better; the others describe, and none of theirs is best: diversity, for
# example, is good near that of the real images
BETTER: dict[str, str] = {
    "fid": "lower",
    "frechet": "lower",
    "kid": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
}
# of the real images alone: what the number of the same metric is to be compared with
BASELINES = ("diversity_real", "nearest_flipped", "nearest_cropped", "nearest_real")


def rank(name: str, value: float | None) -> float:
    """A number that is smaller the better `value` is, for a name in BETTER; infinite for one that is missing."""
    if value is None or value != value:  # not a number
        return float("inf")
    return value if BETTER[name] == "lower" else -value
