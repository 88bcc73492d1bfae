"""LPIPS, a learned distance between images (Zhang et al., CVPR 2018; its version 0.1), as pure functions.

Images go through a network that was trained to recognize objects. At several depths, the features of each position
are scaled to unit length, and the squared differences between two images, weighted per channel, are averaged over
positions and summed over depths.

The parameters are one tree of arrays:
    input:    shift [3] and scale [3]; the network sees (image - shift) / scale of images in [-1, 1]
    backbone: {layer: {"kernel" [kh, kw, in, out], "bias" [out]}}
    heads:    {depth: weights [C] of the channels' squared differences}
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fastgan_jax.models.conv import convolve
from fastgan_jax.models.layers import widened
from fastgan_jax.utils.images import resize_antialias

Params = Mapping[str, Any]
Features = dict[str, jax.Array]

SMALLEST_NORM = 1e-10  # added to the length of a position's features, as LPIPS does
VGG_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions and channels between two poolings
FIRE_CHANNELS = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
FIRST_FIRE = 2  # the published name of the first of FIRE_CHANNELS
FIRES_BEFORE_POOLING = (3, 5)  # besides conv1
PIXELS_SIDE = 32


def _vgg(backbone: Params, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
    """VGG-16 without its classifier (Simonyan and Zisserman 2015): the last map before each pooling."""
    for block, (convolutions, _) in enumerate(VGG_BLOCKS, start=1):
        if block > 1:
            x = max_pool(x, 2)
        for index in range(1, convolutions + 1):
            x = _convolve_relu(backbone[f"conv{block}_{index}"], x, padding=1)
        yield f"conv{block}", x


def _squeeze(backbone: Params, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
    """SqueezeNet 1.1 without its classifier (Iandola et al. 2016): the depths that LPIPS reads."""
    x = _convolve_relu(backbone["conv1"], x, stride=2)
    yield "conv1", x
    x = max_pool(x, 3, beyond_edge=True)
    for number in range(FIRST_FIRE, FIRST_FIRE + len(FIRE_CHANNELS)):
        x = _fire(backbone, f"fire{number}", x)
        if number in FIRES_BEFORE_POOLING or number > max(FIRES_BEFORE_POOLING):
            yield f"fire{number}", x
        if number in FIRES_BEFORE_POOLING:
            x = max_pool(x, 3, beyond_edge=True)


def _pixels(backbone: Params, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
    """No network: the images, shrunk to PIXELS_SIDE where they are larger, so that single pixels count little."""
    yield "pixels", resize_antialias(x, min(PIXELS_SIDE, x.shape[1]))


def _vgg_shapes() -> dict[str, tuple[int, ...]]:
    shapes, before = {}, 3
    for block, (convolutions, channels) in enumerate(VGG_BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            shapes[f"conv{block}_{index}"] = (3, 3, before, channels)
            before = channels
    return shapes


def _squeeze_shapes() -> dict[str, tuple[int, ...]]:
    shapes, before = {"conv1": (3, 3, 3, 64)}, 64
    for number, (squeezed, expanded) in enumerate(FIRE_CHANNELS, start=FIRST_FIRE):
        shapes[f"fire{number}/squeeze1x1"] = (1, 1, before, squeezed)
        shapes[f"fire{number}/expand1x1"] = (1, 1, squeezed, expanded)
        shapes[f"fire{number}/expand3x3"] = (3, 3, squeezed, expanded)
        before = 2 * expanded
    return shapes


@dataclass(frozen=True)
class Backbone:
    """A network whose features are compared.

    Attributes:
        maps: the network's maps at the depths that count, (parameters, input) -> (depth, [B, h, w, C]) in order.
        kernels: shape of each layer's kernel.
        channels: channels at each depth.
        unit_length: whether the features of each position are scaled to unit length.
    """

    maps: Callable[[Params, jax.Array], Iterator[tuple[str, jax.Array]]]
    kernels: Mapping[str, tuple[int, ...]]
    channels: Mapping[str, int]
    unit_length: bool = True


BACKBONES = {
    "vgg": Backbone(_vgg, _vgg_shapes(), {f"conv{i}": channels for i, (_, channels) in enumerate(VGG_BLOCKS, 1)}),
    "squeeze": Backbone(
        _squeeze,
        _squeeze_shapes(),
        {"conv1": 64, "fire3": 128, "fire5": 256, "fire6": 384, "fire7": 384, "fire8": 512, "fire9": 512},
    ),
    "pixels": Backbone(_pixels, {}, {"pixels": 3}, unit_length=False),
}


def embed(network: str, params: Params, images: jax.Array, dtype: jnp.dtype | None = None) -> Features:
    """Features of images at every depth, of unit length at each position.

    Args:
        network: a name of BACKBONES.
        params: its parameters, see the module.
        images: [B, H, W, 3] in [-1, 1].
        dtype: of the network's computation and of the result; None: that of the parameters.

    Returns:
        {depth: [B, h, w, C]}.
    """
    backbone, x = params["backbone"], _network_input(params, images)
    if dtype is not None:
        backbone, x = jax.tree.map(lambda leaf: leaf.astype(dtype), (backbone, x))
    maps = BACKBONES[network].maps(backbone, x)
    return {depth: _unit_length(x) if BACKBONES[network].unit_length else x for depth, x in maps}


def compare(params: Params, first: Features, second: Features) -> jax.Array:
    """LPIPS between images from what `embed` made of them: [B]."""
    layers = []
    for depth, weights in params["heads"].items():
        wide = jnp.promote_types(weights.dtype, first[depth].dtype)  # the sum over many positions, not in bfloat16
        difference = jnp.square(first[depth].astype(wide) - second[depth].astype(wide))
        layers.append(jnp.einsum("bhwc,c->b", difference, weights) / (difference.shape[1] * difference.shape[2]))
    return jnp.sum(jnp.stack(layers), axis=0)


def pooled_features(network: str, layers: Params, images: jax.Array) -> jax.Array:
    """The last map of a network averaged over positions: images [B, H, W, 3] in [-1, 1] -> [B, C].

    `layers` are those of the backbone, and "input".
    """
    *_, (_, last) = BACKBONES[network].maps(layers, _network_input(layers, images))
    return last.mean((1, 2))


def max_pool(x: jax.Array, window: int, *, beyond_edge: bool = False) -> jax.Array:
    """Maximum over windows at stride 2 of [B, H, W, C] whose values are not negative.

    Written with slices: the gradient of XLA's own windowed maximum is slow on CPU.

    Args:
        x: the map.
        window: side of a window.
        beyond_edge: whether pixels at the edge that fill no window get one that reaches beyond it; otherwise they are
            left out.
    """
    sides = x.shape[1:3]
    height, width = (1 + (-(-(side - window) // 2) if beyond_edge else (side - window) // 2) for side in sides)
    missing = [max(0, 2 * (out - 1) + window - side) for out, side in zip((height, width), sides, strict=True)]
    x = jnp.pad(x, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    columns = _maximum([x[:, :, i : i + 2 * width - 1 : 2] for i in range(window)])
    return _maximum([columns[:, i : i + 2 * height - 1 : 2] for i in range(window)])


def _maximum(parts: list[jax.Array]) -> jax.Array:
    """The greatest of arrays at each place; its gradient goes to the first of equal ones, as in PyTorch."""
    return functools.reduce(lambda first, second: jnp.where(second > first, second, first), parts)


def _network_input(params: Params, images: jax.Array) -> jax.Array:
    return (images - params["input"]["shift"].reshape(1, 1, 1, 3)) / params["input"]["scale"].reshape(1, 1, 1, 3)


def _convolve_relu(layer: Params, x: jax.Array, **options: int) -> jax.Array:
    return jax.nn.relu(convolve(x, layer["kernel"], **options) + layer["bias"].reshape(1, 1, 1, -1))


def _fire(backbone: Params, name: str, x: jax.Array) -> jax.Array:
    x = _convolve_relu(backbone[f"{name}/squeeze1x1"], x)
    wide = (_convolve_relu(backbone[f"{name}/expand{n}x{n}"], x, padding=n // 2) for n in (1, 3))
    return jnp.concatenate(tuple(wide), axis=-1)


def _unit_length(features: jax.Array) -> jax.Array:
    """Features [B, h, w, C] over their length at each position; its gradient at zero features is zero, not NaN."""
    wide = widened(features)
    squares = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    positive = squares > 0
    length = jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
    return (wide / (length + SMALLEST_NORM)).astype(features.dtype)
