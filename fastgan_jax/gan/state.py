"""All that training changes, in one struct."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from fastgan_jax.gan.spec import Spec
from fastgan_jax.models.init import initial_variables
from fastgan_jax.models.spectral_norm import divided


@struct.dataclass
class NetworkState:
    """One network: parameters, batch-norm running averages, spectral vectors, and the optimizer's state."""

    params: Any
    batch_stats: Any
    spectral: Any
    optimizer: optax.OptState

    @property
    def variables(self) -> dict:
        """What the network's `apply` takes: {"params", "batch_stats", "spectral"}."""
        return {"params": self.params, "batch_stats": self.batch_stats, "spectral": self.spectral}

    @property
    def divided(self) -> dict:
        """What `apply` takes in training, once `power_iterate` moved the spectral vectors: with divided kernels.

        Where the vectors have groups (gan/joint.py) kernels have no one norm, and layers divide what they put out.
        """
        if any(leaf.ndim > 1 for leaf in jax.tree.leaves(self.spectral)):
            return self.variables
        return {"params": divided(self.params, self.spectral), "batch_stats": self.batch_stats}


@struct.dataclass
class TrainState:
    """The whole state of training after `step` iterations."""

    step: jax.Array  # int32 scalar
    generator: NetworkState
    discriminator: NetworkState
    ema_params: Any  # exponential moving average of the generator's parameters
    rng: jax.Array  # random key of the run; iteration i draws from fold_in(rng, i)


@struct.dataclass
class RegularizedTrainState(TrainState):
    """`TrainState` of a run whose regularization carries numbers from iteration to iteration.

    `averages` are float32 scalars: "real" and "fake", moving averages of D's mean logits, "real_sign", one of the mean
    sign of the real ones, which begins at its target, and "augment_probability".
    """

    averages: dict[str, jax.Array]


def create_train_state(key: jax.Array, spec: Spec) -> TrainState:
    """The state before the first iteration; `key` gives the initial values and the run's later draws."""
    g_key, d_key, rng = jax.random.split(key, 3)
    latents, _ = spec.generator.call_shapes(spec.latent_size)
    g = create_network(g_key, spec.generator, spec.optimizer, *latents)
    inputs, named = spec.discriminator.call_shapes()
    d = create_network(d_key, spec.discriminator, spec.optimizer, *inputs, named=named)
    # A copy: the averaged parameters must not share buffers with those that they average, since the state is donated.
    ema_params = jax.jit(partial(jax.tree.map, jnp.copy))(g.params)
    state = TrainState(step=jnp.zeros((), jnp.int32), generator=g, discriminator=d, ema_params=ema_params, rng=rng)
    if not spec.has_averages:
        return state
    averages = {"real": 0.0, "fake": 0.0, "real_sign": spec.augment_target or 0.0}
    averages["augment_probability"] = spec.augment_probability
    return RegularizedTrainState(**vars(state), averages={name: jnp.float32(x) for name, x in averages.items()})


def create_network(
    key: jax.Array,
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    *shapes: Any,
    named: Mapping[str, Any] | None = None,
) -> NetworkState:
    """A network before its first update; `shapes` and `named` are those of its call's arguments."""
    variables = initial_variables(key, module, *shapes, named=named, train=True)
    return NetworkState(**variables, optimizer=jax.jit(optimizer.init)(variables["params"]))


@jax.named_scope("optimizer")
def apply_gradients(
    network: NetworkState,
    optimizer: optax.GradientTransformation,
    gradient: dict,
    *,
    share: jax.Array | None = None,
    **changes: Any,
) -> NetworkState:
    """The network after one step of the optimizer, or a `share` of it; `changes` are other fields to replace."""
    updates, state = optimizer.update(gradient, network.optimizer, network.params)
    updates = updates if share is None else optax.tree.scale(share, updates)
    return network.replace(params=optax.apply_updates(network.params, updates), optimizer=state, **changes)
