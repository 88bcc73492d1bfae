"""The discriminator as a feature extractor (paper, appendix B): how much of an image do its maps keep?

A trained discriminator is frozen, and fresh decoders learn to reconstruct images from its maps f1 (16x16) and f2 (8x8).
How near they come, on images that the decoders never saw, tells what the maps describe. (The discriminator itself may
have seen these images, if they are from its training set.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from fastgan_jax.data.order import batch_indices, epoch_order
from fastgan_jax.errors import UserError
from fastgan_jax.gan.losses import Distance
from fastgan_jax.gan.state import NetworkState, apply_gradients, create_network
from fastgan_jax.inference.options import ProbeOptions
from fastgan_jax.inference.restore import TrainedDiscriminator
from fastgan_jax.models.blocks import Decoder
from fastgan_jax.models.discriminator import DECODER_WIDTHS, LAST_SIDE, Discriminator, decoder_side
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.layers import BATCH_NORM_MOMENTUM
from fastgan_jax.models.spectral_norm import power_iterate
from fastgan_jax.models.variants import REFERENCE, Compute
from fastgan_jax.utils.images import RESIZES, map_batches, to_uint8, to_unit

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
    """Everything that a compiled program depends on besides arrays."""

    discriminator: Discriminator
    resize: str  # "nearest" | "antialias": how its small view and the targets are made
    distance: Distance  # of a reconstruction from its target
    learning_rate: float  # of Adam

    @property
    def decoders(self) -> MapDecoders:
        """The module of the fresh decoders, built like the discriminator's own."""
        d = self.discriminator
        widths = tuple(width for side, width in DECODER_WIDTHS.items() if side <= decoder_side(d.resolution))
        return MapDecoders(widths, d.channels, d.compute)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate, b1=BETA1, b2=BETA2)


@dataclass(frozen=True)
class ProbeResult:
    """What fresh decoders achieved, for each of MAPS."""

    held_out: np.ndarray  # rows of the H images that the decoders did not learn from, ascending
    before: dict[str, np.ndarray]  # distance of each held-out image's reconstruction by untrained decoders, float32 [H]
    after: dict[str, np.ndarray]  # the same by trained ones
    losses: dict[str, np.ndarray]  # mean distance over the batch of each iteration, float32 [iterations]
    shown: dict[str, np.ndarray]  # the first held-out images, and "real": uint8 [min(H, 16), side, side, C]


def run_probe(
    trained: TrainedDiscriminator,
    distance: Distance,
    pretrained: Any,
    images: np.ndarray,
    options: ProbeOptions | None = None,
    *,
    on_progress: Callable[[int], None] = lambda iterations: None,
) -> ProbeResult:
    """Trains decoders on a frozen discriminator.

    Args:
        trained: the discriminator; it stays as it is.
        distance: of a reconstruction from its target.
        pretrained: parameters of `distance`; None if it has none.
        images: uint8 [N, R, R, C].
        options: None: the defaults.
        on_progress: called with 1 after every iteration.

    Raises:
        UserError: if an option is out of its range, there are fewer than two images, or the decoders diverge.
    """
    options = options or ProbeOptions()
    options.check()
    if len(images) < 2:
        raise UserError(f"there is {len(images)} image: the probe needs two, one to learn from and one to hold out")
    learned, held_out = split(len(images), options.held_out, options.seed)
    probe = Probe(trained.discriminator, trained.config.model.resize, distance, options.learning_rate)
    variables, pretrained = jax.device_put((trained.variables, pretrained))
    means = [leaf for path, leaf in traverse_util.flatten_dict(variables["batch_stats"]).items() if path[-1] == "mean"]
    if not any(leaf.any() for leaf in means):
        variables = settled(probe, variables, images[learned[: options.batch_size]])
    fixed = (probe, variables, pretrained)
    decoders = create_decoders(probe, jax.random.key(options.seed))

    def evaluate_held_out() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        return map_batches(lambda rows: _evaluate(*fixed, decoders, images[rows]), options.batch_size, held_out)

    before, _ = evaluate_held_out()
    losses = []
    for iteration in range(options.iterations):
        rows = learned[batch_indices(options.seed, iteration, 1, options.batch_size, len(learned))[0]]
        decoders, loss = update(*fixed, decoders, images[rows])
        losses.append(loss)
        on_progress(1)
    after, shown = evaluate_held_out()
    if not all(np.isfinite(distances).all() for distances in after.values()):
        raise UserError(f"the decoders diverged: choose a learning rate below learning_rate={options.learning_rate:g}")
    history = {name: np.array([float(loss[name]) for loss in losses], np.float32) for name in MAPS}
    shown = {name: shown[name][:NUM_SHOWN] for name in ("real", *MAPS)}  # trees are in the order of the alphabet
    return ProbeResult(held_out, before, after, history, shown)


@partial(jax.jit, static_argnums=0)
def settled(probe: Probe, variables: dict, images: jax.Array) -> dict:
    """The variables of a discriminator that has seen no image, normalized by images uint8 [B, R, R, C] as in training.

    At iteration 0 the norms of its kernels are those of random vectors, and its statistics those of no images: its maps
    would grow a hundredfold from layer to layer.
    """
    spectral = power_iterate(variables["params"], variables["spectral"], POWER_ITERATIONS)
    own = variables | {"spectral": spectral, "batch_stats": jax.tree.map(jnp.zeros_like, variables["batch_stats"])}
    _, moved = _output(probe, own, images, train=True, mutable=["batch_stats"])
    return own | jax.tree.map(lambda average: average / (1 - BATCH_NORM_MOMENTUM), moved)


