"""A new run that begins with the networks of another one, or of a PyTorch checkpoint: train.init_from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fastgan_jax.errors import UserError
from fastgan_jax.gan.state import TrainState
from fastgan_jax.interop.pytorch import state_dict_to_variables
from fastgan_jax.interop.reading import sort_checkpoint
from fastgan_jax.pretrained.torch_pickle import read_torch_file
from fastgan_jax.runs.checkpoint import load_state
from fastgan_jax.utils.files import user_path

TORCH_SUFFIXES = (".pth", ".pt")
BOTH = ("generator", "discriminator")
LEAST_SHARE = 0.1  # of the generator's parameters, below which nothing is gained
COLLECTIONS = ("params", "batch_stats", "spectral")


@dataclass(frozen=True)
class InitialNetworks:
    """Trained networks."""

    name: str  # such as "runs/demo (iteration 1000)"
    networks: Mapping[str, dict]  # variables {"params", "batch_stats", "spectral"} of those of BOTH that are there
    ema_params: dict  # the generator's averaged parameters
    model: Mapping[str, Any]  # what is known of the fields of the group `model` that describe them


def read_source(path: str | Path, step: str = "latest") -> InitialNetworks:
    """The networks of a run folder, or of a PyTorch checkpoint, which `interop.reading` describes.

    Args:
        path: run folder, one checkpoint's folder, or .pth file.
        step: of a run: "latest", "best" or an iteration.

    Raises:
        UserError: if there is no such run, checkpoint or file, or it cannot be read.
    """
    try:
        if user_path(path).suffix.lower() not in TORCH_SUFFIXES:
            state, config, found = load_state(path, int(step) if step.isdecimal() else step)
            networks = {net: {name: state[net][name] for name in COLLECTIONS} for net in BOTH}
            return InitialNetworks(f"{path} (iteration {found})", networks, state["ema_params"], config["model"])
        if step != "latest":
            raise UserError(f"{path} is a file, which has no checkpoint {step}: leave train.init_step out")
        checkpoint = sort_checkpoint(read_torch_file(path))
    except UserError as error:
        raise UserError(f"train.init_from: {error}") from None
    networks = {net: state_dict_to_variables(tensors, net) for net, tensors in checkpoint.networks.items()}
    averaged = state_dict_to_variables(checkpoint.ema or checkpoint.networks["generator"], "generator")["params"]
    return InitialNetworks(str(path), networks, averaged, checkpoint.sizes)


def initialize(
    state: TrainState, source: InitialNetworks, model: Mapping[str, Any], frozen: Sequence[str] = ()
) -> tuple[TrainState, list[str]]:
    """A fresh state with the layers of other networks in place of its own where name and shapes are the same.

    Optimizers and counters stay fresh.

    Args:
        state: a fresh one.
        source: the other networks.
        model: the group of the configuration behind `state`, which an error compares with that of `source`.
        frozen: names among D's parameters that must be carried over, since they will not be trained.

    Returns:
        The state, and what was carried over and what was not, a line for each network, and which settings differ.

    Raises:
        UserError: if no layer fits, or one of `frozen` does not.
    """
    lines, fresh = [], {}
    for net in BOTH:
        own, there = getattr(state, net), source.networks.get(net)
        variables, fresh[net] = _carry_over(own.variables, there or {})
        state = state.replace(**{net: own.replace(**variables)})
        count = len(_layers(own.variables))
        lines.append(f"{net}: {count - len(fresh[net])} of {count} layers from {source.name}")
        if fresh[net]:
            listed = (f"{'/'.join(path)} {why}" for path, why in fresh[net].items())
            lines[-1] += f"; fresh: {'; '.join(listed)}" if there else ", which holds none; all are fresh"
    _check_share(state.generator.params, fresh["generator"], source, model)
    if missing := [name for name in frozen if any(path[0] == name for path in fresh["discriminator"])]:
        raise UserError(
            f"train.freeze_discriminator: {', '.join(missing)} would be frozen with random values, since "
            f"{source.name} has nothing of that shape: set it to 0, or model.* as there"
        )
    ema, _ = _carry_over({"params": state.ema_params}, {"params": source.ema_params})
    lines += [f"settings that differ: {differing}"] if (differing := _differing(source, model)) else []
    return state.replace(ema_params=ema["params"]), lines


def _differing(source: InitialNetworks, model: Mapping[str, Any]) -> str:
    """The fields of the group `model` that are other ones there, such as "model.ngf=16, there 4"."""
    other = {name: value for name, value in source.model.items() if name in model and model[name] != value}
    return "; ".join(f"model.{name}={model[name]}, there {value}" for name, value in other.items())


def _check_share(
    params: dict, fresh: Mapping[tuple[str, ...], str], source: InitialNetworks, model: Mapping[str, Any]
) -> None:
    """Refuses to begin with a generator of which little more than single numbers was carried over."""
    sizes = {path: sum(np.size(leaf) for leaf in layer.values()) for path, layer in _layers({"params": params}).items()}
    carried = 1 - sum(sizes[path] for path in fresh) / sum(sizes.values())
    if carried < LEAST_SHARE:
        raise UserError(
            f"train.init_from: of the generator's parameters, {carried:.0%} have the shapes of those of {source.name} "
            f"({_differing(source, model)}): set these fields as there, or take all settings with --config RUN"
        )


def _carry_over(own: dict, other: Mapping[str, dict]) -> tuple[dict, dict[tuple[str, ...], str]]:
    """Variables whose layers are those of `other` where all leaves have the same shapes.

    Returns:
        The variables; and the path of each layer that was not carried over: the reason.
    """
    theirs, fresh, flat = _layers(other), {}, {}
    for path, layer in sorted(_layers(own).items()):
        there = theirs.get(path, {})
        differing = [leaf for leaf in layer if np.shape(there.get(leaf)) != layer[leaf].shape]
        if differing:
            shapes = (list(np.shape(leaves[differing[0]])) for leaves in (layer, there)) if there else ()
            fresh[path] = ", there ".join(map(str, shapes)) or "(not there)"
        # Copies: parameters and their average must not share buffers, since the state is donated.
        for full, leaf in layer.items():
            flat[full] = jnp.array(leaf if differing else there[full], leaf.dtype, copy=True)
    return traverse_util.unflatten_dict(flat), fresh


def _layers(variables: Mapping[str, dict]) -> dict[tuple[str, ...], dict[tuple[str, ...], Any]]:
    """{path: {path with the collection before and the leaf's name after: array}} of each layer."""
    layers: dict[tuple[str, ...], dict] = {}
    for full, leaf in traverse_util.flatten_dict(dict(variables)).items():
        layers.setdefault(full[1:-1] or full[1:], {})[full] = leaf  # a leaf in no layer is one by itself
    return layers
