"""Evaluates a generator by its images, against the training set or another one."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.choice import better_networks
from fastgan_jax.evaluation.coverage import RULE, coverage_grid, coverage_report
from fastgan_jax.evaluation.features import FeatureExtractor, alternatives, is_own_network
from fastgan_jax.inference.restore import IMAGES_CHANGED, NO_CLASSES, UNREADABLE, find_training_set, load_each
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.metrics.precision_recall import nearest_fakes
from fastgan_jax.metrics.registry import METRICS, Numbers, Reference, Samples
from fastgan_jax.pretrained.formats import read_arrays, write_arrays
from fastgan_jax.pretrained.networks import PerceptualDistance, load_perceptual
from fastgan_jax.runs.checkpoint import find_checkpoint, image_fingerprint
from fastgan_jax.runs.config import split_names
from fastgan_jax.runs.folder import run_name, run_of
from fastgan_jax.utils.console import Progress, announced, say
from fastgan_jax.utils.files import cache_folder, user_path

TRAINING_SET = "training set"  # what its images are called in the facts of an evaluation
IMAGES_AT_ONCE = 64  # generated or read, before their features replace them

log = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """Metrics of checkpoints."""

    rows: list[dict[str, Any]]  # {"step": iteration, output: number} of each checkpoint
    facts: dict[str, Any]  # what they were computed from, by name
    coverage: np.ndarray | None = None  # the figure of `coverage_grid` of the last, if density_coverage is evaluated


class Generated:
    """The images of a generator as an array uint8 [M, H, W, C] of which only slices are made, when they are needed."""

    def __init__(self, sampler: Sampler, count: int, seed: int, labels: np.ndarray | None):
        """Images of `seed`, with `labels` [N] as their classes, repeated as often as needed."""
        self._sampler, self._count, self._seed, self._labels = sampler, count, seed, labels

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, end, _ = rows.indices(self._count)
        labels = None if self._labels is None else np.resize(self._labels, end)[start:]
        return self._sampler.sample(end - start, self._seed, first=start, labels=labels)


class Networks(NamedTuple):
    """The networks that the metrics of a configuration need, each None if none does."""

    features: FeatureExtractor | None
    distance: PerceptualDistance | None


def load_networks(config: Any) -> Networks:
    """The networks behind `eval.metrics`, of the groups `eval`, `loss` and `model` of the whole configuration.

    Raises:
        UserError: if weights are not available; the line says what can be used instead.
    """
    names = split_names(config.eval.metrics)
    needed, discriminator = {METRICS[name].needs for name in names}, config.model.discriminator
    features = distance = None
    if "features" in needed:
        network = (config.eval.features, config.eval.resize, config.eval.feature_weights)
        features = FeatureExtractor(*network, discriminator=discriminator)
        if is_own_network(config.eval.features, discriminator):
            log.warning(
                "eval.features=%s is the network that model.discriminator=%s sees images through, so its numbers "
                "flatter the run: judge it by eval.features=inception, %s, and by the metrics layout and swd",
                *(config.eval.features, discriminator, " or ".join(alternatives(discriminator))),
            )
    if "distance" in needed:
        net = config.loss.perceptual_net
        try:
            distance = PerceptualDistance(net, load_perceptual(net, config.loss.perceptual_weights))
        except UserError as error:
            asking = " and ".join(name for name in names if METRICS[name].needs == "distance")
            raise UserError(
                f"{error}; or set loss.perceptual_weights=FILE or another loss.perceptual_net, or leave {asking} out "
                "of eval.metrics"
            ) from None
    return Networks(features, distance)


class GivenUp(Exception):
    """An evaluation that is not wanted any more."""


class Evaluator:
    """Compares generated images with one set of real ones.

    Attributes:
        description: of the feature network, its resize convention and the perceptual distance, as far as they are used.
        protocol: how each metric that has numbers of its own to state is computed, in words.
        samples: what the metrics saw of the images that were evaluated last.
        given_up: asked before each batch and each metric; once it says yes, `evaluate` raises GivenUp.
    """

    def __init__(
        self,
        config: Any,
        networks: Networks,
        real: np.ndarray,
        fingerprint: str,
        cache_dir: Path,
        labels: Sequence[int] | None = None,
    ):
        """Sets up the metrics.

        Args:
            config: the whole configuration; the group `eval` is used, and `data.flip`, with which a mirrored training
                image counts as a training image in `nearest`.
            networks: what `load_networks` gives for the configuration.
            real: uint8 [N, H, W, C].
            fingerprint: of the real set's content, so that its features are computed once and kept in `cache_dir`.
            labels: classes of the real images, in whose shares a conditional generator is sampled; None: equal ones.

        Raises:
            UserError: if there are too few images for a metric.
        """
        evaluation = config.eval
        self._num_samples, self._seed = evaluation.num_samples, evaluation.seed
        self._metrics = {name: METRICS[name] for name in split_names(evaluation.metrics)}
        self._real, self._fingerprint, self._cache_dir = real, fingerprint, cache_dir
        self._labels = None if labels is None else np.random.RandomState(self._seed).permutation(labels)
        self._mirrored = config.data.flip
        self._extract, self._distance = networks
        self.samples: Samples | None = None
        self.given_up: Callable[[], bool] = lambda: False
        there = {"eval.num_samples": self._num_samples, "the number of real images": len(real)}
        for metric, entry in self._metrics.items():
            for (name, number), fewest in zip(there.items(), entry.fewest, strict=True):
                if number < fewest:
                    raise UserError(f"{name} is {number}, and {metric} needs {fewest}: leave it out of eval.metrics")
        texts = (self._extract and self._extract.description, self._distance and self._distance.measure)
        self.description = "; ".join(filter(None, texts))
        sizes = (self._num_samples, len(real), self._mirrored)
        self.protocol = {name: metric.protocol(*sizes) for name, metric in self._metrics.items() if metric.protocol}

    def evaluate(self, sampler: Sampler) -> Numbers:
        """The metrics of a generator: {output: number}, see `metrics.registry`; the same digits each time."""
        return self.evaluate_images(self._generated(sampler))

    def coverage(self, sampler: Sampler, names: Sequence[str]) -> tuple[dict[str, Any], np.ndarray]:
        """Which real images, of these names, the samples of the generator that was evaluated last come near to.

        Returns:
            What `coverage_report` and `coverage_grid` give.
        """
        nearest = nearest_fakes(self.real_features, self.samples.features)
        report = coverage_report(nearest, names) | {"step": sampler.step}
        title = (
            f"iteration {sampler.step}: {report['covered']} of {len(names)} real images have one of "
            f"{self._num_samples} samples {RULE}; {report['nearest_of_samples']} are the nearest of any sample"
        )
        return report, coverage_grid(self._real, self._generated(sampler), nearest, title)

    def _generated(self, sampler: Sampler) -> Generated:
        return Generated(sampler, self._num_samples, self._seed, self._labels)

    def evaluate_images(self, images: np.ndarray | Generated) -> Numbers:
        """The metrics of images uint8 [M, S, S, C], of the real images' side S: {output: number}.

        Raises:
            UserError: if the images are others, or too few for a metric.
        """
        if not isinstance(images, Generated):
            self._check(images)
        self.samples, reference, numbers = self._samples(images), self._reference, {}
        for metric in Progress(list(self._metrics.values()), title="metrics", passing=True):
            self._go_on()
            numbers |= metric.compute(reference, self.samples)
        return numbers

    def _check(self, images: np.ndarray) -> None:
        side = self._real.shape[1]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:3] != (side, side):
            found = f"images to evaluate are {images.dtype} {list(images.shape)}"
            raise UserError(f"{found}: give uint8 [M, {side}, {side}, C], the size of the real ones")
        for name, metric in self._metrics.items():
            if len(images) < metric.fewest[0]:
                problem = f"{len(images)} image(s) to evaluate, and {name} needs {metric.fewest[0]}"
                raise UserError(f"{problem}: give more, or leave it out of eval.metrics")

    def _samples(self, images: np.ndarray | Generated) -> Samples:
        """What the metrics need of images uint8 [M, H, W, C], each of which is made once."""
        entries = self._metrics.values()
        shown = max((entry.shown for entry in entries if entry.needs in ("distance", "images")), default=0)
        reduce = {name: entry.reduce for name, entry in self._metrics.items() if entry.reduce}
        if self._extract is not None:
            reduce["features"] = self._extract
        kept, reduced = [], {name: [] for name in reduce}
        for start, batch in self._batches(images, len(images) if reduce else min(shown, len(images)), "samples"):
            kept.append(batch[: max(shown - start, 0)])
            for name, function in reduce.items():
                reduced[name].append(function(batch))
        reduced = {name: np.concatenate(parts) for name, parts in reduced.items()}
        return Samples(reduced.pop("features", None), np.concatenate(kept) if shown else None, reduced)

    @cached_property
    def _reference(self) -> Reference:
        features = None if self._extract is None else self.real_features
        return Reference(self._real, features, self._distance, self._mirrored)

    @cached_property
    def real_features(self) -> np.ndarray:
        """Features of every real image, each once: float32 [N, D]; from the cache if they are there."""
        identity = hashlib.sha256(f"{self._fingerprint}/{self._extract.identity}".encode()).hexdigest()[:32]
        path = self._cache_dir / f"{identity}.npz"
        if path.exists():
            try:
                features = read_arrays(path).get("features", ())
                if len(features) == len(self._real):
                    return features
            except UserError as error:
                log.warning("%s: the features of the real images are computed again", error)
        batches = self._batches(self._real, len(self._real), "real images")
        features = np.concatenate([self._extract(batch) for _, batch in batches])
        try:
            write_arrays(path, {"features": features})
        except UserError as error:  # no reason to end a run
            log.warning("the features of the real images will be computed again next time: %s", error)
        return features

    def _batches(self, images: np.ndarray | Generated, count: int, title: str) -> Iterator[tuple[int, np.ndarray]]:
        """The first `count` images in batches, each with the number of its first image."""
        for start in Progress(range(0, count, IMAGES_AT_ONCE), title=f"{title}, by {IMAGES_AT_ONCE}", passing=True):
            self._go_on()
            yield start, np.asarray(images[start : min(start + IMAGES_AT_ONCE, count)])

    def _go_on(self) -> None:
        if self.given_up():
            raise GivenUp


def evaluator_from_config(config: Any, networks: Networks, data: ImageSet) -> Evaluator:
    """The evaluator of a run against its own training set or images from elsewhere."""
    cache = user_path(config.data.cache_dir) if config.data.cache_dir else cache_folder("data")
    labels = data.labels if config.model.num_classes and data.files.classes else None
    return Evaluator(config, networks, data.images, data.fingerprint, cache / "features", labels)


def in_words(values: Mapping[str, float]) -> str:
    """The numbers of an evaluation in one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def evaluate_run(
    run: str | Path,
    steps: Sequence[int | str] | int | str,
    config: Any,
    images: str | Path | None = None,
    label: int | None = None,
) -> Evaluation:
    """Evaluates checkpoints of a run folder: "latest", "best" or iterations, by the whole configuration.

    `images` is a folder or zip of real images; None: the training set that `config.data` names. With a `label` samples
    of that class are compared with its real images. Of several checkpoints one that cannot be read is left out; the
    log and the facts say so.

    Raises:
        UserError: if there is no such checkpoint or none can be read, the images cannot be loaded, or weights are not
            available.
    """
    if not split_names(config.eval.metrics):
        raise UserError(f"eval.metrics is empty: give names of {', '.join(METRICS)}, joined by commas")
    if isinstance(steps, str | int):
        steps = [steps]
    steps = sorted({int(find_checkpoint(run, step).name) for step in steps})  # before anything is computed
    if label is not None and not 0 <= label < config.model.num_classes:
        known = f"classes 0 to {config.model.num_classes - 1}" if config.model.num_classes else "no classes"
        raise UserError(f"label={label}: the run has {known}")
    decode = find_training_set(run, config, images)  # before networks are downloaded
    networks = load_networks(config)  # before images are decoded
    data = decode()
    real, remarks = TRAINING_SET if images is None else str(user_path(images).resolve()), []
    known = image_fingerprint(run)
    if images is None and known not in (None, data.fingerprint):
        remarks.append(IMAGES_CHANGED)
    trained_on = images is None or known == data.fingerprint  # perhaps moved
    if config.model.num_classes and not data.files.classes:
        if label is not None:
            reason = f"{images} does not have the classes of the run" if run_of(run).class_names() else NO_CLASSES
            raise UserError(f"label={label}: {reason}")
        remarks.append("samples of all classes in equal shares, since those of the real images are not known")
    if label is not None:
        data, real = data.of_class(label), f"class {label} of {f'the {real}' if real == TRAINING_SET else real}"
    evaluator = evaluator_from_config(config, networks, data)
    rows, figure = [], None
    with announced(f"evaluating {config.eval.num_samples} samples of each of {len(steps)} checkpoint(s)"):
        for sampler in Progress(load_each(run, steps), title="checkpoints", total=len(steps)):
            values = evaluator.evaluate(sampler)
            rows.append({"step": sampler.step, **values})
            if len(steps) > 1:  # for who stops it before the end
                say(f"{run_name(run)}, iteration {sampler.step}: {in_words(values)}")
    read = [row["step"] for row in rows]
    remarks += [UNREADABLE.format(step) for step in steps if step not in read]
    facts = {
        "run": run_name(run),
        "num_samples": config.eval.num_samples,
        "num_real": len(data.images),
        "real": real,
        "trained_on": trained_on,
        "seed": config.eval.seed,
        "networks": evaluator.description,
        "remarks": [*remarks, *better_networks(config)],
        "protocol": evaluator.protocol,
        "mirrored": config.data.flip,
        "device": jax.devices()[0].device_kind,
    }
    if "density_coverage" in split_names(config.eval.metrics):
        facts["coverage"], figure = evaluator.coverage(sampler, data.names)
    return Evaluation(rows, facts, figure)
