"""From a run folder to a sampler."""

from pathlib import Path

import ml_collections

from fastgan_jax.checkpoint import load_sampler, load_state
from fastgan_jax.errors import UserError
from fastgan_jax.models.build import build_generator
from fastgan_jax.sampling import Sampler

STATISTICS = ("standing", "running")


def load(path: str | Path, step: int | str = "latest", *, statistics: str = "standing") -> Sampler:
    """Restores the averaged generator of a run.

    Args:
        path: a run folder, its checkpoints folder, or one checkpoint's folder.
        step: "latest", "best", or the iteration of a checkpoint that was kept.
        statistics: what stands for the batch in normalisation: "standing" (computed for the averaged generator when
            the checkpoint was written) or "running" (the running averages and spectral vectors of the generator in
            training, which is what PyTorch's evaluation mode uses with averaged parameters).

    Returns:
        A sampler: see `fastgan_jax.sampling.Sampler`.

    Raises:
        UserError: if there is no such run or checkpoint, or `statistics` is something else.
    """
    if statistics not in STATISTICS:
        raise UserError(f"statistics={statistics!r}: allowed is {' | '.join(STATISTICS)}")
    if statistics == "standing":
        variables, config_dict, found = load_sampler(path, step)
    else:
        state, config_dict, found = load_state(path, step)
        generator_state = state["generator"]
        variables = {"params": state["ema_params"]} | {k: generator_state[k] for k in ("batch_stats", "spectral")}
    config = ml_collections.ConfigDict(config_dict)
    generator = build_generator(config.model, config.train.precision)
    return Sampler(generator, variables, z_dim=config.model.nz, step=found, config=config)
