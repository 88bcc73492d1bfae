"""Checkpoints of the reference program in the variants that circulate, sorted out and checked against our networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.interop import names
from fastgan_jax.interop.pytorch import expected_shapes
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator

Arrays = dict[str, np.ndarray]

NETWORK_KEYS = {"generator": "g", "discriminator": "d"}  # in a file; their optimizers' are "opt_g" and "opt_d"
# What PyTorch's newer spectral normalization calls its tensors: what the older one, the reference's, calls them.
PARAMETRIZED = {
    ".parametrizations.weight.original": ".weight_orig",
    ".parametrizations.weight.0._u": ".weight_u",
    ".parametrizations.weight.0._v": ".weight_v",
}
WRAPPER = "module."  # DataParallel puts it before every key


@dataclass(frozen=True)
class Moments:
    """Adam's state of one network: {parameter's key: array in PyTorch's layout}."""

    first: Arrays
    second: Arrays
    updates: int
    options: tuple[float, float, float] | None = None  # learning rate, beta1 and beta2; None: not in the file


class Unusable(Exception):
    """Why an optimizer's state cannot be carried over."""


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """What a file held. State_dicts have the reference's keys and layouts; each dict has what the file had."""

    sizes: dict[str, int]  # resolution, channels, ngf, nz and, with a discriminator, ndf
    networks: dict[str, Arrays]  # state_dicts of "generator" and "discriminator"
    ema: Arrays | None  # the generator's averaged parameters
    moments: dict[str, Moments]  # by network
    notes: tuple[str, ...]  # what was in the file but could not be used, a sentence each


def sort_checkpoint(content: Any) -> ReferenceCheckpoint:
    """Sorts out what a file of the reference held and checks it against our networks.

    Args:
        content: a dict with "g" and perhaps "d", "g_ema" (the list of the generator's averaged parameters, or a
            state_dict), "opt_g" and "opt_d" (state_dicts of Adam); or the generator's state_dict alone.

    Raises:
        UserError: if there is no generator, or a network does not fit: the line names the first missing, unexpected
            and wrongly shaped tensors.
    """
    content = _contents(content)
    found = {net: content.get(key) for net, key in NETWORK_KEYS.items()}
    networks = {net: _state_dict(tensors, f"the {net}") for net, tensors in found.items() if tensors is not None}
    sizes = _sizes(networks)
    resolution, channels = sizes["resolution"], sizes["channels"]
    modules = {"generator": Generator(resolution, channels, sizes["ngf"])}
    if "ndf" in sizes:
        modules["discriminator"] = Discriminator(resolution, channels, sizes["ndf"])
    for net, module in modules.items():
        what = f"the {net} does not fit a FastGAN of resolution {resolution}"
        _check_tensors(what, networks[net], expected_shapes(net, module, sizes["nz"]))
    moments, notes = {}, []
    for net, tensors in networks.items():
        key = f"opt_{NETWORK_KEYS[net]}"
        if content.get(key) is not None:
            try:
                moments[net] = _moments(content[key], tensors, names.parameter_keys(net, resolution))
            except Unusable as reason:
                notes.append(f"{key} was not used: {reason}")
    average = content.get("g_ema")
    ema = None if average is None else _averages(average, networks["generator"], resolution)
    return ReferenceCheckpoint(sizes, networks, ema, moments, tuple(notes))


def _contents(content: Any) -> Mapping:
    """The dict of networks in a file: with "g", whatever it had."""
    if not isinstance(content, Mapping):
        raise UserError(f"the checkpoint holds a {type(content).__name__}, not a dict of networks or of tensors")
    if content.get("g") is not None:
        return content
    average = content.get("g_ema")
    if isinstance(average, Mapping):
        return {**content, "g": average}
    if average is not None:
        raise UserError("the checkpoint holds 'g_ema' as a list and no 'g', so batch norm's state is missing")
    if any(_plain_key(str(key)).startswith("init.init.") for key in content):
        return {"g": content}
    keys = ", ".join(map(repr, list(content)[:4]))
    raise UserError(f"the checkpoint holds no generator: it has {keys or 'nothing'}, and neither 'g' nor tensors")


def _plain_key(key: str) -> str:
    key = key.removeprefix(WRAPPER)
    for theirs, plain in PARAMETRIZED.items():
        if key.endswith(theirs):
            return key.removesuffix(theirs) + plain
    return key


def _state_dict(tensors: Any, what: str) -> Arrays:
    if not isinstance(tensors, Mapping) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise UserError(f"{what} is not a state_dict, a dict of tensors")
    return {_plain_key(str(key)): value for key, value in tensors.items()}


