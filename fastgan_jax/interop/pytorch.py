"""State_dicts of the reference program to our variables and back: names, layouts and order.

A convolution's weight [out, in, kh, kw] is our kernel [kh, kw, in, out], the transposed one's [in, out, kh, kw] is
[kh, kw, in, out] too, and the right spectral vector v runs over (in, kh, kw) there and over (kh, kw, in) here.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from fastgan_jax.errors import UserError
from fastgan_jax.interop import names
from fastgan_jax.models import discriminator as d_sizes
from fastgan_jax.models import generator as g_sizes

COLLECTIONS = ("params", "batch_stats", "spectral")
ADAM_EPSILON = 1e-8  # of the reference, and of PyTorch by default
TRUNK_PASSES = 3  # training-mode passes of D per iteration: real, generated, and generated again for G's update


def state_dict_to_variables(
    state_dict: Mapping[str, np.ndarray], net: str, collections: tuple[str, ...] = COLLECTIONS
) -> dict:
    """Our variables from a state_dict of the reference.

    Args:
        state_dict: {key: array}, keys as the reference names them (no `module.`).
        net: "generator" or "discriminator".
        collections: what is wanted of params, batch_stats and spectral; tensors of the others need not be there.

    Returns:
        {"params", "batch_stats", "spectral"}: nested dicts of arrays that keep their dtype.

    Raises:
        UserError: if keys are missing or unexpected.
    """
    resolution = names.resolution_of(net, {key: np.shape(value) for key, value in state_dict.items()})
    table = [tensor for tensor in names.tensors(net, resolution) if tensor.path]
    wanted = [tensor for tensor in table if tensor.path[0] in collections]
    needed = {tensor.key: None for tensor in wanted}
    optional = {tensor.key for tensor in table} - needed.keys()
    check_tensors(state_dict, f"the {net} does not fit a FastGAN of resolution {resolution}", needed, optional)
    return traverse_util.unflatten_dict({tensor.path: _to_ours(tensor, state_dict) for tensor in wanted})


def variables_to_state_dict(variables: Mapping[str, Any], net: str, *, updates: int = 0) -> dict[str, np.ndarray]:
    """A state_dict of the reference, in its order, from our variables.

    Args:
        variables: {"params", "batch_stats", "spectral"}, or "params" with or without one of the others (such as
            {"params": gradients}); the tensors of the given collections come out.
        net: "generator" or "discriminator".
        updates: training iterations behind the variables, for batch norm's counters (which change nothing).

    Returns:
        {key: array}; arrays keep their dtype, counters are int64 scalars.

    Raises:
        UserError: if a leaf is missing, or has no place in the reference.
    """
    flat = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(dict(variables)).items()}
    table = names.tensors(net, resolution_of_params(variables["params"], net))
    known = {tensor.path for tensor in table}
    for path in flat:
        if path not in known:
            raise UserError(f"{'/'.join(path)} has no place in the reference's {net}")
    state_dict = {}
    for tensor in table:
        if tensor.path is None:
            if "batch_stats" in variables:
                state_dict[tensor.key] = np.asarray(updates * _passes(tensor.key, net), np.int64)
        elif tensor.path[0] in variables:
            if tensor.path not in flat:
                raise UserError(f"{'/'.join(tensor.path)} is missing from the {net}'s variables")
            state_dict[tensor.key] = _to_theirs(tensor, flat)
    return state_dict


def resolution_of_params(params: Mapping[str, Any], net: str) -> int:
    """The resolution of a network with these parameters of ours."""
    if net == "generator":
        return max(_sides(params, "up_"))
    stages = [name for name in params if name.startswith("from_big_")]
    halvings = len(stages) if np.shape(params["from_big_0"]["kernel"])[0] == 4 else 0
    return 2 * max(_sides(params, "down_")) * 2**halvings


def to_torch_layout(kind: str, kernel: np.ndarray) -> np.ndarray:
    """Our kernel [kh, kw, in, out] as the weight of a PyTorch convolution, "conv" or "transposed"."""
    return kernel.transpose(3, 2, 0, 1) if kind == "conv" else kernel.transpose(2, 3, 0, 1)


def from_torch_layout(kind: str, weight: np.ndarray) -> np.ndarray:
    """The inverse of `to_torch_layout`."""
    return weight.transpose(2, 3, 1, 0) if kind == "conv" else weight.transpose(2, 3, 0, 1)


def check_tensors(
    state_dict: Mapping[str, np.ndarray],
    what: str,
    needed: Mapping[str, tuple[int, ...] | None],
    optional: Collection[str] = (),
) -> None:
    """Checks the tensors of a state_dict of the reference; batch norm's counters may be there or not.

    Args:
        state_dict: {key: array}.
        what: how the message begins, such as "the generator does not fit a FastGAN of resolution 256".
        needed: {key: shape in PyTorch's layout, or None for any} of the tensors that must be there.
        optional: keys of tensors that may be there too.

    Raises:
        UserError: naming the first missing, unexpected and wrongly shaped tensor, or else the first that is not finite
            (of those with a shape).
    """
    shapes = {key: (np.shape(state_dict[key]), shape) for key, shape in needed.items() if key in state_dict}
    found = {
        "missing": [key for key in needed if key not in state_dict],
        "unexpected": [
            key
            for key in state_dict
            if key not in needed and key not in optional and not key.endswith(f".{names.COUNTER}")
        ],
        "of another shape": [
            f"{key} {list(own)} instead of {list(shape)}"
            for key, (own, shape) in shapes.items()
            if shape is not None and own != shape
        ],
    }
    if not any(found.values()):
        found["with numbers that are not finite"] = [
            key for key, shape in needed.items() if shape is not None and not np.isfinite(state_dict[key]).all()
        ]
    parts = [f"{len(keys)} {problem} (first: {keys[0]})" for problem, keys in found.items() if keys]
    if parts:
        raise UserError(f"{what}: {'; '.join(parts)}")


def expected_shapes(net: str, module: g_sizes.Generator | d_sizes.Discriminator, nz: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the reference's tensors {key: shape in PyTorch's layout} that belong to our module's variables."""
    ours = traverse_util.flatten_dict(variable_shapes(module, nz))
    shapes = {}
    for tensor in names.tensors(net, module.resolution):
        if tensor.path is not None:
            shape = ours[tensor.path].shape
            if tensor.path[-1] == "kernel":
                shape = to_torch_layout(tensor.layer.kind, np.broadcast_to(np.float32(0), shape)).shape
            shapes[tensor.key] = shape
    return shapes


def variable_shapes(module: g_sizes.Generator | d_sizes.Discriminator, nz: int) -> dict:
    """Shapes of the variables of a network for latents of length nz."""
    if isinstance(module, g_sizes.Generator):
        arguments = g_sizes.input_shapes(module, nz)
    else:
        arguments = d_sizes.input_shapes(module)
    return jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x, train=True), *arguments)


