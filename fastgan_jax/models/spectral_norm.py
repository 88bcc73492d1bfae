"""Spectral normalization (Miyato et al. 2018) in two halves: the power iteration on the state, and the division.

For every kernel W, seen as a matrix [kh * kw * in, out], the collection "spectral" holds the unit vectors u [out] and
v [kh * kw * in] beside it. A forward pass in training mode is one `power_iterate` (state to state, no gradient) and
then the same computation as in evaluation mode: the kernel divided by sigma = v^T W u, with u and v constant.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import traverse_util

EPSILON = 1e-12


def sigma(kernel: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
    """The spectral norm of `kernel` [..., out] as estimated by the vectors u [out] and v [...]: a scalar."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return jnp.vdot(jax.lax.stop_gradient(v), _product(matrix, jax.lax.stop_gradient(u)))


@jax.custom_vjp
def known_sigma(kernel: jax.Array, u: jax.Array, v: jax.Array, norm: jax.Array) -> jax.Array:
    """`sigma(kernel, u, v)` where its value, norm, is known already; with its gradient to the kernel, v u^T."""
    return norm


def _known_forward(kernel: jax.Array, u: jax.Array, v: jax.Array, norm: jax.Array) -> tuple[jax.Array, tuple]:
    return norm, (u, v, kernel.shape)


def _known_backward(residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, None, None, None]:
    u, v, shape = residuals
    return (gradient * v.reshape(-1, 1) * u.reshape(1, -1)).reshape(shape), None, None, None


known_sigma.defvjp(_known_forward, _known_backward)


@jax.named_scope("divide_kernels")
def divided(params: dict, spectral: dict) -> dict:
    """`params` with every kernel that has vectors in `spectral` divided by its norm, as `power_iterate` leaves them.

    Layers take such kernels as they are, if they are called without the collection "spectral".
    """
    flat, vectors = traverse_util.flatten_dict(params), traverse_util.flatten_dict(spectral)
    for *path, name in vectors:
        if name == "u":
            kernel, u, v = flat[(*path, "kernel")], vectors[(*path, "u")], vectors[(*path, "v")]
            flat[(*path, "kernel")] = kernel / known_sigma(kernel, u, v, vectors[(*path, "sigma")])
    return traverse_util.unflatten_dict(flat)


def without_norms(spectral: dict) -> dict:
    """The vectors alone, as they are kept from iteration to iteration."""
    flat = traverse_util.flatten_dict(spectral)
    return traverse_util.unflatten_dict({path: leaf for path, leaf in flat.items() if path[-1] != "sigma"})


@jax.named_scope("power_iteration")
def power_iterate(params: dict, spectral: dict, steps: int = 1, *, norms: bool = False) -> dict:
    """Moves every (u, v) by power iterations on the kernel it belongs to: v = norm(W u), then u = norm(W^T v).

    Args:
        params: nested dict with a leaf "kernel" wherever `spectral` has leaves "u" and "v".
        spectral: nested dict of the vectors.
        steps: number of iterations; a training-mode forward pass of the method makes one.
        norms: whether to return "sigma" too, which is v^T W u and the length of W^T v.

    Returns:
        The moved vectors, and "sigma" if asked for: a dict like `spectral`.
    """
    kernels = traverse_util.flatten_dict(params)
    vectors = traverse_util.flatten_dict(spectral)
    paths = [path[:-1] for path in vectors if path[-1] == "u"]
    kernels = [jax.lax.stop_gradient(kernels[(*path, "kernel")]) for path in paths]
    matrices = [kernel.reshape(-1, kernel.shape[-1]) for kernel in kernels]

    def iterate(_: int, moved: tuple) -> tuple:
        # Unit length comes last, for all vectors at once: W^T (W u) is |W u| times W^T v.
        v = [_product(matrix, u) for matrix, u in zip(matrices, moved[0], strict=True)]
        u = [_product(x, matrix) for matrix, x in zip(matrices, v, strict=True)]  # CPUs are slow at matrix.T @ x
        lengths = _lengths([*u, *v])
        of_u, of_v = lengths[: len(u)], lengths[len(u) :]
        norms = [length / jnp.maximum(other, EPSILON) for length, other in zip(of_u, of_v, strict=True)]
        unit = [x / jnp.maximum(length, EPSILON) for x, length in zip([*u, *v], lengths, strict=True)]
        return unit[: len(u)], unit[len(u) :], norms

    moved = [[vectors[(*path, name)] for path in paths] for name in ("u", "v")]
    moved = (*moved, [jnp.zeros((), matrix.dtype) for matrix in matrices])
    # A loop where there is one: written out, twenty iterations of sixty kernels take seconds to compile.
    moved = iterate(0, moved) if steps == 1 else jax.lax.fori_loop(0, steps, iterate, moved)
    named = zip(("u", "v", "sigma") if norms else ("u", "v"), moved, strict=False)
    return traverse_util.unflatten_dict(
        {(*path, name): leaf for name, leaves in named for path, leaf in zip(paths, leaves, strict=True)}
    )


def _lengths(vectors: Sequence[jax.Array]) -> list[jax.Array]:
    """Lengths of vectors of several sizes, by one reduction for all."""
    longest = max(vector.size for vector in vectors)
    rows = jnp.stack([jnp.pad(vector, (0, longest - vector.size)) for vector in vectors])
    lengths = jnp.sqrt(jnp.square(rows).sum(1))
    return [lengths[index] for index in range(len(vectors))]


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.dot(left, right, precision=jax.lax.Precision.HIGHEST)
