"""Initial values of every leaf, by its name; and a whole network's initial variables from one random draw."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

# name of a leaf: (mean, standard deviation) of its normally distributed initial values
DISTRIBUTIONS = {
    "kernel": (0.0, 0.02),
    "scale": (1.0, 0.02),
    "bias": (0.0, 0.0),
    "noise_weight": (0.0, 0.0),
    "embedding": (0.0, 0.02),
    "class_weights": (0.0, 1.0),
    "mean": (0.0, 0.0),
    "var": (1.0, 0.0),
    "u": (0.0, 1.0),
    "v": (0.0, 1.0),
}
UNIT_VECTORS = ("u", "v")
UNIFORM = "mixing"  # beginning of the names of leaves [in + 1, out] that are uniform in +-1 / sqrt(in)


def initializer(name: str) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    """The initializer (key, shape) -> array of a leaf called `name`."""

    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return _shape_values(name, jax.random.normal(key, shape))

    return draw


def initial_variables(
    key: jax.Array,
    module: nn.Module,
    *args: jax.ShapeDtypeStruct,
    named: Mapping[str, jax.ShapeDtypeStruct] | None = None,
    **kwargs: Any,
) -> dict:
    """The variables of `module`, distributed as by `module.init`, but drawn at once.

    One random kernel per leaf costs half a minute of compilation for networks of this size; one draw cut into leaves
    costs a second.

    Args:
        key: random key.
        module: the network.
        *args: shapes of its call's arguments, as `jax.ShapeDtypeStruct`.
        named: shapes of its call's arguments by name.
        **kwargs: its call's static arguments.

    Returns:
        Nested dict: collection -> ... -> float32 leaf.
    """
    shapes = traverse_util.flatten_dict(jax.eval_shape(partial(module.init, **kwargs), key, *args, **(named or {})))
    total = sum(leaf.size for leaf in shapes.values())
    values = jax.device_get(jax.random.normal(key, (total,)))  # on the host, where cutting compiles nothing
    leaves, start = {}, 0
    for path in sorted(shapes):
        shape, size = shapes[path].shape, shapes[path].size
        leaves[path] = _shape_values(path[-1], values[start : start + size].reshape(shape))
        start += size
    return traverse_util.unflatten_dict(leaves)


def _shape_values(name: str, standard_normal: jax.Array | np.ndarray) -> jax.Array:
    """Turns standard normal values into the initial values of a leaf called `name`."""
    if name.startswith(UNIFORM):
        uniform = jax.lax.erf(standard_normal / np.sqrt(2).astype(np.float32))  # in (-1, 1)
        return jnp.asarray(uniform / np.sqrt(len(standard_normal) - 1), jnp.float32)
    mean, deviation = DISTRIBUTIONS[name]
    if name in UNIT_VECTORS:
        return jnp.asarray(standard_normal / (standard_normal**2).sum() ** 0.5, jnp.float32)
    return jnp.asarray(mean + deviation * standard_normal, jnp.float32)
