"""The discriminator as a feature extractor (paper, appendix B): how much of an image do its maps keep?

A trained discriminator is frozen, and fresh decoders learn to rebuild images from its maps f1 (16x16) and f2 (8x8).
How near they come, on images that the decoders never saw, tells what the maps describe. (The discriminator itself may
have seen these images, if they are of its training set.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastgan_jax.data.order import batch_indices, epoch_order
from fastgan_jax.errors import UserError
from fastgan_jax.gan.losses import Distance
from fastgan_jax.gan.state import NetworkState
from fastgan_jax.models.blocks import Decoder
from fastgan_jax.models.discriminator import DECODER_WIDTHS, LAST_SIDE, Discriminator, decoder_side
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.init import initial_variables
from fastgan_jax.models.spectral_norm import power_iterate
from fastgan_jax.models.variants import REFERENCE, Compute
from fastgan_jax.utils.images import RESIZES, padded_batches, to_uint8, to_unit

MAPS = ("f1", "f2")
BETA1, BETA2 = 0.5, 0.999  # of Adam, as for the networks themselves
POWER_ITERATIONS = 20  # before the first update
NUM_SHOWN = 16  # held-out images whose reconstructions are returned


class MapDecoders(nn.Module):
    """A decoder for each map: (f1 [B, 16, 16, c], f2 [B, 8, 8, C]) -> {map: [B, side, side, channels] in (-1, 1)}."""

    widths: tuple[int, ...]
    channels: int
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, features: tuple[jax.Array, jax.Array], train: bool) -> dict[str, jax.Array]:
        images = {}
        for name, x in zip(MAPS, features, strict=True):
            decoder = Decoder(self.widths, self.channels, self.compute, name=name)
            images[name] = decoder(blocks_to_channels(x, LAST_SIDE), train)
        return images


@dataclass(frozen=True)
class Probe:
    """Everything that a compiled program depends on besides arrays.

    Attributes:
        discriminator: the module.
        resize: how its small view and the targets are made, "nearest" or "antialias".
        distance: of a reconstruction from its target.
        learning_rate: of Adam.
    """

    discriminator: Discriminator
    resize: str
    distance: Distance
    learning_rate: float

    @property
    def decoders(self) -> MapDecoders:
        """The module of the fresh decoders, built like the discriminator's own."""
        d = self.discriminator
        widths = tuple(width for side, width in DECODER_WIDTHS.items() if side <= decoder_side(d.resolution))
        return MapDecoders(widths, d.channels, d.variants, d.dtype)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate, b1=BETA1, b2=BETA2)


@dataclass(frozen=True)
class ProbeResult:
    """What fresh decoders achieved.

    Attributes:
        held_out: rows of the H images that the decoders did not learn from, ascending.
        before: {map: distance of each held-out image's reconstruction, float32 [H]} by untrained decoders.
        after: the same by trained ones.
        losses: {map: mean distance over the batch of each iteration, float32 [iterations]}.
        shown: {"real", map: uint8 [min(H, 16), side, side, C]} of the first held-out images.
    """

    held_out: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    losses: dict[str, np.ndarray]
    shown: dict[str, np.ndarray]


