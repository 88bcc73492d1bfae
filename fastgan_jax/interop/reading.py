"""Checkpoints of the reference program in the variants that circulate, sorted out and checked against our networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.interop import names
from fastgan_jax.interop.pytorch import check_tensors, expected_shapes
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator

Arrays = dict[str, np.ndarray]


class NetworkKeys(NamedTuple):
    """Where a file has what belongs to one network."""

    network: str
    optimizer: str


# What PyTorch's newer spectral normalization calls its tensors: what the older one, the reference's, calls them.
PARAMETRIZED = {
    ".parametrizations.weight.original": ".weight_orig",
    ".parametrizations.weight.0._u": ".weight_u",
    ".parametrizations.weight.0._v": ".weight_v",
}
NETWORK_KEYS = {"generator": NetworkKeys("g", "opt_g"), "discriminator": NetworkKeys("d", "opt_d")}
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
class Sizes:
    """Sizes of the networks by their tensors' shapes; ndf is None without a discriminator."""

    resolution: int
    channels: int
    ngf: int
    nz: int
    ndf: int | None


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """What a file held. State_dicts have the reference's keys and layouts; None: the file had none."""

    sizes: Sizes
    generator: Arrays
    discriminator: Arrays | None
    ema: Arrays | None  # the generator's averaged parameters
    moments: dict[str, Moments]  # by network; without an entry: none in the file, or not of use
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
    generator, discriminator, average, content = _networks(content)
    sizes = _sizes(generator, discriminator)
    modules = {"generator": Generator(sizes.resolution, sizes.channels, sizes.ngf)}
    if discriminator is not None:
        modules["discriminator"] = Discriminator(sizes.resolution, sizes.channels, sizes.ndf)
    for (net, module), tensors in zip(modules.items(), (generator, discriminator), strict=False):
        what = f"the {net} does not fit a FastGAN of resolution {sizes.resolution}"
        check_tensors(tensors, what, expected_shapes(net, module, sizes.nz))
    ema = None if average is None else _averages(average, generator, sizes.resolution)
    moments, notes = {}, []
    for net, state_dict in (("generator", generator), ("discriminator", discriminator)):
        key = NETWORK_KEYS[net].optimizer
        if content.get(key) is None or state_dict is None:
            continue
        try:
            moments[net] = read_moments(content[key], state_dict, names.parameter_keys(net, sizes.resolution))
        except Unusable as reason:
            notes.append(f"{key} was not used: {reason}")
    return ReferenceCheckpoint(sizes, generator, discriminator, ema, moments, tuple(notes))


def _networks(content: Any) -> tuple[Arrays, Arrays | None, Any, Mapping]:
    """The generator's and the discriminator's state_dict, the averages as found, and the dict with the rest."""
    if not isinstance(content, Mapping):
        raise UserError(f"the checkpoint holds a {type(content).__name__}, not a dict of networks or of tensors")
    if not any(key in content for key in ("g", "g_ema")):
        if any(_plain_key(str(key)).startswith("init.init.") for key in content):
            return _state_dict(content, "the checkpoint"), None, None, {}
        keys = ", ".join(map(repr, list(content)[:4]))
        raise UserError(f"the checkpoint holds no generator: it has {keys or 'nothing'}, and neither 'g' nor tensors")
    average, generator = content.get("g_ema"), content.get("g")
    if generator is None:
        if not isinstance(average, Mapping):
            raise UserError("the checkpoint holds 'g_ema' as a list and no 'g', so batch norm's state is missing")
        generator = average
    discriminator = content.get("d")
    return (
        _state_dict(generator, "'g'"),
        None if discriminator is None else _state_dict(discriminator, "'d'"),
        average,
        content,
    )


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


