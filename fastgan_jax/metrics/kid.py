"""The kernel distance between two sets of features; on Inception features it is KID (Bińkowski et al., 2018)."""

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.features import Array, as_pair

SUBSETS, SUBSET_SIZE, SUBSET_SEED = 100, 1000, 0  # defaults of `kernel_distance`


def kernel_distance(
    real: Array, fake: Array, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE, seed: int = SUBSET_SEED
) -> tuple[float, float]:
    """Squared maximum mean discrepancy with the kernel (x . y / D + 1)^3, unbiased, averaged over random subsets.

    Being unbiased, it may be negative, and is on average for a set against itself: by 2 / n times the mean difference
    between k(x, x) and k(x, y), if n images of each are compared at once.

    Args:
        real, fake: features [N, D] and [M, D] of the same network.
        subsets: number of estimates; each draws its images without replacement.
        subset_size: images of each set per estimate; lowered to the size of the smaller set.
        seed: of the draws; the same seed gives the same digits on any machine to rounding in float64.

    Returns:
        The mean of the estimates and their standard deviation (divisor: `subsets`).

    Raises:
        UserError: if features do not fit together, a set or `subset_size` is smaller than two, or `subsets` than one.
    """
    real, fake = as_pair(real, fake)
    for name, number in (("the real set", len(real)), ("the fake set", len(fake)), ("subset_size", subset_size)):
        if number < 2:
            raise UserError(f"the kernel distance needs at least 2 images of each set: {name} is {number}")
    if subsets < 1:
        raise UserError(f"the kernel distance needs at least 1 subset, not {subsets}")
    size = min(subset_size, len(real), len(fake))
    random = np.random.RandomState(seed)  # numpy's legacy generator, whose stream is frozen
    with jax.enable_x64(True):
        real, fake = jnp.asarray(real), jnp.asarray(fake)
        values = [
            float(_squared_mmd(real, fake, random.permutation(len(real))[:size], random.permutation(len(fake))[:size]))
            for _ in range(subsets)
        ]
    return float(np.mean(values)), float(np.std(values))


@jax.jit
def _squared_mmd(real: jax.Array, fake: jax.Array, real_rows: jax.Array, fake_rows: jax.Array) -> jax.Array:
    """Unbiased estimate from equally many rows of both sets (Gretton et al., 2012, equation 3)."""
    real, fake = real[real_rows], fake[fake_rows]
    size = len(real)
    within = sum(kernel.sum() - jnp.trace(kernel) for kernel in (_kernel(real, real), _kernel(fake, fake)))
    return within / (size * (size - 1)) - 2 * _kernel(real, fake).mean()


def _kernel(x: jax.Array, y: jax.Array) -> jax.Array:
    return (jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST) / x.shape[1] + 1) ** 3
