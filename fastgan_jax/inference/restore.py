"""From a run folder to its generator, its discriminator, its training images and its perceptual network."""

from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from fastgan_jax.build import build_discriminator, build_generator, compute_from_config
from fastgan_jax.data.dataset import ImageSet, load_image_set
from fastgan_jax.errors import UserError
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.pretrained.networks import load_perceptual
from fastgan_jax.runs.checkpoint import find_checkpoint, load_sampler, load_state
from fastgan_jax.utils.files import user_path

STATISTICS = ("standing", "running")


def load(path: str | Path, step: int | str = "latest", *, statistics: str = "standing") -> Sampler:
    """Restores the averaged generator of a run.

    Args:
        path: a run folder, its checkpoints folder, or one checkpoint's folder.
        step: "latest", "best", or the iteration of a checkpoint that was kept.
        statistics: what normalizes in place of the batch's statistics: "standing" (computed for the averaged generator
            when the checkpoint was written) or "running" (the running averages and spectral vectors of the generator
            in training, which is what PyTorch's evaluation mode uses with averaged parameters).

    Raises:
        UserError: if there is no such run or checkpoint, or `statistics` is unknown.
    """
    if statistics not in STATISTICS:
        raise UserError(f"statistics={statistics!r}: must be one of {', '.join(STATISTICS)}")
    if statistics == "standing":
        variables, config_dict, found = load_sampler(path, step)
    else:
        state, config_dict, found = load_state(path, step)
        generator_state = state["generator"]
        variables = {"params": state["ema_params"]} | {k: generator_state[k] for k in ("batch_stats", "spectral")}
    config = ml_collections.ConfigDict(config_dict)
    generator = build_generator(config.model, compute_from_config(config.train))
    return Sampler(generator, variables, z_dim=config.model.nz, step=found, config=config)


class TrainedDiscriminator(NamedTuple):
    """A discriminator as a checkpoint holds it."""

    discriminator: Discriminator
    variables: dict  # {"params", "batch_stats", "spectral"}
    config: ml_collections.ConfigDict  # of the run
    step: int  # iterations of training


def load_discriminator(path: str | Path, step: int | str = "latest") -> TrainedDiscriminator:
    """Restores the discriminator of a run; arguments as for `load`.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    state, config_dict, found = load_state(path, step)
    config = ml_collections.ConfigDict(config_dict)
    discriminator = build_discriminator(config.model, compute_from_config(config.train))
    variables = {name: state["discriminator"][name] for name in ("params", "batch_stats", "spectral")}
    return TrainedDiscriminator(discriminator, variables, config, found)


def load_training_set(path: str | Path, config: Any, data: str | Path | None = None) -> ImageSet:
    """The images that a run was trained on.

    Args:
        path: as for `load`; demo images are cached in the run folder.
        config: of the run.
        data: a folder or zip to read in place of the run's own source, for example if that was moved.

    Raises:
        UserError: if the images are not there, or cannot be read.
    """
    source = ml_collections.ConfigDict(config.data.to_dict())
    if data is not None:
        if not user_path(data).exists():
            raise UserError(f"--data {data}: no such folder or zip")
        source.path, source.tfds, source.demo_images = str(data), None, None
    elif all(source[name] is None for name in ("path", "tfds", "demo_images")):
        raise UserError(f"{path} does not record its training images: give their folder with --data")
    elif source.path is not None and not user_path(source.path).exists():
        raise UserError(
            f"the training images of {path} are no longer in data.path={source.path}: give their folder with --data"
        )
    checkpoints = find_checkpoint(path).parent
    model = config.model
    return load_image_set(
        source,
        resolution=model.resolution,
        channels=model.channels,
        num_classes=model.num_classes if data is None else 0,  # images from elsewhere need no class folders
        run_dir=checkpoints.parent if checkpoints.name == "checkpoints" else checkpoints,
    )


def load_run_perceptual(config: Any, name: str | None = None, weights: str | None = None) -> tuple[str, dict[str, Any]]:
    """The perceptual network of a run's configuration, or another.

    Args:
        config: of the run.
        name: of `pretrained.networks.PERCEPTUAL`; None: the run's own.
        weights: a local file with its weights; None: the run's own if it names one, else the cache, else a download.

    Returns:
        The network's name and its parameters.

    Raises:
        UserError: if the weights cannot be had.
    """
    loss = config.loss
    if weights is None and name in (None, loss.perceptual_net):
        weights = loss.perceptual_weights
    name = name or loss.perceptual_net
    try:
        return name, load_perceptual(name, weights)
    except UserError as error:
        raise UserError(f"{error}; here: --weights FILE, or another --net") from None
