"""All that training changes, in one struct."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator, noise_sides, small_side
from fastgan_jax.models.initialization import initial_variables


@struct.dataclass
class NetworkState:
    """One network: parameters, batch-norm running averages, spectral vectors, and the optimiser's state."""

    params: Any
    batch_stats: Any
    spectral: Any
    optimizer: optax.OptState


@struct.dataclass
class TrainState:
    """The whole state of training after `step` iterations."""

    step: jax.Array  # int32 scalar
    generator: NetworkState
    discriminator: NetworkState
    ema_params: Any  # exponential moving average of the generator's parameters
    rng: jax.Array  # random key of the run; iteration i draws from fold_in(rng, i)


def create_train_state(
    key: jax.Array,
    generator: Generator,
    discriminator: Discriminator,
    optimizer: optax.GradientTransformation,
    latent_size: int,
) -> TrainState:
    """The state before the first iteration.

    Args:
        key: random key, for the initial values and the run's later draws.
        generator: the generator's module.
        discriminator: the discriminator's module.
        optimizer: of both networks.
        latent_size: length nz of the latents.
    """
    g_key, d_key, rng = jax.random.split(key, 3)
    batch = 2
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    z = jax.ShapeDtypeStruct((batch, latent_size), jnp.float32)
    noise = tuple(
        jax.ShapeDtypeStruct((batch, side, side, 1), jnp.float32) for side in noise_sides(generator.resolution)
    )
    full, small = (
        jax.ShapeDtypeStruct((batch, side, side, generator.channels), jnp.float32)
        for side in (generator.resolution, small_side(generator.resolution))
    )
    quadrant = jax.ShapeDtypeStruct((), jnp.int32)
    g = _create_network(g_key, generator, optimizer, z, noise, labels)
    d = _create_network(d_key, discriminator, optimizer, full, small, quadrant, labels)
    # A copy: the averaged parameters must not share buffers with those that they average, since the state is donated.
    ema_params = jax.tree.map(jnp.copy, g.params)
    return TrainState(step=jnp.zeros((), jnp.int32), generator=g, discriminator=d, ema_params=ema_params, rng=rng)


def _create_network(
    key: jax.Array, module: nn.Module, optimizer: optax.GradientTransformation, *args: Any
) -> NetworkState:
    variables = initial_variables(key, module, *args, train=True)
    return NetworkState(
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        spectral=variables["spectral"],
        optimizer=optimizer.init(variables["params"]),
    )
