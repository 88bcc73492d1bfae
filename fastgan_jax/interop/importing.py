"""From a checkpoint of the reference program to a run folder that can be sampled and trained further."""

import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fastgan_jax.build import spec_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.gan.state import TrainState, create_train_state
from fastgan_jax.inference.standing_statistics import standing_statistics
from fastgan_jax.interop.names import check_structure
from fastgan_jax.interop.pytorch import state_dict_to_variables
from fastgan_jax.interop.reading import NETWORK_KEYS, Arrays, ReferenceCheckpoint, sort_checkpoint
from fastgan_jax.pretrained.torch_pickle import read_torch_file
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.checkpoint import Checkpoints
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.utils.files import user_path

STEP_IN_NAME = re.compile(r"(?:^|(?<![a-z])(?:all|iter|step)[_-]?)(\d+)$", re.I)  # of 50000.pth, all_50000.pth, ...
STANDING_SEED = 0  # of the latents behind the standing statistics
LARGEST_STEP = 2**31 - 1


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    step: int
    config: Any  # the configuration of the run
    notes: tuple[str, ...]  # what the file did not hold, or what could not be used, and what took its place


def import_checkpoint(
    path: str | Path, out_dir: str | Path, base_config: Any, given: Collection[str] = (), *, overwrite: bool = False
) -> Imported:
    """Writes a run folder from a checkpoint of the reference program.

    Args:
        path: the .pth file.
        out_dir: the run folder to make.
        base_config: configuration of the run, in which what the file says takes the place of sizes and, if it holds
            an optimizer's state, of learning rate and betas.
        given: names of its fields that somebody has chosen, such as "optim.learning_rate": these optimizer's values
            stay, and sizes must be those of the file.
        overwrite: replace a run folder that is there.

    Raises:
        UserError: if the file cannot be read, does not fit, the run folder is there, or `base_config` has
            what the reference has not.
    """
    path, out = user_path(path), user_path(out_dir)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not overwrite:
            raise UserError(f"{out} exists already: choose another --out, or add --overwrite")
        if not (out / "config.json").is_file():
            raise UserError(f"{out} is not a run folder, so it is not overwritten: choose another --out")
    checkpoint = sort_checkpoint(read_torch_file(path))
    config, notes = configure(base_config, checkpoint, given)
    step, iterations = step_of(path, checkpoint), config.train.iterations
    if step >= iterations:
        notes.append(f"iteration {step} is not below train.iterations={iterations}: to continue, set it higher")
    spec = spec_from_config(config)
    state = _fill(create_train_state(jax.random.key(config.train.seed), spec), checkpoint, step)
    # Variables for sampling have statistics of their own; `state` keeps the file's.
    g, key = state.generator, jax.random.key(STANDING_SEED)
    sampler = standing_statistics(
        spec.generator, state.ema_params, g.batch_stats, g.spectral, key, latent_size=config.model.nz
    )
    _write(out, step, state, sampler, configuration.to_dict(config))
    return Imported(step, config, (*checkpoint.notes, *notes))


def configure(base_config: Any, checkpoint: ReferenceCheckpoint, given: Collection[str] = ()) -> tuple[Any, list[str]]:
    """The configuration of the imported run, and notes about what the file lacked."""
    for name, size in checkpoint.sizes.items():
        if f"model.{name}" in given and base_config.model[name] != size:
            raise UserError(f"model.{name}={base_config.model[name]}: the file's networks have {size}; leave it out")
    check_structure(base_config.model)
    config, notes = base_config.copy_and_resolve_references(), []
    config.model.update(checkpoint.sizes)
    if "discriminator" not in checkpoint.networks:
        notes.append(f"no discriminator in the file: a fresh one is there to train, with model.ndf={config.model.ndf}")
    if checkpoint.ema is None:
        notes.append("no averaged parameters ('g_ema') in the file: those of 'g' took their place")
    for net, key in NETWORK_KEYS.items():
        if net not in checkpoint.moments:
            notes.append(f"no optimizer state ('opt_{key}') of the {net} carried over: its Adam starts afresh")
    options = [moments.options for moments in checkpoint.moments.values() if moments.options is not None]
    if options:
        rate, beta1, beta2 = options[0]
        if rate > 0 and 0 <= beta1 < 1 and 0 <= beta2 < 1:
            values = {"learning_rate": rate, "beta1": beta1, "beta2": beta2}
            config.optim.update({name: value for name, value in values.items() if f"optim.{name}" not in given})
            if len(set(options)) > 1:
                notes.append(
                    f"the optimizers differ in (learning rate, betas), {options}: the first are taken for both"
                )
        else:
            notes.append(
                f"the optimizer's (learning rate, betas) {options[0]} cannot be trained with: those of optim stay"
            )
    configuration.validate(config, check_source=False)
    return config, notes


def step_of(path: Path, checkpoint: ReferenceCheckpoint) -> int:
    """The iteration: from the file's name, else from the optimizer's count, else 0."""
    named = STEP_IN_NAME.search(path.stem)
    step = int(named[1]) if named else max((m.updates for m in checkpoint.moments.values()), default=0)
    if step > LARGEST_STEP:
        raise UserError(f"{path.name} names iteration {step}, which is above {LARGEST_STEP}: rename the file")
    return step


def _fill(state: TrainState, checkpoint: ReferenceCheckpoint, step: int) -> TrainState:
    """The state with all that the file held in place of the initial values."""
    for net, tensors in checkpoint.networks.items():
        network = getattr(state, net).replace(**_variables(tensors, net))
        if moments := checkpoint.moments.get(net):
            first, second = (_variables(arrays, net)["params"] for arrays in (moments.first, moments.second))
            count = jnp.asarray(moments.updates, jnp.int32)
            network = network.replace(optimizer=optax.tree.set(network.optimizer, count=count, mu=first, nu=second))
        state = state.replace(**{net: network})
    averaged = checkpoint.ema or checkpoint.networks["generator"]
    return state.replace(step=jnp.asarray(step, jnp.int32), ema_params=_variables(averaged, "generator")["params"])


def _variables(arrays: Arrays, net: str) -> dict:
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), state_dict_to_variables(arrays, net))


def _write(out: Path, step: int, state: TrainState, sampler: dict, config: dict[str, Any]) -> None:
    """Writes the run folder, in place of one that is there with all that is known of its model."""
    run = RunFolder(out)
    with run.lock():
        for path in (run.checkpoints, *run.leftovers()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        run.write_config(config, device=jax.devices()[0].device_kind)
        # Which images the file was trained on is not known, so the run starts a first epoch on its own.
        data = {"iteration": step, "epoch": 0, "position": 0, "fingerprint": None}
        with Checkpoints(run.checkpoints, keep=None) as checkpoints:
            checkpoints.save(step, state=state, sampler=sampler, config=config, data=data)