def _sizes(generator: Arrays, discriminator: Arrays | None) -> Sizes:
    """Sizes from single tensors; whether all others agree is checked afterwards."""
    first = _shape(generator, "init.init.0.weight_orig", 4, "generator")  # [nz, 32 ngf, 4, 4]
    channels = _shape(generator, "to_big.weight_orig", 4, "generator")[0]
    resolution = _resolution("generator", generator)
    ndf = None
    if discriminator is not None:
        ndf = max(1, _shape(discriminator, "rf_big.0.weight_orig", 4, "discriminator")[0] // 16)
        if (other := _resolution("discriminator", discriminator)) != resolution:
            raise UserError(f"the generator is made for resolution {resolution}, the discriminator for {other}")
    return Sizes(resolution, channels, ngf=max(1, first[1] // 32), nz=first[0], ndf=ndf)


def _resolution(net: str, state_dict: Arrays) -> int:
    resolution = names.resolution_of(net, {key: value.shape for key, value in state_dict.items()})
    if resolution < 64 or resolution & (resolution - 1):
        raise UserError(f"the {net} ends at resolution {resolution}: powers of two from 64 up can be read")
    return resolution


def _shape(state_dict: Arrays, key: str, rank: int, net: str) -> tuple[int, ...]:
    if key not in state_dict or state_dict[key].ndim != rank:
        found = f"has shape {list(state_dict[key].shape)}" if key in state_dict else "is missing"
        raise UserError(f"the {net} is not one of the reference's: {key} {found} (of {len(state_dict)} tensors)")
    return state_dict[key].shape


def _averages(average: Any, generator: Arrays, resolution: int) -> Arrays:
    """The averaged parameters by key, from a state_dict or from the list in the order of `parameters()`."""
    keys = names.parameter_keys("generator", resolution)
    if isinstance(average, Mapping):
        found = _state_dict(average, "'g_ema'")
    elif isinstance(average, Sequence) and all(isinstance(value, np.ndarray) for value in average):
        if len(average) != len(keys):
            raise UserError(f"'g_ema' lists {len(average)} tensors; this generator has {len(keys)} parameters")
        found = dict(zip(keys, average, strict=True))
    else:
        raise UserError("'g_ema' is neither a list of tensors nor a state_dict")
    found = {key: found[key] for key in keys if key in found}
    check_tensors(found, "'g_ema' does not fit 'g'", {key: generator[key].shape for key in keys})
    return found


def read_moments(optimizer: Any, state_dict: Arrays, keys: list[str]) -> Moments:
    """Adam's state by parameter; parameters that never had a gradient have no entry in PyTorch's, and zeros here."""
    if not _is_optimizer(optimizer):
        raise Unusable("it is not the state_dict of an optimizer")
    order = [index for group in optimizer["param_groups"] for index in group["params"]]
    if len(order) != len(keys):
        raise Unusable(f"it is of {len(order)} parameters, the network has {len(keys)}")
    first, second, updates = {}, {}, 0
    for index, key in zip(order, keys, strict=True):
        zeros = np.zeros_like(state_dict[key])
        entry = optimizer["state"].get(index, {"exp_avg": zeros, "exp_avg_sq": zeros, "step": 0})
        for name, moments in (("exp_avg", first), ("exp_avg_sq", second)):
            if "step" not in entry or np.shape(entry.get(name)) != zeros.shape:
                raise Unusable(f"it is not Adam's: {key} has no step and {name} of shape {list(zeros.shape)}")
            moments[key] = entry[name]
        updates = max(updates, _number(entry["step"], int))
    options = optimizer["param_groups"][0]
    if "lr" not in options or len(options.get("betas", ())) != 2:
        return Moments(first, second, updates)
    return Moments(first, second, updates, tuple(_number(value, float) for value in (options["lr"], *options["betas"])))


def _number(value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise Unusable(f"it has {str(value)[:40]!r} where a number belongs") from None


def _is_optimizer(optimizer: Any) -> bool:
    return (
        isinstance(optimizer, Mapping)
        and isinstance(entries := optimizer.get("state"), Mapping)
        and isinstance(groups := optimizer.get("param_groups"), Sequence)
        and all(isinstance(entry, Mapping) for entry in entries.values())
        and all(isinstance(group, Mapping) and "params" in group for group in groups)
    )
