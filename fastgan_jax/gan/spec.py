"""What a training iteration consists of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from fastgan_jax.gan.losses import Adversarial, Distance
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator
from fastgan_jax.models.projected import ProjectedDiscriminator
from fastgan_jax.utils.devices import along_batch


class Pretrained(NamedTuple):
    """Parameters of pretrained networks, which are arguments of the compiled program; None where there is none."""

    distance: Any = None  # of `Spec.distance`
    features: Any = None  # of a projected discriminator's feature network, see `models/efficientnet.py`


NO_PRETRAINED = Pretrained()


@dataclass(frozen=True)
class Spec:
    """What an iteration consists of: the networks, the optimizer and the options of the losses."""

    generator: Generator
    discriminator: Discriminator | ProjectedDiscriminator
    optimizer: optax.GradientTransformation  # of both networks
    adversarial: Adversarial
    smoothing: float  # the hinge's margins are uniform from 1 minus this to 1
    distance: Distance  # of a reconstruction from its target
    latent_size: int
    reconstruction_weight: float | None  # times the batch mean; None: the batch size, that is a sum over the batch
    policy: str  # of the augmentation
    augment_probability: float  # with `augment_target` at the beginning
    augment_shared: bool
    resize: str  # "nearest" | "antialias": how D's small image and the targets are made from the full one
    flip: bool
    ema_decay: float
    rate: optax.Schedule | None = None  # share of the optimizer's learning rate by iteration; None: all of it
    frozen: tuple[str, ...] = ()  # names among D's parameters of the layers that are not trained
    ema_warmup: bool = False  # a shorter average in the first iterations
    augment_target: float | None = None  # sign of D's real logits that the probability of augmentation aims at
    augment_adaptation: int = 100_000  # images in which that probability moves by 1
    lecam: float = 0.0  # weight of LeCam regularization
    r1: float = 0.0  # weight of the gradient penalty on real images
    r2: float = 0.0  # on generated images
    penalty_every: int = 1  # iterations of which one computes the penalties, with this many times the weight
    generator_every: int = 1  # updates of D for each of G
    self_supervision_weight: float = 1.0  # of the tasks of D's heads
    projected_weight: float = 1.0  # of the projected discriminators in G's loss, beside FastGAN's
    recompute: bool = False  # a network's activations in its backward pass, instead of keeping them until then
    mesh: Mesh | None = None  # of the devices that share each batch, see `batch_mesh`; None: one device

    @property
    def has_averages(self) -> bool:
        """Whether regularization carries numbers from iteration to iteration."""
        return self.augment_target is not None or self.lecam > 0

    def rate_at(self, step: jax.Array) -> jax.Array | None:
        """The share of the learning rate in the iteration after `step`; None: all of it."""
        return None if self.rate is None else self.rate(step)

    def recomputed(self, function: Callable) -> Callable:
        """A pass through a network, repeated in the backward pass if `recompute` says so."""
        return jax.checkpoint(function) if self.recompute else function

    def joined(self, batches: Sequence[jax.Array]) -> jax.Array:
        """Batches [B, ...] as one, [N B, ...]: one after the other, or on a `mesh` each device's parts of all."""
        if self.mesh is None:
            return jnp.concatenate(batches)
        return self.spread(jnp.stack(batches, axis=1)).reshape(-1, *batches[0].shape[1:])

    def parted(self, joined: jax.Array, count: int) -> jax.Array:
        """Numbers [N B] of `joined` batches, N = `count`, as [N, B]."""
        return joined.reshape(count, -1) if self.mesh is None else joined.reshape(-1, count).T

    def spread(self, tree: Any, axis: int = 0) -> Any:
        """A tree of arrays, the images of each along `axis`, laid over the devices of `mesh`; scalars are on all."""
        if self.mesh is None:
            return tree
        sharding = along_batch(self.mesh, axis)
        return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, sharding) if x.ndim else x, tree)
