"""From a run folder to its generator, its discriminator, its training images and its perceptual network."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from fastgan_jax.build import build_generator, build_image_discriminator, compute_from_config
from fastgan_jax.data.dataset import ImageSet, check_source, load_image_set
from fastgan_jax.errors import UserError
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.pretrained.choice import present
from fastgan_jax.pretrained.networks import load_perceptual
from fastgan_jax.runs.checkpoint import find_checkpoint, image_fingerprint, load_sampler, load_state
from fastgan_jax.runs.config import SOURCES
from fastgan_jax.runs.folder import RunFolder, run_of
from fastgan_jax.runs.hub import download_run, is_on_hub
from fastgan_jax.utils.console import announced
from fastgan_jax.utils.files import user_path

UNREADABLE = "iteration {} cannot be read and is left out"
NO_CLASSES = "the run does not record the names of its classes, as one from the hub"
STATISTICS = ("standing", "running")
IMAGES_CHANGED = "the images, or how they are decoded, are not those that the run was trained on"

log = logging.getLogger(__name__)


def load(path: str | Path, step: int | str = "latest", *, statistics: str = "standing") -> Sampler:
    """Restores the averaged generator of a run.

    Args:
        path: a run folder, its checkpoints folder, or one checkpoint's folder; or hf://USER/NAME[@REVISION], a run that
            `fastgan push` put on the Hugging Face hub, which is downloaded once.
        step: "latest", "best", or the iteration of a checkpoint that was kept.
        statistics: what normalizes in place of the batch's statistics: "standing" (computed for the averaged generator
            when the checkpoint was written) or "running" (the running averages and spectral vectors of the generator
            in training, which is what PyTorch's evaluation mode uses with averaged parameters).

    Raises:
        UserError: if there is no such run or checkpoint, or `statistics` is unknown.
    """
    if is_on_hub(path):
        path = download_run(str(path))
    if statistics not in STATISTICS:
        raise UserError(f"statistics={statistics!r}: must be one of {', '.join(STATISTICS)}")
    if statistics == "standing":
        variables, config_dict, found = load_sampler(path, step)
    else:
        state, config_dict, found = load_state(path, step)
        g = state["generator"]
        variables = {"params": state["ema_params"], "batch_stats": g["batch_stats"], "spectral": g["spectral"]}
    config = ml_collections.ConfigDict(config_dict)
    generator = build_generator(config.model, compute_from_config(config.train))
    return Sampler(generator, variables, z_dim=config.model.nz, step=found, config=config)


def load_each(path: str | Path, steps: Sequence[int]) -> Iterator[Sampler]:
    """Restores these checkpoints of a run, one after the other.

    One that cannot be read, since it is damaged or the training that goes on has deleted it, is left out; the log says
    so.

    Raises:
        UserError: if none can be read.
    """
    found = False
    for step in steps:
        try:
            with announced(f"loading iteration {step} of {path}"):
                sampler = load(path, step)
        except UserError as error:
            if step == steps[-1] and not found:
                raise
            log.warning("%s (%s)", UNREADABLE.format(step), error)
            continue
        found = True
        yield sampler


class TrainedDiscriminator(NamedTuple):
    """A discriminator as a checkpoint holds it."""

    discriminator: Discriminator
    variables: dict  # {"params", "batch_stats", "spectral"}
    config: ml_collections.ConfigDict  # of the run
    step: int  # iterations of training


def load_discriminator(path: str | Path, step: int | str = "latest") -> TrainedDiscriminator:
    """Restores FastGAN's discriminator of a run; arguments as for `find_checkpoint`.

    Raises:
        UserError: if there is no such checkpoint, or the run has no discriminator of whole images.
    """
    state, config_dict, found = load_state(path, step)
    config = ml_collections.ConfigDict(config_dict)
    discriminator = build_image_discriminator(config.model, compute_from_config(config.train))
    if discriminator is None:
        raise UserError(
            f"{path} was trained with model.discriminator=projected alone, which neither reconstructs images nor ranks "
            "single ones"
        )
    variables = {name: state["discriminator"][name] for name in ("params", "batch_stats", "spectral")}
    return TrainedDiscriminator(discriminator, variables, config, found)


def load_training_set(path: str | Path, config: Any, data: str | Path | None = None) -> ImageSet:
    """The images that a run was trained on; arguments, errors and what the log says as `find_training_set`."""
    return find_training_set(path, config, data)()


def find_training_set(path: str | Path, config: Any, data: str | Path | None = None) -> Callable[[], ImageSet]:
    """Finds the images that a run was trained on, before any other work.

    Args:
        path: as for `find_checkpoint`; demo images are cached in the run folder.
        config: of the run.
        data: a folder or zip to read in place of the run's own source, for example if that was moved. It need not have
            the classes of a conditional model: without them all labels are 0, and the log says so.

    Returns:
        What decodes them. If they have changed since the training, the log says so.

    Raises:
        UserError: if the images are not there; also what is returned, if they cannot be read.
    """
    source, model = ml_collections.ConfigDict(config.data.to_dict()), config.model
    run, num_classes = run_of(find_checkpoint(path)), model.num_classes
    if data is not None:
        if not user_path(data).exists():
            raise UserError(f"--data {data}: no such folder or zip")
        source.update(dict.fromkeys(SOURCES) | {"path": str(data)})
        num_classes = _choose_classes(source, num_classes, run)
    elif all(source[name] is None for name in SOURCES):
        raise UserError(f"{path} does not record its training images: give their folder with --data")
    elif source.path is not None and not user_path(source.path).exists():
        gone = f"the training images of {path} are no longer in data.path={source.path}"
        raise UserError(f"{gone}: give their folder with --data")

    def decode() -> ImageSet:
        size = {"resolution": model.resolution, "channels": model.channels}
        found = load_image_set(source, **size, num_classes=num_classes, run_dir=run.path)
        if data is None and image_fingerprint(path) not in (None, found.fingerprint):
            log.warning("%s", IMAGES_CHANGED)
        return found

    return decode


def _choose_classes(source: Any, num_classes: int, run: RunFolder) -> int:
    """Lets images from elsewhere have the classes of a run, if they have them by folders or by the same label file.

    Returns:
        `num_classes`; 0 if they do not have these classes, or a run does not record them, and the log says so.
    """
    known = run.class_names()
    for labels in dict.fromkeys((source.labels, None)) if num_classes else ():
        source.labels = labels
        with contextlib.suppress(UserError):
            if check_source(source, num_classes) == known:
                return num_classes
    check_source(source, 0)
    if num_classes:
        reason = f"{source.path} does not have the classes of the run" if known else NO_CLASSES
        log.warning("%s: the images are taken without", reason)
    return 0


def load_run_perceptual(config: Any, name: str | None = None, weights: str | None = None) -> tuple[str, dict[str, Any]]:
    """Name and parameters of the perceptual network of a run's configuration, or of another.

    Args:
        config: of the run.
        name: of `pretrained.networks.PERCEPTUAL`; None: the run's own.
        weights: a local file with its weights; None: the run's own if it names one, else the cache, else a download.

    Raises:
        UserError: if the weights cannot be had.
    """
    name = name or config.loss.perceptual_net
    if weights is None and name == config.loss.perceptual_net:
        weights = present(config.loss.perceptual_weights)
    try:
        return name, load_perceptual(name, weights)
    except UserError as error:
        raise UserError(f"{error}; here: --weights FILE, or another --net") from None
