"""Spectral normalization (Miyato et al. 2018) in two halves: the power iteration on the state, and the norm.

For every kernel W, seen as a matrix [kh * kw * in, out], the collection "spectral" holds the unit vectors u [out] and
v [kh * kw * in] beside it. A forward pass in training mode is one `power_iterate` (state to state, no gradient) and
then the same computation as in evaluation mode: the kernel divided by sigma = v^T W u, with u and v constant.
"""

import jax
import jax.numpy as jnp
from flax import traverse_util

EPSILON = 1e-12


def sigma(kernel: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """The spectral norm of `kernel` [..., out] as estimated by the vectors u [out] and v [...]: a scalar."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return jnp.vdot(jax.lax.stop_gradient(v), _product(matrix, jax.lax.stop_gradient(u)))


@jax.named_scope("power_iteration")
def power_iterate(params: dict, spectral: dict, steps: int = 1) -> dict:
    """Moves every (u, v) by power iterations on the kernel it belongs to: v = norm(W u), then u = norm(W^T v).

    Args:
        params: nested dict with a leaf "kernel" wherever `spectral` has leaves "u" and "v".
        spectral: nested dict of the vectors.
        steps: number of iterations; a training-mode forward pass of the method makes one.

    Returns:
        The moved vectors, a dict like `spectral`.
    """
    kernels = traverse_util.flatten_dict(params)
    vectors = traverse_util.flatten_dict(spectral)

    def iterate(_: int, vectors: dict) -> dict:
        moved = {}
        for *path, name in vectors:
            if name == "u":
                kernel = kernels[(*path, "kernel")]
                matrix = jax.lax.stop_gradient(kernel.reshape(-1, kernel.shape[-1]))
                v = normalize(_product(matrix, vectors[(*path, "u")]))
                u = normalize(_product(v, matrix))  # W^T v; with matrix.T it takes CPUs four times as long
                moved[(*path, "u")], moved[(*path, "v")] = u, v
        return moved

    # A loop where there is one: written out, twenty iterations of sixty kernels take seconds to compile.
    return traverse_util.unflatten_dict(
        iterate(0, vectors) if steps == 1 else jax.lax.fori_loop(0, steps, iterate, vectors)
    )


def normalize(vector: jax.Array) -> jax.Array:
    """The vector [n] scaled to unit length."""
    return vector / jnp.maximum(jnp.linalg.norm(vector), EPSILON)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.dot(left, right, precision=jax.lax.Precision.HIGHEST)
