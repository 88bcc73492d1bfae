"""State_dicts of the reference program to our variables and back: names, layouts and order.

A convolution's weight [out, in, kh, kw] is our kernel [kh, kw, in, out], the transposed one's [in, out, kh, kw] is
[kh, kw, in, out] too, and the right spectral vector v runs over (in, kh, kw) there and over (kh, kw, in) here.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from fastgan_jax.errors import UserError
from fastgan_jax.interop import names
from fastgan_jax.models import discriminator as d_sizes
from fastgan_jax.models import generator as g_sizes

TRUNK_PASSES = 3  # training-mode passes of D per iteration: real, generated, and generated again for G's update


def state_dict_to_variables(state_dict: Mapping[str, np.ndarray], net: str) -> dict:
    """Our variables {"params", "batch_stats", "spectral"} from those tensors of the reference that are there.

    `net` is "generator" or "discriminator"; arrays keep their dtype.
    """
    table = names.tensors(net, names.resolution_of(net, state_dict))
    flat = {path: _to_ours(key, path, state_dict) for key, path in table if path and key in state_dict}
    return traverse_util.unflatten_dict(flat)


def variables_to_state_dict(variables: Mapping[str, Any], net: str, *, updates: int = 0) -> dict[str, np.ndarray]:
    """A state_dict of the reference, in its order, from our variables.

    Args:
        variables: "params" with or without "batch_stats" and "spectral" (such as {"params": gradients}); the tensors
            of the given collections come out.
        net: "generator" or "discriminator".
        updates: training iterations behind the variables, for batch norm's counters (which change nothing).

    Returns:
        {key: array}; arrays keep their dtype, counters are int64 scalars.

    Raises:
        UserError: if a leaf has no place in the reference.
    """
    flat = {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(dict(variables)).items()}
    table = names.tensors(net, names.resolution_of_params(net, variables["params"]))
    known = {path for _, path in table}
    for path in flat:
        if path not in known:
            raise UserError(f"{'/'.join(path)} has no place in the reference's {net}")
    state_dict = {}
    for key, path in table:
        if path is None and "batch_stats" in variables:
            # D's decoders see the real images alone.
            passes = TRUNK_PASSES if net == "discriminator" and not key.startswith(d_sizes.DECODER_PREFIX) else 1
            state_dict[key] = np.asarray(updates * passes, np.int64)
        elif path and path[0] in variables:
            state_dict[key] = _to_theirs(path, flat)
    return state_dict


def expected_shapes(net: str, module: g_sizes.Generator | d_sizes.Discriminator, nz: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the reference's tensors {key: shape in PyTorch's layout} that belong to our module's variables."""
    ours = traverse_util.flatten_dict(variable_shapes(module, nz))
    shapes = {}
    for key, path in names.tensors(net, module.resolution):
        if path:
            shape = ours[path].shape
            shapes[key] = tuple(shape[axis] for axis in _axes(path)) if path[-1] == "kernel" else shape
    return shapes


def variable_shapes(module: g_sizes.Generator | d_sizes.Discriminator, nz: int) -> dict:
    """Shapes of the variables of a network for latents of length nz."""
    inputs, named = module.call_shapes(nz) if isinstance(module, g_sizes.Generator) else module.call_shapes()
    return jax.eval_shape(partial(module.init, train=True), jax.random.key(0), *inputs, **named)


def _axes(path: tuple[str, ...]) -> tuple[int, ...]:
    """Axes of our kernel at this path in the order of PyTorch's weight; only the first layer is transposed."""
    return (2, 3, 0, 1) if path[1] == "initial" else (3, 2, 0, 1)


def _to_ours(key: str, path: tuple[str, ...], state_dict: Mapping[str, np.ndarray]) -> np.ndarray:
    value = np.asarray(state_dict[key])
    if path[-1] == "kernel":
        return np.ascontiguousarray(value.transpose(np.argsort(_axes(path))))
    if path[-1] == "v":
        height, width = state_dict[key.replace("weight_v", "weight_orig")].shape[2:]
        return value.reshape(-1, height, width).transpose(1, 2, 0).ravel()
    return value


def _to_theirs(path: tuple[str, ...], flat: Mapping[tuple[str, ...], np.ndarray]) -> np.ndarray:
    value = flat[path]
    if path[-1] == "kernel":
        return np.ascontiguousarray(value.transpose(_axes(path)))
    if path[-1] == "v":
        height, width = flat["params", *path[1:-1], "kernel"].shape[:2]
        return value.reshape(height, width, -1).transpose(2, 0, 1).ravel()
    return value
