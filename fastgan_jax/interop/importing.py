"""From a checkpoint of the reference program to a run folder that samples and trains on."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax.build import spec_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.gan.state import NetworkState, TrainState, create_train_state
from fastgan_jax.inference.standing_statistics import standing_statistics
from fastgan_jax.interop.names import check_structure
from fastgan_jax.interop.pytorch import state_dict_to_variables
from fastgan_jax.interop.reading import NETWORK_KEYS, Arrays, Moments, ReferenceCheckpoint, sort_checkpoint
from fastgan_jax.models.generator import Generator
from fastgan_jax.pretrained.torch_pickle import read_torch_file
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.checkpoint import Checkpoints
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.utils.files import user_path

STEP_IN_NAME = re.compile(r"(?:^|all[_-]?|iter[_-]?|step[_-]?)(\d+)$")  # of 50000.pth, all_50000.pth, ...
STANDING_SEED = 0  # of the latents behind the standing statistics
LARGEST_STEP = 2**31 - 1


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    step: int
    config: Any  # the configuration of the run
    notes: tuple[str, ...]  # what the file did not hold, or what could not be used, and what took its place


def import_checkpoint(path: str | Path, out_dir: str | Path, base_config: Any, *, overwrite: bool = False) -> Imported:
    """Writes a run folder from a checkpoint of the reference program.

    Args:
        path: the .pth file.
        out_dir: the run folder to make.
        base_config: configuration of the run, in which what the file says takes the place of sizes and, if it holds
            an optimizer's state, of learning rate and betas.
        overwrite: replace a run folder that is there.

    Returns:
        What was found and made.

    Raises:
        UserError: if the file cannot be read, does not fit, the run folder is there, or `base_config` has
            what the reference has not.
    """
    path, out = user_path(path), user_path(out_dir)
    _check_free(out, overwrite)
    checkpoint = sort_checkpoint(read_torch_file(path))
    config, notes = configure(base_config, checkpoint)
    step = step_of(path, checkpoint)
    if step >= config.train.iterations:
        notes.append(
            f"iteration {step} is not below train.iterations={config.train.iterations}: to train on, set it higher"
        )
    spec = spec_from_config(config)
    state = create_train_state(jax.random.key(config.train.seed), spec)
    state = _fill(state, checkpoint).replace(step=jnp.asarray(step, jnp.int32))
    _write(out, step, state, _sampler_variables(spec.generator, state, config.model.nz), configuration.to_dict(config))
    return Imported(step, config, (*checkpoint.notes, *notes))


def _check_free(out: Path, overwrite: bool) -> None:
    """Checks that the run folder is new, or one that may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UserError(f"{out} exists already: choose another --out, or add --overwrite")
    if not (out / "config.json").is_file():
        raise UserError(f"{out} is not a run folder, so it is not overwritten: choose another --out")


def configure(base_config: Any, checkpoint: ReferenceCheckpoint) -> tuple[Any, list[str]]:
    """The configuration of the imported run, and notes about what the file lacked."""
    check_structure(base_config.model)
    config = base_config.copy_and_resolve_references()
    sizes, notes = checkpoint.sizes, []
    config.model.update(resolution=sizes.resolution, channels=sizes.channels, ngf=sizes.ngf, nz=sizes.nz)
    if checkpoint.discriminator is None:
        notes.append(f"no discriminator in the file: a fresh one is there to train, with model.ndf={config.model.ndf}")
    else:
        config.model.ndf = sizes.ndf
    if checkpoint.ema is None:
        notes.append("no averaged parameters ('g_ema') in the file: those of 'g' took their place")
    for net, keys in NETWORK_KEYS.items():
        if net not in checkpoint.moments:
            notes.append(f"no optimizer state ('{keys.optimizer}') of the {net} carried over: its Adam starts afresh")
    notes += _take_options(config.optim, list(checkpoint.moments.values()))
    configuration.validate(config, check_source=False)
    return config, notes


def _take_options(optim: Any, moments: list[Moments]) -> list[str]:
    """Sets learning rate and betas to those of the file; both networks have the same here."""
    options = [m.options for m in moments if m.options is not None]
    if not options:
        return []
    rate, beta1, beta2 = options[0]
    if not (rate > 0 and 0 <= beta1 < 1 and 0 <= beta2 < 1):
        return [f"the optimizer's (learning rate, betas) {options[0]} cannot be trained with: those of optim stay"]
    optim.learning_rate, optim.beta1, optim.beta2 = rate, beta1, beta2
    if len(set(options)) == 1:
        return []
    return [f"the optimizers differ in (learning rate, betas), {options}: the first are taken for both"]


def step_of(path: Path, checkpoint: ReferenceCheckpoint) -> int:
    """The iteration: from the file's name, else from the optimizer's count, else 0."""
    named = STEP_IN_NAME.search(path.stem)
    step = int(named[1]) if named else max((m.updates for m in checkpoint.moments.values()), default=0)
    if step > LARGEST_STEP:
        raise UserError(f"{path.name} speaks of iteration {step}, which is above {LARGEST_STEP}: rename the file")
    return step


def _fill(state: TrainState, checkpoint: ReferenceCheckpoint) -> TrainState:
    """The state with all that the file held in place of the initial values."""
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    for net, tensors in (("generator", checkpoint.generator), ("discriminator", checkpoint.discriminator)):
        if tensors is not None:
            variables = _to_device(state_dict_to_variables(tensors, net))
            networks[net] = networks[net].replace(**variables)
            if net in checkpoint.moments:
                networks[net] = _with_moments(networks[net], checkpoint.moments[net], net)
    ema_params = jax.tree.map(jnp.copy, networks["generator"].params)
    if checkpoint.ema is not None:
        ema_params = _to_device(_params_tree(checkpoint.ema, "generator"))
    return state.replace(**networks, ema_params=ema_params)


def _with_moments(network: NetworkState, moments: Moments, net: str) -> NetworkState:
    first, second = (_to_device(_params_tree(arrays, net)) for arrays in (moments.first, moments.second))
    count = jnp.asarray(moments.updates, jnp.int32)
    return network.replace(optimizer=optax.tree.set(network.optimizer, count=count, mu=first, nu=second))


def _params_tree(arrays: Arrays, net: str) -> dict:
    return state_dict_to_variables(arrays, net, ("params",))["params"]


def _to_device(tree: dict) -> dict:
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), tree)


def _sampler_variables(generator: Generator, state: TrainState, nz: int) -> dict:
    """The averaged generator's variables for sampling; `state` keeps the file's own running statistics."""
    g, key = state.generator, jax.random.key(STANDING_SEED)
    return standing_statistics(generator, state.ema_params, g.batch_stats, g.spectral, key, latent_size=nz)


def _write(out: Path, step: int, state: TrainState, sampler: dict, config: dict[str, Any]) -> None:
    """Writes the run folder, in place of one that is there."""
    run = RunFolder(out)
    with run.lock():
        for folder in (run.checkpoints, run.samples, run.reconstructions, run.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
        run.metrics.unlink(missing_ok=True)
        run.write_config(config, device=jax.devices()[0].device_kind)
        # Which images the file was trained on is not known, so the run starts a first epoch on its own.
        data = {"iteration": step, "epoch": 0, "position": 0, "fingerprint": None}
        with Checkpoints(run.checkpoints, keep=None) as checkpoints:
            checkpoints.save(step, state=state, sampler=sampler, config=config, data=data)
