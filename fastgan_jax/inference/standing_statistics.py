"""Normalization state of a generator whose parameters were averaged."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.models.generator import Generator
from fastgan_jax.models.layers import BATCH_NORM_MOMENTUM
from fastgan_jax.models.spectral_norm import power_iterate

STANDING_POWER_ITERATIONS = 20
STANDING_BATCHES = 16

_settle = jax.jit(power_iterate, static_argnums=2)


def standing_statistics(
    generator: Generator,
    params: dict,
    batch_stats: dict,
    spectral: dict,
    key: jax.Array,
    *,
    latent_size: int,
    batch_size: int = 8,
    batches: int = STANDING_BATCHES,
    labels: np.ndarray | None = None,
) -> dict:
    """Variables for evaluation of a generator whose parameters were averaged, such as the EMA generator.

    The averaged parameters never ran in training mode, so they have no normalization state of their own. Power
    iterations bring the given spectral vectors to convergence; then `batches` batches of latents pass in training mode,
    and batch norm gets the mean and the variance over all of them together (the mean of the batches' variances plus
    the variance of their means).

    Args:
        generator: the module.
        params: averaged parameters.
        batch_stats: only the structure is used.
        spectral: spectral vectors to start from.
        key: random key of the latents, noise and classes.
        latent_size: length of a latent.
        batch_size: latents per batch.
        batches: number of batches.
        labels: classes of the training images, int32 [N], in whose proportions classes are drawn; None: each as often.

    Returns:
        {"params", "batch_stats", "spectral"}.
    """
    spectral = _settle(params, spectral, STANDING_POWER_ITERATIONS)
    classes = np.arange(max(generator.num_classes, 1), dtype=np.int32) if labels is None else labels
    of_batch = partial(_batch_statistics, generator, latent_size, batch_size, params, batch_stats, spectral, classes)
    statistics = [of_batch(jax.random.fold_in(key, index)) for index in range(batches)]
    return {"params": params, "batch_stats": _pool_statistics(statistics), "spectral": spectral}


@partial(jax.jit, static_argnums=(0, 1, 2))
def _batch_statistics(
    generator: Generator,
    latent_size: int,
    batch_size: int,
    params: dict,
    batch_stats: dict,
    spectral: dict,
    classes: jax.Array,
    key: jax.Array,
) -> dict:
    """Mean and unbiased variance at every batch norm in one batch of latents, a tree like `batch_stats`."""
    z_key, noise_key, label_key = jax.random.split(key, 3)
    sides = generator.noise_sides
    noise = tuple(
        jax.random.normal(jax.random.fold_in(noise_key, i), (batch_size, side, side, 1)) for i, side in enumerate(sides)
    )
    labels = classes[jax.random.randint(label_key, (batch_size,), 0, len(classes))]
    z = jax.random.normal(z_key, (batch_size, latent_size))
    variables = {"params": params, "batch_stats": jax.tree.map(jnp.zeros_like, batch_stats), "spectral": spectral}
    _, mutated = generator.apply(variables, z, noise, labels, train=True, mutable=["batch_stats"])
    # From zero, one update of a running average leaves the new value times its weight.
    return jax.tree.map(lambda x: x / (1 - BATCH_NORM_MOMENTUM), mutated["batch_stats"])


@jax.jit
def _pool_statistics(statistics: list[dict]) -> dict:
    """Mean and variance over all batches from those of each batch: {"mean": [C], "var": [C]} at every batch norm."""

    def pool(norm: dict) -> dict:
        return {"mean": norm["mean"].mean(0), "var": norm["var"].mean(0) + norm["mean"].var(0)}

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *statistics)
    return jax.tree.map(pool, stacked, is_leaf=lambda node: "mean" in node)
