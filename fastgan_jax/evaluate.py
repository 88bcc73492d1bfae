"""Judging a generator by its pictures, against the training set or another one."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.checkpoint import find_checkpoint
from fastgan_jax.comparison import PictureDistance
from fastgan_jax.config import split_names
from fastgan_jax.data.cache import default_cache_dir
from fastgan_jax.data.dataset import ImageSet, load_image_set
from fastgan_jax.features import FeatureExtractor
from fastgan_jax.image_ops import resize_antialias, to_uint8, to_unit
from fastgan_jax.metrics.frechet import frechet_distance
from fastgan_jax.metrics.kernel import kernel_distance
from fastgan_jax.metrics.manifold import density_coverage, precision_recall
from fastgan_jax.metrics.statistics import FeatureStatistics
from fastgan_jax.restore import load
from fastgan_jax.sampling import Sampler
from fastgan_jax.weights.formats import read_arrays, write_arrays

ON_FEATURES = ("fid", "frechet", "kid", "precision_recall", "density_coverage")
NUM_COMPARED = 64  # generated and real pictures in `nearest`, pairs in `diversity`
NUM_SEARCHED = 1000  # real pictures that `nearest` searches at most
CROP = 0.8  # of height and width, around the centre: the paper's appendix E
PICTURES_AT_ONCE = 64  # generated, before their features replace them

Images = np.ndarray
Values = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of checkpoints.

    Attributes:
        rows: one {"step": iteration, number: value} a checkpoint.
        facts: what they were computed from, by name.
    """

    rows: list[dict[str, Any]]
    facts: dict[str, Any]


class Evaluator:
    """Judges generated pictures against one set of real ones.

    Attributes:
        description: of the feature network and the resize convention; "" if no metric uses features.
        measure: of the perceptual distance; "" if no metric uses it.
    """

    def __init__(self, config: Any, real: Images, fingerprint: str, cache_dir: Path):
        """Loads the networks that the metrics need.

        Args:
            config: the whole configuration; the groups `eval` and `loss` (its perceptual network) are used.
            real: uint8 [N, H, W, C].
            fingerprint: of the real set's content, so that its features are computed once.
            cache_dir: where they are kept.

        Raises:
            UserError: if weights cannot be had.
        """
        evaluation = config.eval
        self._metrics = split_names(evaluation.metrics)
        self._num_samples, self._seed = evaluation.num_samples, evaluation.seed
        self._real, self._fingerprint, self._cache_dir = real, fingerprint, cache_dir
        self._extract = self._distance = self._real_features = None
        self.description = self.measure = ""
        if any(metric in ON_FEATURES for metric in self._metrics):
            self._extract = FeatureExtractor.load(evaluation.features, evaluation.resize, evaluation.feature_weights)
            self.description = self._extract.description
        if {"diversity", "nearest"} & set(self._metrics):
            self._distance = PictureDistance.load(config.loss.perceptual_net, config.loss.perceptual_weights)
            self.measure = self._distance.measure

    def evaluate(self, sampler: Sampler) -> Values:
        """The metrics of a generator: {number: value}, see `metrics.names`; the same digits each time."""
        shown = sampler.sample(min(2 * NUM_COMPARED, self._num_samples), self._seed)
        features = None
        if self._extract is not None:
            starts = range(0, self._num_samples, PICTURES_AT_ONCE)
            sizes = [min(PICTURES_AT_ONCE, self._num_samples - start) for start in starts]
            parts = [
                self._extract(sampler.sample(size, self._seed, first=start))
                for start, size in zip(starts, sizes, strict=True)
            ]
            features = np.concatenate(parts)
        return self._values(shown, features)

    def judge(self, pictures: Images) -> Values:
        """The metrics of given pictures, uint8 [M, H, W, C], in place of generated ones."""
        features = None if self._extract is None else self._extract(pictures)
        return self._values(pictures[: 2 * NUM_COMPARED], features)

    def _values(self, shown: Images, features: np.ndarray | None) -> Values:
        real = self.real_features() if features is not None else None
        computed: dict[str, Callable[[], Values]] = {
            "fid": lambda: {"fid": _frechet(real, features)},
            "frechet": lambda: {"frechet": _frechet(real, features)},
            "kid": lambda: _kid(real, features),
            "precision_recall": lambda: vars(precision_recall(real, features)),
            "density_coverage": lambda: vars(density_coverage(real, features)),
            "diversity": lambda: {"diversity": diversity(self._distance, shown)},
            "nearest": lambda: nearest_distances(self._distance, shown[:NUM_COMPARED], self._real),
        }
        return {name: value for metric in self._metrics for name, value in computed[metric]().items()}

    def real_features(self) -> np.ndarray:
        """Features of every real picture, each once: float32 [N, D]; from the cache if they are there."""
        if self._real_features is None:
            identity = hashlib.sha256(f"{self._fingerprint}/{self._extract.identity}".encode()).hexdigest()[:32]
            path = self._cache_dir / f"{identity}.npz"
            if path.exists():
                self._real_features = read_arrays(path)["features"]
            else:
                self._real_features = self._extract(self._real)
                write_arrays(path, {"features": self._real_features})
        return self._real_features