def run_probe(
    probe: Probe,
    variables: dict,
    pretrained: Any,
    images: np.ndarray,
    *,
    iterations: int,
    batch_size: int = 8,
    held_out: float = 0.15,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> ProbeResult:
    """Trains decoders on a frozen discriminator.

    Args:
        probe: modules and options.
        variables: of the discriminator, {"params", "batch_stats", "spectral"}; they stay as they are.
        pretrained: parameters of `probe.distance`; None if it has none.
        images: uint8 [N, R, R, C].
        iterations: updates of the decoders.
        batch_size: images per iteration.
        held_out: share of the images that the decoders are judged by; at least one is.
        seed: of the choice of these images, of the decoders' initial values, and of the order of images. With equal
            seeds, checkpoints are compared by the same images.
        on_progress: called with 1 after every iteration.

    Raises:
        UserError: if an argument is out of its range, or there are fewer than two images.
    """
    _check(len(images), iterations, batch_size, held_out, probe.learning_rate, seed)
    learned, judged = split(len(images), held_out, seed)
    variables, pretrained = jax.device_put((variables, pretrained))
    decoders = create_decoders(probe, jax.random.key(seed))
    before, _ = _judge_all(probe, variables, pretrained, decoders, images, judged, batch_size)
    losses = []
    for iteration in range(iterations):
        rows = learned[batch_indices(seed, iteration, 1, batch_size, len(learned))[0]]
        decoders, loss = update(probe, variables, pretrained, decoders, images[rows])
        losses.append(loss)
        if on_progress is not None:
            on_progress(1)
    after, shown = _judge_all(probe, variables, pretrained, decoders, images, judged, batch_size)
    history = {name: np.array([float(loss[name]) for loss in losses], np.float32) for name in MAPS}
    return ProbeResult(held_out=judged, before=before, after=after, losses=history, shown=shown)


def split(size: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `size` >= 2 images, ascending: those that are learned from, and those held out, at least one each."""
    count = min(max(1, round(held_out * size)), size - 1)
    order = epoch_order(seed, 0, size)
    return np.sort(order[count:]), np.sort(order[:count])


def blocks_to_channels(x: jax.Array, side: int) -> jax.Array:
    """The positions of equal blocks become channels: [B, h, w, C] -> [B, side, side, C (h / side) (w / side)].

    Decoders start from 8x8 and would average larger maps, which loses what the map knows of places.
    """
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, side, height // side, side, width // side, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, side, side, -1)


def create_decoders(probe: Probe, key: jax.Array) -> NetworkState:
    """Untrained decoders."""
    d = probe.discriminator
    images = (
        jax.ShapeDtypeStruct((2, side, side, d.channels), jnp.float32)
        for side in (d.resolution, small_side(d.resolution))
    )
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    output, _ = jax.eval_shape(
        lambda *arrays: d.init_with_output(jax.random.key(0), arrays[0], arrays[1], labels=arrays[2], train=False),
        *images,
        labels,
    )
    variables = initial_variables(key, probe.decoders, output.features, train=True)
    params = variables["params"]
    # With random vectors, norms would be far too small and the first images saturated.
    spectral = jax.jit(power_iterate, static_argnums=2)(params, variables["spectral"], POWER_ITERATIONS)
    optimizer = probe.optimizer.init(params)
    return NetworkState(params=params, batch_stats=variables["batch_stats"], spectral=spectral, optimizer=optimizer)


@partial(jax.jit, static_argnums=0)
def update(
    probe: Probe, variables: dict, pretrained: Any, decoders: NetworkState, images: jax.Array
) -> tuple[NetworkState, dict[str, jax.Array]]:
    """One update of the decoders by images uint8 [B, R, R, C]: the new state, and each map's mean distance before."""
    features, targets = _features_and_targets(probe, variables, images)
    wanted = probe.distance.embed(pretrained, targets)
    spectral = power_iterate(decoders.params, decoders.spectral)

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, dict]]:
        made, mutated = probe.decoders.apply(
            {"params": params, "batch_stats": decoders.batch_stats, "spectral": spectral},
            features,
            train=True,
            mutable=["batch_stats"],
        )
        losses = {name: _compare(probe, pretrained, x, wanted).mean() for name, x in made.items()}
        return sum(losses.values()), (losses, mutated["batch_stats"])

    gradient, (losses, batch_stats) = jax.grad(loss_of, has_aux=True)(decoders.params)
    change, optimizer = probe.optimizer.update(gradient, decoders.optimizer, decoders.params)
    params = optax.apply_updates(decoders.params, change)
    return NetworkState(params=params, batch_stats=batch_stats, spectral=spectral, optimizer=optimizer), losses


def _features_and_targets(
    probe: Probe, variables: dict, images: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """The frozen discriminator's maps of images uint8 [B, R, R, C], by stored statistics, and what to rebuild."""
    d, resize = probe.discriminator, RESIZES[probe.resize]
    real = to_unit(images)
    labels = jnp.zeros(len(images), jnp.int32)  # classes play a part in logits only
    output = d.apply(variables, real, resize(real, small_side(d.resolution)), labels=labels, train=False)
    return output.features, resize(real, decoder_side(d.resolution))


def _compare(probe: Probe, pretrained: Any, made: jax.Array, wanted: Any) -> jax.Array:
    return probe.distance.compare(pretrained, probe.distance.embed(pretrained, made), wanted)


@partial(jax.jit, static_argnums=0)
def _judge(
    probe: Probe, variables: dict, pretrained: Any, decoders: NetworkState, images: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Distances {map: [B]} and images {"real", map: uint8 [B, side, side, C]} by the decoders as they are."""
    features, targets = _features_and_targets(probe, variables, images)
    state = {"params": decoders.params, "batch_stats": decoders.batch_stats, "spectral": decoders.spectral}
    made = probe.decoders.apply(state, features, train=False)
    wanted = probe.distance.embed(pretrained, targets)
    distances = {name: _compare(probe, pretrained, x, wanted) for name, x in made.items()}
    return distances, {name: to_uint8(x) for name, x in ({"real": targets} | made).items()}


def _judge_all(
    probe: Probe,
    variables: dict,
    pretrained: Any,
    decoders: NetworkState,
    images: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Distances of the images in some rows of a set, and the first reconstructions."""
    distances, shown = [], []
    for (chunk,), size in padded_batches(batch_size, rows):
        values, tiles = _judge(probe, variables, pretrained, decoders, images[chunk])
        distances.append({name: np.asarray(x)[:size] for name, x in values.items()})
        if len(distances) <= math.ceil(NUM_SHOWN / batch_size):
            shown.append({name: np.asarray(x)[:size] for name, x in tiles.items()})
    joined = {name: np.concatenate([part[name] for part in distances]) for name in MAPS}
    return joined, {name: np.concatenate([part[name] for part in shown])[:NUM_SHOWN] for name in ("real", *MAPS)}


def _check(size: int, iterations: int, batch_size: int, held_out: float, learning_rate: float, seed: int) -> None:
    for name, value in {"iterations": iterations, "batch_size": batch_size}.items():
        if value < 1:
            raise UserError(f"{name}={value}: give at least 1")
    if not 0 < held_out < 1:
        raise UserError(f"held_out={held_out}: give a share between 0 and 1, such as 0.15")
    if not 0 < learning_rate < math.inf:
        raise UserError(f"learning_rate={learning_rate}: give a number above 0, such as 2e-4")
    if not 0 <= seed <= 2**32 - 1:
        raise UserError(f"seed={seed}: a seed is from 0 to {2**32 - 1}")
    if size < 2:
        raise UserError(f"there is {size} image: the test needs two, one to learn from and one to be judged by")