def _sides(params: Mapping[str, Any], prefix: str) -> list[int]:
    return [int(name.removeprefix(prefix)) for name in params if name.startswith(prefix)]


def _to_ours(tensor: names.Tensor, state_dict: Mapping[str, np.ndarray]) -> np.ndarray:
    value, kind, leaf = np.asarray(state_dict[tensor.key]), tensor.layer.kind, tensor.path[-1]
    if leaf == "kernel":
        return np.ascontiguousarray(from_torch_layout(kind, value))
    if leaf == "v":
        kernel = from_torch_layout(kind, np.asarray(state_dict[f"{tensor.layer.key}.weight_orig"]))
        height, width, size_in, _ = kernel.shape
        return value.reshape(size_in, height, width).transpose(1, 2, 0).ravel()
    return value


def _to_theirs(tensor: names.Tensor, flat: Mapping[tuple[str, ...], np.ndarray]) -> np.ndarray:
    value, leaf = flat[tensor.path], tensor.path[-1]
    if leaf == "kernel":
        return np.ascontiguousarray(to_torch_layout(tensor.layer.kind, value))
    if leaf == "v":
        height, width, size_in, _ = flat["params", *tensor.layer.path, "kernel"].shape
        return value.reshape(height, width, size_in).transpose(2, 0, 1).ravel()
    return value


def _passes(key: str, net: str) -> int:
    """Training-mode passes of a module per iteration: D's decoders see the real images alone."""
    return TRUNK_PASSES if net == "discriminator" and not key.startswith("decoder_") else 1