def _sizes(networks: dict[str, Arrays]) -> dict[str, int]:
    """Sizes from single tensors; whether all others agree is checked afterwards."""
    nz, width, *_ = _shape(networks, "generator", "init.init.0.weight_orig")  # [nz, 32 ngf, 4, 4]
    sizes = {"channels": _shape(networks, "generator", "to_big.weight_orig")[0], "ngf": max(1, width // 32), "nz": nz}
    if "discriminator" in networks:
        sizes["ndf"] = max(1, _shape(networks, "discriminator", "rf_big.0.weight_orig")[0] // 16)
    for net, tensors in networks.items():
        resolution = names.resolution_of(net, tensors)
        if resolution < 64 or resolution & (resolution - 1):
            raise UserError(f"the {net} ends at resolution {resolution}: powers of two from 64 up can be read")
        if (first := sizes.setdefault("resolution", resolution)) != resolution:
            raise UserError(f"the generator is made for resolution {first}, the discriminator for {resolution}")
    return sizes


def _shape(networks: dict[str, Arrays], net: str, key: str) -> tuple[int, ...]:
    """The shape of a convolution's weight."""
    tensors = networks[net]
    if key not in tensors or tensors[key].ndim != 4:
        found = f"has shape {list(tensors[key].shape)}" if key in tensors else "is missing"
        raise UserError(f"the {net} is not one of the reference's: {key} {found} (of {len(tensors)} tensors)")
    return tensors[key].shape


def _check_tensors(what: str, tensors: Arrays, shapes: dict[str, tuple[int, ...]]) -> None:
    """Checks tensors against {key: shape}; batch norm's counters may be there or not. `what` begins the message."""
    found = {
        "missing": [key for key in shapes if key not in tensors],
        "unexpected": [key for key in tensors if key not in shapes and not key.endswith(f".{names.COUNTER}")],
        "of another shape": [
            f"{key} {list(tensors[key].shape)} instead of {list(shape)}"
            for key, shape in shapes.items()
            if key in tensors and tensors[key].shape != shape
        ],
    }
    if not any(found.values()):
        found["with numbers that are not finite"] = [key for key in shapes if not np.isfinite(tensors[key]).all()]
    parts = [f"{len(keys)} {problem} (first: {keys[0]})" for problem, keys in found.items() if keys]
    if parts:
        raise UserError(f"{what}: {'; '.join(parts)}")


def _averages(average: Any, generator: Arrays, resolution: int) -> Arrays:
    """The averaged parameters by key, from a state_dict or from the list in the order of `parameters()`."""
    keys = names.parameter_keys("generator", resolution)
    if isinstance(average, Sequence) and all(isinstance(value, np.ndarray) for value in average):
        if len(average) != len(keys):
            raise UserError(f"'g_ema' lists {len(average)} tensors; this generator has {len(keys)} parameters")
        average = dict(zip(keys, average, strict=True))
    elif not isinstance(average, Mapping):
        raise UserError("'g_ema' is neither a list of tensors nor a state_dict")
    found = _state_dict(average, "'g_ema'")
    found = {key: found[key] for key in keys if key in found}
    _check_tensors("'g_ema' does not fit 'g'", found, {key: generator[key].shape for key in keys})
    return found


def _moments(optimizer: Any, tensors: Arrays, keys: list[str]) -> Moments:
    """Adam's state by parameter; parameters that never had a gradient have no entry in PyTorch's, and zeros here."""
    try:
        entries, groups = optimizer["state"], optimizer["param_groups"]
        order = [index for group in groups for index in group["params"]]
        if len(order) != len(keys):
            raise Unusable(f"it is of {len(order)} parameters, the network has {len(keys)}")
        first, second, updates = {}, {}, 0
        for index, key in zip(order, keys, strict=True):
            zeros = np.zeros_like(tensors[key])
            entry = entries.get(index, {"exp_avg": zeros, "exp_avg_sq": zeros, "step": 0})
            for name, moments in (("exp_avg", first), ("exp_avg_sq", second)):
                if "step" not in entry or np.shape(entry.get(name)) != zeros.shape:
                    raise Unusable(f"it is not Adam's: {key} has no step and {name} of shape {list(zeros.shape)}")
                moments[key] = entry[name]
            updates = max(updates, int(entry["step"]))
        rate, betas = groups[0].get("lr"), groups[0].get("betas", ())
        options = tuple(map(float, (rate, *betas))) if rate is not None and len(betas) == 2 else None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Unusable(f"it is not the state_dict of an optimizer ({error})") from None
    return Moments(first, second, updates, options)
