"""The metrics: one entry each, which the configuration's rules, evaluation, results, report and docs follow.

Quick to import: what computes a metric is imported when it is first used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Numbers = dict[str, float]
SHOWN = 128  # generated images that metrics see which need more than features
SHRUNK_AT_ONCE = 64  # real images, of which only small copies are kept


@dataclass(frozen=True)
class Output:
    """One number that a metric gives.

    `better` is "lower" or "higher"; None: it describes, and no checkpoint is best by it: diversity, for example, is
    good near that of the real images. `role` is "value"; "baseline": of the real images alone, what the first output of
    the metric is compared with; "spread": the standard deviation of the first output.
    """

    name: str
    meaning: str = ""  # in a sentence or two
    better: str | None = None
    role: str = "value"
    from_side: int = 0  # pixels of the smallest images of which it is given


@dataclass(frozen=True)
class Samples:
    """Generated images that are evaluated, each None unless a metric needs it."""

    features: "np.ndarray | None"  # float32 [M, D], of all of them
    images: "np.ndarray | None"  # uint8 [N, H, W, C], the first of them, at least min(M, shown) of each metric
    reduced: "dict[str, np.ndarray]" = field(default_factory=dict)  # by metric: what it reduced all of them to


@dataclass(frozen=True)
class Reference:
    """The real images that samples are compared with; features and distance are None unless a metric needs them."""

    images: "np.ndarray"  # uint8 [N, H, W, C]
    features: "np.ndarray | None"  # float32 [N, D]
    distance: Any  # perceptual, see `metrics.perceptual`
    mirrored: bool  # whether the generator is trained on mirror images too (data.flip)
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, name: str, function: Callable[[], Any]) -> Any:
        """What `function` gives of these images, computed at the first call with this name and kept from then on."""
        if name not in self._kept:
            self._kept[name] = function()
        return self._kept[name]


@dataclass(frozen=True)
class Metric:
    """A metric. `protocol` says how it is computed, in words, where it has numbers of its own to state.

    A metric of all generated images, however many, has `reduce`: of a batch uint8 [B, H, W, C] it gives what is kept,
    [B, ...].
    """

    outputs: tuple[Output, ...]  # the numbers that it gives, the most important first
    compute: Callable[[Reference, Samples], Numbers]  # gives them by name
    needs: str = "features"  # or "distance" (a perceptual one), "images" alone, or what it makes of them ("reduced")
    shown: int = SHOWN  # generated images that it sees, if it needs "distance" or "images"
    reduce: "Callable[[np.ndarray], np.ndarray] | None" = None  # of "reduced"
    fewest: tuple[int, int] = (2, 2)  # generated and real images that it can be computed from
    protocol: Callable[[int, int, bool], str] | None = None  # of the numbers of samples and real images, mirrored


def _frechet(real: Reference, fake: Samples) -> float:
    from fastgan_jax.metrics import fid

    return fid.frechet_distance(real.once("gaussian", lambda: fid.gaussian(real.features)), fid.gaussian(fake.features))


def _kid(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics.kid import kernel_distance

    kid, spread = kernel_distance(real.features, fake.features)
    return {"kid": kid, "kid_spread": spread}


def _kid_protocol(num_samples: int, num_real: int, _mirrored: bool) -> str:
    from fastgan_jax.metrics.kid import SUBSET_SEED, SUBSET_SIZE, SUBSETS

    size = min(SUBSET_SIZE, num_samples, num_real)
    return f"unbiased, mean of {SUBSETS} subsets of {size} of each, seed {SUBSET_SEED}"


def _precision_recall(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics.precision_recall import precision_recall

    return precision_recall(real.features, fake.features)


def _density_coverage(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics.precision_recall import density_coverage

    return density_coverage(real.features, fake.features)


def _diversity(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics.perceptual import diversity, some_of

    of_real = real.once("diversity", lambda: diversity(real.distance, some_of(real.images, SHOWN)))
    return {"diversity": diversity(real.distance, fake.images[:SHOWN]), "diversity_real": of_real}


def _nearest(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics.perceptual import NUM_COMPARED, mean_nearest, real_nearness

    of_real = real.once("nearness", lambda: real_nearness(real.distance, real.images, mirrored=real.mirrored))
    compared = fake.images[:NUM_COMPARED]
    return {"nearest": mean_nearest(real.distance, compared, real.images, mirrored=real.mirrored), **of_real}


def _nearest_protocol(num_samples: int, num_real: int, mirrored: bool) -> str:
    from fastgan_jax.metrics.perceptual import NUM_COMPARED, searched_of

    searched = len(searched_of(range(num_real)))
    return f"{min(NUM_COMPARED, num_samples)} samples among {searched} real images{_and_mirrored(mirrored)}"


def _shrunk(images: "np.ndarray") -> "np.ndarray":
    from fastgan_jax.metrics.layout import shrunk

    return shrunk(images)


def _layout(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics.layout import energy_distance

    return {"layout": energy_distance(real.once("layout", lambda: _real_layout(real)), fake.reduced["layout"])}


def _real_layout(real: Reference) -> "np.ndarray":
    import numpy as np

    from fastgan_jax.metrics.perceptual import mirror

    parts = [real.images[start : start + SHRUNK_AT_ONCE] for start in range(0, len(real.images), SHRUNK_AT_ONCE)]
    mirrored = [_shrunk(mirror(part)) for part in parts] if real.mirrored else []
    return np.concatenate([*map(_shrunk, parts), *mirrored])


def _swd(real: Reference, fake: Samples) -> Numbers:
    from fastgan_jax.metrics import swd
    from fastgan_jax.metrics.perceptual import some_of

    images = some_of(real.images, swd.MOST_IMAGES)
    of_real = real.once("patches", lambda: swd.patches(images, 0, mirrored=real.mirrored))
    return swd.distances(of_real, swd.patches(fake.images[: swd.MOST_IMAGES], 1))


def _swd_protocol(num_samples: int, num_real: int, mirrored: bool) -> str:
    from fastgan_jax.metrics.swd import DIRECTIONS, MOST_IMAGES, PATCH, PATCHES

    numbers = f"{min(MOST_IMAGES, num_samples)} samples and {min(MOST_IMAGES, num_real)} real images"
    patches = f"{PATCHES} patches of {PATCH}x{PATCH} of each of {numbers}{_and_mirrored(mirrored)} at each scale"
    return f"{patches}, {DIRECTIONS} directions"


def _and_mirrored(mirrored: bool) -> str:
    return " and their mirror images" if mirrored else ""


METRICS: dict[str, Metric] = {
    "fid": Metric(
        (Output("fid", "Fréchet Inception distance between samples and training images.", "lower"),),
        lambda real, fake: {"fid": _frechet(real, fake)},
    ),
    "frechet": Metric(
        (Output("frechet", "Fréchet distance on other features: not FID; to compare checkpoints of a run.", "lower"),),
        lambda real, fake: {"frechet": _frechet(real, fake)},
    ),
    "kid": Metric(
        (
            Output("kid", "Kernel distance, unbiased also for small sets.", "lower"),
            Output("kid_spread", "Standard deviation of kid over subsets.", role="spread"),
        ),
        _kid,
        protocol=_kid_protocol,
    ),
    "precision_recall": Metric(
        (
            Output("precision", "Share of samples that look like training images.", "higher"),
            Output("recall", "Share of training images that samples come near to.", "higher"),
        ),
        _precision_recall,
        fewest=(4, 4),  # three neighbors of each
        protocol=lambda *_: "3 neighbors",
    ),
    "density_coverage": Metric(
        (
            Output("density", "How densely samples lie among training images; about 1 for a perfect model."),
            Output("coverage", "Share of training images with a sample in their neighborhood.", "higher"),
        ),
        _density_coverage,
        fewest=(1, 6),  # five neighbors of each real one
        protocol=lambda *_: "5 neighbors",
    ),
    "diversity": Metric(
        (
            Output("diversity", "Mean distance between two samples; a collapse makes it fall."),
            Output("diversity_real", "Mean distance between two training images.", role="baseline"),
        ),
        _diversity,
        needs="distance",
        protocol=lambda num_samples, *_: f"{min(SHOWN, num_samples) // 2} pairs",
    ),
    "nearest": Metric(
        (
            Output(
                "nearest",
                "Mean distance of a sample from its nearest training image. Memorization makes it fall far below what "
                "training images measure: from themselves cropped, from themselves mirrored unless training mirrors "
                "them (data.flip), and from their nearest other.",
            ),
            Output("nearest_flipped", "Mean distance of a training image from itself mirrored.", role="baseline"),
            Output("nearest_cropped", "Mean distance of a training image from its 0.8 crop.", role="baseline"),
            Output("nearest_real", "Mean distance of a training image from its nearest other.", role="baseline"),
        ),
        _nearest,
        needs="distance",
        fewest=(1, 1),
        protocol=_nearest_protocol,
    ),
    "layout": Metric(
        (
            Output(
                "layout",
                "Energy distance of samples and training images shrunk to 16x16: are shapes and colors where they "
                "belong? No network; hardly biased for small sets.",
                "lower",
            ),
        ),
        _layout,
        needs="reduced",
        reduce=_shrunk,
        protocol=lambda _num_samples, num_real, mirrored: f"against {num_real} real images{_and_mirrored(mirrored)}",
    ),
    "swd": Metric(
        (
            Output(
                "swd",
                "Sliced Wasserstein distance of small patches, times 1000, mean over the scales: texture. No network.",
                "lower",
            ),
            *(
                Output(f"swd_{side}", f"That of patches at {side} pixels.", "lower", from_side=side)
                for side in (256, 128, 64, 32)
            ),
        ),
        _swd,
        needs="images",
        shown=200,
        fewest=(1, 1),
        protocol=_swd_protocol,
    ),
}


def output(name: str) -> Output:
    """The output of this name; one that only has a name if no metric gives it, as in files of other versions."""
    every = (each for metric in METRICS.values() for each in metric.outputs)
    return next((each for each in every if each.name == name), Output(name))


def ranked() -> list[str]:
    """The names of the outputs by which checkpoints can be ranked."""
    return [each.name for metric in METRICS.values() for each in metric.outputs if each.better]


def beside(name: str, role: str) -> list[str]:
    """The names of the outputs in this role that belong to the output `name`."""
    owner = next((metric for metric in METRICS.values() if metric.outputs[0].name == name), None)
    return [each.name for each in owner.outputs if each.role == role] if owner else []


def ranked_by(names: Iterable[str], best_metric: str) -> str:
    """The output that ranks checkpoints with numbers of these `names`: `best_metric` if it is one, else the first."""
    names = list(names)
    return next((name for name in (best_metric, *names) if name in names and output(name).better), best_metric)


def rank(name: str, value: float | None) -> float:
    """A number that is smaller the better `value` is, for a name in `ranked()`; infinite for a missing value."""
    if value is None or value != value:  # NaN
        return float("inf")
    return value if output(name).better == "lower" else -value
