"""Judging a generator by its images, against the training set or another one."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.features import FeatureExtractor
from fastgan_jax.evaluation.perceptual import (
    NUM_COMPARED,
    PerceptualDistance,
    diversity,
    mean_nearest,
    real_nearness,
    searched_of,
    some_of,
)
from fastgan_jax.inference.restore import load, load_training_set
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.metrics.fid import frechet_distance
from fastgan_jax.metrics.kid import SUBSET_SEED, SUBSET_SIZE, SUBSETS, kernel_distance
from fastgan_jax.metrics.precision_recall import (
    DENSITY_NEIGHBORS,
    MANIFOLD_NEIGHBORS,
    density_coverage,
    precision_recall,
)
from fastgan_jax.metrics.registry import FEWEST, METRICS
from fastgan_jax.metrics.statistics import FeatureStatistics
from fastgan_jax.pretrained.formats import read_arrays, write_arrays
from fastgan_jax.runs.checkpoint import find_checkpoint
from fastgan_jax.runs.config import split_names
from fastgan_jax.runs.folder import run_name
from fastgan_jax.utils.files import cache_folder, user_path
from fastgan_jax.utils.console import Progress, announced

ON_FEATURES = ("fid", "frechet", "kid", "precision_recall", "density_coverage")
IMAGES_AT_ONCE = 64  # generated or read, before their features replace them

log = logging.getLogger(__name__)

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
    """Judges generated images against one set of real ones.

    Attributes:
        description: of the feature network, its resize convention and the perceptual distance, as far as they are used.
    """

    def __init__(
        self, config: Any, real: Images, fingerprint: str, cache_dir: Path, labels: Sequence[int] | None = None
    ):
        """Loads the networks that the metrics need.

        Args:
            config: the whole configuration; the groups `eval` and `loss` (its perceptual network) are used, and
                `data.flip`, with which a mirrored training image counts as a training image in `nearest`.
            real: uint8 [N, H, W, C].
            fingerprint: of the real set's content, so that its features are computed once.
            cache_dir: where they are kept.
            labels: classes of the real images, which a conditional generator is then asked for in the same shares;
                None: every class as often.

        Raises:
            UserError: if there are too few images for a metric, or weights cannot be had.
        """
        evaluation = config.eval
        self._metrics = split_names(evaluation.metrics)
        self._num_samples, self._seed = evaluation.num_samples, evaluation.seed
        self._mirrored = config.data.flip
        self._real, self._fingerprint, self._cache_dir = real, fingerprint, cache_dir
        self._labels = None if labels is None else np.random.RandomState(self._seed).permutation(labels)
        self._extract = self._distance = self._real_features = None
        for metric in self._metrics:
            _check_sizes(metric, self._num_samples, len(real))
        if any(metric in ON_FEATURES for metric in self._metrics):
            self._extract = FeatureExtractor.load(evaluation.features, evaluation.resize, evaluation.feature_weights)
        if {"diversity", "nearest"} & set(self._metrics):
            self._distance = _load_distance(config.loss)
        texts = (self._extract and self._extract.description, self._distance and self._distance.measure)
        self.description = "; ".join(filter(None, texts))

    @property
    def protocol(self) -> dict[str, str]:
        """How each metric that has numbers of its own to state is computed, in words."""
        size = min(SUBSET_SIZE, self._num_samples, len(self._real))
        searched = len(searched_of(self._real))
        stated = {
            "kid": f"unbiased, mean of {SUBSETS} subsets of {size} of each, seed {SUBSET_SEED}",
            "precision_recall": f"{MANIFOLD_NEIGHBORS} neighbors",
            "density_coverage": f"{DENSITY_NEIGHBORS} neighbors",
            "diversity": f"{min(NUM_COMPARED, self._num_samples // 2)} pairs",
            "nearest": f"{min(NUM_COMPARED, self._num_samples)} samples among {searched} real images"
            + (" and their mirror images" if self._mirrored else ""),
        }
        return {metric: stated[metric] for metric in self._metrics if metric in stated}

    def evaluate(self, sampler: Sampler) -> Values:
        """The metrics of a generator: {number: value}, see `metrics.names`; the same digits each time."""
        shown = features = None
        if self._distance is not None:
            shown = self._sample(sampler, 0, min(2 * NUM_COMPARED, self._num_samples))
        if self._extract is not None:
            parts = [
                self._extract(self._sample(sampler, start, min(start + IMAGES_AT_ONCE, self._num_samples)))
                for start in _shown(range(0, self._num_samples, IMAGES_AT_ONCE), f"samples, by {IMAGES_AT_ONCE}")
            ]
            features = np.concatenate(parts)
        return self._values(shown, features)

    def _sample(self, sampler: Sampler, start: int, end: int) -> Images:
        labels = None if self._labels is None else np.resize(self._labels, end)[start:]  # repeated as often as needed
        return sampler.sample(end - start, self._seed, first=start, labels=labels)

    def judge(self, images: Images) -> Values:
        """The metrics of given images, uint8 [M, H, W, C], in place of generated ones."""
        features = None if self._extract is None else self._extract(images)
        return self._values(images[: 2 * NUM_COMPARED], features)

    def _values(self, shown: Images | None, features: np.ndarray | None) -> Values:
        real = self.real_features() if features is not None else None
        computed: dict[str, Callable[[], Values]] = {
            "fid": lambda: {"fid": frechet_distance(self._real_statistics, _statistics(features))},
            "frechet": lambda: {"frechet": frechet_distance(self._real_statistics, _statistics(features))},
            "kid": lambda: _kid(real, features),
            "precision_recall": lambda: vars(precision_recall(real, features)),
            "density_coverage": lambda: vars(density_coverage(real, features)),
            "diversity": lambda: {
                "diversity": diversity(self._distance, shown),
                "diversity_real": self._real_diversity,
            },
            "nearest": lambda: {
                "nearest": mean_nearest(self._distance, shown[:NUM_COMPARED], self._real, mirrored=self._mirrored),
                **self._real_nearness,
            },
        }
        return {
            name: value for metric in _shown(self._metrics, "metrics") for name, value in computed[metric]().items()
        }

    @cached_property
    def _real_statistics(self) -> FeatureStatistics:
        return _statistics(self.real_features())

    @cached_property
    def _real_diversity(self) -> float:
        return diversity(self._distance, some_of(self._real, 2 * NUM_COMPARED))

    @cached_property
    def _real_nearness(self) -> Values:
        return real_nearness(self._distance, self._real, mirrored=self._mirrored)

    def real_features(self) -> np.ndarray:
        """Features of every real image, each once: float32 [N, D]; from the cache if they are there."""
        if self._real_features is None:
            identity = hashlib.sha256(f"{self._fingerprint}/{self._extract.identity}".encode()).hexdigest()[:32]
            path = self._cache_dir / f"{identity}.npz"
            self._real_features = _read_features(path, len(self._real))
            if self._real_features is None:
                starts = range(0, len(self._real), IMAGES_AT_ONCE)
                parts = [
                    self._extract(np.asarray(self._real[start : start + IMAGES_AT_ONCE]))
                    for start in _shown(starts, f"real images, by {IMAGES_AT_ONCE}")
                ]
                self._real_features = np.concatenate(parts)
                try:
                    write_arrays(path, {"features": self._real_features})
                except UserError as error:  # no reason to end a run
                    log.warning("the features of the real images will be computed again next time: %s", error)
        return self._real_features


def evaluator_from_config(config: Any, data: ImageSet, *, classes: bool = True) -> Evaluator:
    """The evaluator of a run against its own training set, or, without `classes`, against images from elsewhere."""
    cache = user_path(config.data.cache_dir) if config.data.cache_dir else cache_folder("data")
    labels = data.labels if classes and config.model.num_classes else None
    return Evaluator(config, data.images, data.fingerprint, cache / "features", labels)


def evaluate_run(
    run: str | Path,
    steps: Sequence[int | str],
    config: Any,
    show: Callable[[Sequence], Iterable] = iter,
    images: str | None = None,
) -> Evaluation:
    """Judges checkpoints of a run, one after the other.

    Args:
        run: the run folder.
        steps: "latest", "best" or iterations, see `restore.load`.
        config: the whole configuration.
        show: wraps the steps in a progress bar.
        images: folder or zip of the real images; None: the training set that `config.data` names.

    Raises:
        UserError: if there is no such checkpoint, the images cannot be loaded, or weights cannot be had.
    """
    if not split_names(config.eval.metrics):
        raise UserError(f"eval.metrics is empty: give names of {', '.join(METRICS)}, joined by commas")
    steps = sorted({int(find_checkpoint(run, step).name) for step in steps})  # before anything is computed
    data = load_training_set(run, config, images)
    evaluator = evaluator_from_config(config, data, classes=images is None)
    samplers = (load(run, step) for step in show(steps))
    with announced(f"evaluating {config.eval.num_samples} samples of each of {len(steps)} checkpoint(s)"):
        rows = [{"step": sampler.step, **evaluator.evaluate(sampler)} for sampler in samplers]
    facts = {
        "run": run_name(run),
        "num_samples": config.eval.num_samples,
        "num_real": len(data.images),
        "real": "training set" if images is None else str(images),
        "seed": config.eval.seed,
        "networks": evaluator.description,
        "protocol": evaluator.protocol,
        "mirrored": config.data.flip,
        "device": jax.devices()[0].device_kind,
    }
    return Evaluation(rows, facts)


def _shown(items: Sequence, title: str) -> Iterable:
    return Progress(items, title=title, passing=True)


def _check_sizes(metric: str, num_samples: int, num_real: int) -> None:
    """Before training rather than at the first evaluation."""
    for name, there, fewest in zip(
        ("eval.num_samples", "the number of real images"), (num_samples, num_real), FEWEST[metric], strict=True
    ):
        if there < fewest:
            raise UserError(f"{name} is {there}, and {metric} needs {fewest}: leave it out of eval.metrics")


def _load_distance(loss: Any) -> PerceptualDistance:
    try:
        return PerceptualDistance.load(loss.perceptual_net, loss.perceptual_weights)
    except UserError as error:
        raise UserError(
            f"{error}; or set loss.perceptual_weights=FILE or another loss.perceptual_net, or leave diversity and "
            "nearest out of eval.metrics"
        ) from None


def _read_features(path: Path, count: int) -> np.ndarray | None:
    """Features of `count` images from the cache; None if they are not there, or damaged."""
    if not path.exists():
        return None
    try:
        features = read_arrays(path).get("features")
    except UserError as error:
        log.warning("%s: the features of the real images are computed again", error)
        return None
    return features if features is not None and len(features) == count else None


def _statistics(features: np.ndarray) -> FeatureStatistics:
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics


def _kid(real: np.ndarray, fake: np.ndarray) -> Values:
    result = kernel_distance(real, fake)
    return {"kid": result.value, "kid_spread": result.spread}