def split(size: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `size` >= 2 images, ascending: those that are learned from, and those held out, at least one each."""
    count = min(max(1, round(held_out * size)), size - 1)
    order = epoch_order(seed, 0, size)
    return np.sort(order[count:]), np.sort(order[:count])


def blocks_to_channels(x: jax.Array, side: int) -> jax.Array:
    """The positions of equal blocks become channels: [B, h, w, C] -> [B, side, side, C (h / side) (w / side)].

    Decoders start from 8x8 and would average larger maps, which loses positions.
    """
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, side, height // side, side, width // side, channels)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, side, side, -1)


def create_decoders(probe: Probe, key: jax.Array) -> NetworkState:
    """Untrained decoders."""
    init = partial(probe.discriminator.init_with_output, train=False)
    inputs, named = probe.discriminator.call_shapes()
    output, _ = jax.eval_shape(init, key, *inputs, **named)
    decoders = create_network(key, probe.decoders, probe.optimizer, output.features)
    # With random vectors, norms would be far too small and the first images saturated.
    spectral = jax.jit(power_iterate, static_argnums=2)(decoders.params, decoders.spectral, POWER_ITERATIONS)
    return decoders.replace(spectral=spectral)


@partial(jax.jit, static_argnums=0)
def update(
    probe: Probe, variables: dict, pretrained: Any, decoders: NetworkState, images: jax.Array
) -> tuple[NetworkState, dict[str, jax.Array]]:
    """One update of the decoders by images uint8 [B, R, R, C]: the new state, and each map's mean distance before."""
    features, targets = _features_and_targets(probe, variables, images)
    target = probe.distance.embed(pretrained, targets)
    decoders = decoders.replace(spectral=power_iterate(decoders.params, decoders.spectral))

    def loss_of(params: dict) -> tuple[jax.Array, tuple[dict, dict]]:
        state = decoders.replace(params=params)
        reconstructed, mutated = probe.decoders.apply(state.variables, features, train=True, mutable=["batch_stats"])
        losses = {name: probe.distance(pretrained, x, target).mean() for name, x in reconstructed.items()}
        return sum(losses.values()), (losses, mutated["batch_stats"])

    gradient, (losses, batch_stats) = jax.grad(loss_of, has_aux=True)(decoders.params)
    return apply_gradients(decoders, probe.optimizer, gradient, batch_stats=batch_stats), losses


def _features_and_targets(
    probe: Probe, variables: dict, images: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """The frozen discriminator's maps of images uint8 [B, R, R, C], by stored statistics, and what to reconstruct."""
    features = _output(probe, variables, images, train=False).features
    return features, RESIZES[probe.resize](to_unit(images), decoder_side(probe.discriminator.resolution))


def _output(probe: Probe, variables: dict, images: jax.Array, **options: Any) -> Any:
    """What the discriminator's `apply` returns for images uint8 [B, R, R, C]."""
    d, real = probe.discriminator, to_unit(images)
    small = RESIZES[probe.resize](real, small_side(d.resolution))
    labels = jnp.zeros(len(images), jnp.int32)  # classes only affect logits
    return d.apply(variables, real, small, labels=labels, **options)


@partial(jax.jit, static_argnums=0)
def _evaluate(
    probe: Probe, variables: dict, pretrained: Any, decoders: NetworkState, images: jax.Array
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Distances {map: [B]} and images {"real", map: uint8 [B, side, side, C]} of the decoders as they are."""
    features, targets = _features_and_targets(probe, variables, images)
    reconstructed = probe.decoders.apply(decoders.variables, features, train=False)
    target = probe.distance.embed(pretrained, targets)
    distances = {name: probe.distance(pretrained, x, target) for name, x in reconstructed.items()}
    return distances, {name: to_uint8(x) for name, x in ({"real": targets} | reconstructed).items()}


def report(result: ProbeResult, names: Sequence[str]) -> dict[str, Any]:
    """Mean distances over the held-out images, and each image's; `names` are those of all images."""
    columns = {f"{when}_{name}": getattr(result, when)[name] for name in MAPS for when in ("before", "after")}
    rows = [
        {"name": names[row]} | {key: float(column[index]) for key, column in columns.items()}
        for index, row in enumerate(result.held_out)
    ]
    means = {key: float(column.mean()) for key, column in columns.items()}
    return {"num_learned": len(names) - len(rows), "num_held_out": len(rows), "means": means, "held_out": rows}


def table(report: dict[str, Any]) -> str:
    """The means of a `report`, to which run, step, measure and iterations have been added, as lines of text."""
    lines = [
        "{run}, iteration {step}: {measure}",
        "of {num_held_out} held-out images, by decoders trained for {iterations} iterations on {num_learned} others",
        "map         before   after",
        "f1 16x16    {means[before_f1]:.4f}  {means[after_f1]:.4f}",
        "f2 8x8      {means[before_f2]:.4f}  {means[after_f2]:.4f}",
    ]
    return "\n".join(lines).format(**report)