def evaluator_from_config(config: Any, data: ImageSet) -> Evaluator:
    """The evaluator of a run against its own training set."""
    cache = Path(config.data.cache_dir).expanduser() if config.data.cache_dir else default_cache_dir()
    return Evaluator(config, data.images, data.fingerprint, cache / "features")


def evaluate_run(
    run: str | Path, steps: Sequence[int | str], config: Any, show: Callable[[Sequence], Iterable] = iter
) -> Evaluation:
    """Judges checkpoints of a run, one after the other, against the pictures that `config.data` names.

    Args:
        run: the run folder.
        steps: "latest", "best" or iterations, see `restore.load`.
        config: the whole configuration.
        show: wraps the steps in a progress bar.

    Raises:
        UserError: if there is no such checkpoint, the pictures cannot be loaded, or weights cannot be had.
    """
    for step in steps:
        find_checkpoint(run, step)  # before anything is computed
    model = config.model
    data = load_image_set(
        config.data,
        resolution=model.resolution,
        channels=model.channels,
        num_classes=model.num_classes,
        run_dir=run,
    )
    evaluator = evaluator_from_config(config, data)
    samplers = (load(run, step) for step in show(steps))
    rows = [{"step": sampler.step, **evaluator.evaluate(sampler)} for sampler in samplers]
    facts = {
        "run": Path(run).resolve().name,
        "num_samples": config.eval.num_samples,
        "num_real": len(data.images),
        "seed": config.eval.seed,
        "features": evaluator.description,
        "distance": evaluator.measure,
    }
    return Evaluation(rows, facts)


def diversity(distance: PictureDistance, pictures: Images) -> float:
    """Mean perceptual distance between the pictures of disjoint pairs of uint8 [M, H, W, C]."""
    half = len(pictures) // 2
    return float(distance.pairs(pictures[:half], pictures[half : 2 * half]).mean())


def nearest_distances(distance: PictureDistance, pictures: Images, real: Images) -> Values:
    """How near pictures come to real ones, beside how near real ones come (paper, appendix E and table 8).

    Args:
        distance: perceptual.
        pictures: uint8 [M, H, W, C].
        real: uint8 [N, H, W, C]; at most the first 1,000 are searched.

    Returns:
        Mean distances: "nearest" of each picture from its nearest real one; "nearest_real" of a real picture from its
        nearest other one; "nearest_flipped" and "nearest_cropped" of a real picture from itself mirrored, and from its
        central 0.8 crop: what an almost-copy would measure.
    """
    searched = np.asarray(real[:NUM_SEARCHED])
    compared = searched[:NUM_COMPARED]
    among_real = distance.matrix(compared, searched)
    among_real[np.arange(len(compared)), np.arange(len(compared))] = np.inf
    return {
        "nearest": float(distance.matrix(pictures, searched).min(1).mean()),
        "nearest_flipped": float(distance.pairs(compared, compared[:, :, ::-1]).mean()),
        "nearest_cropped": float(distance.pairs(compared, central_crop(compared)).mean()),
        "nearest_real": float(among_real.min(1).mean()) if len(searched) > 1 else float("nan"),
    }


def central_crop(pictures: Images) -> Images:
    """The central 0.8 of the height and width of pictures, uint8 [N, S, S, C], enlarged to their size."""
    side = pictures.shape[1]
    margin = round(side * (1 - CROP) / 2)
    inner = pictures[:, margin : side - margin, margin : side - margin]
    return np.asarray(to_uint8(resize_antialias(to_unit(inner), side)))


def _frechet(real: np.ndarray, fake: np.ndarray) -> float:
    return frechet_distance(*(_statistics(features) for features in (real, fake)))


def _statistics(features: np.ndarray) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics


def _kid(real: np.ndarray, fake: np.ndarray) -> Values:
    result = kernel_distance(real, fake)
    return {"kid": result.value, "kid_spread": result.spread}
