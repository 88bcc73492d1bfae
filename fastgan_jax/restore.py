"""From a run folder to a sampler."""

from pathlib import Path

import ml_collections

from fastgan_jax.checkpoint import load_sampler
from fastgan_jax.models.build import build_generator
from fastgan_jax.sampling import Sampler


def load(path: str | Path, step: int | str = "latest") -> Sampler:
    """Restores the averaged generator of a run.

    Args:
        path: a run folder, its checkpoints folder, or one checkpoint's folder.
        step: "latest", "best", or the iteration of a checkpoint that was kept.

    Returns:
        A sampler: see `fastgan_jax.sampling.Sampler`.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    variables, config_dict, restored_step = load_sampler(path, step)
    config = ml_collections.ConfigDict(config_dict)
    generator = build_generator(config.model, config.train.precision)
    return Sampler(generator, variables, z_dim=config.model.nz, step=restored_step, config=config)
