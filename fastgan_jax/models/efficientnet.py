"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation, with ReLU6), frozen, as pure functions.

Batch norm is folded into the convolutions where weights are loaded (`pretrained/layouts.py`). Padding is TensorFlow's
SAME: at stride 2 one pixel more at the bottom and right than at the top and left where the sum is odd. Images are RGB
in [-1, 1].

The parameters are {layer: {"kernel" [kh, kw, in, out], "bias" [out]}}, layers "stem", "block<i>/expand",
"block<i>/depthwise" (kernel [k, k, 1, channels]), "block<i>/project", "head" and "classifier".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fastgan_jax.models.conv import Padding, convolve, depthwise_convolve

Layers = Mapping[str, Any]

BATCH_NORM_EPSILON = 1e-3
STEM_CHANNELS, HEAD_CHANNELS, CLASSES = 32, 1280, 1000
# (repeats, kernel size, stride of the first, expansion, channels)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
TAPS = {1: 24, 2: 40, 4: 112, 6: 320}  # stage whose map is a feature map: its channels; strides 4, 8, 16, 32


class Block(NamedTuple):
    """An inverted residual block."""

    stage: int
    kernel_size: int
    stride: int
    inputs: int  # channels
    expanded: int
    outputs: int

    @property
    def residual(self) -> bool:
        """Whether the input is added to the result."""
        return self.stride == 1 and self.inputs == self.outputs


def _blocks() -> tuple[Block, ...]:
    blocks, inputs = [], STEM_CHANNELS
    for stage, (repeats, kernel_size, stride, expansion, outputs) in enumerate(STAGES):
        for repeat in range(repeats):
            own_stride = stride if repeat == 0 else 1
            blocks.append(Block(stage, kernel_size, own_stride, inputs, expansion * inputs, outputs))
            inputs = outputs
    return tuple(blocks)


BLOCKS = _blocks()


def feature_kernel_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of the kernel of every layer that `feature_maps` uses, in the order of the network."""
    shapes: dict[str, tuple[int, ...]] = {"stem": (3, 3, 3, STEM_CHANNELS)}
    for index, block in enumerate(BLOCKS):
        if block.expanded != block.inputs:
            shapes[f"block{index}/expand"] = (1, 1, block.inputs, block.expanded)
        shapes[f"block{index}/depthwise"] = (block.kernel_size, block.kernel_size, 1, block.expanded)
        shapes[f"block{index}/project"] = (1, 1, block.expanded, block.outputs)
    return shapes


def kernel_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every layer's kernel, in the order of the network."""
    head = {"head": (1, 1, STAGES[-1][-1], HEAD_CHANNELS), "classifier": (1, 1, HEAD_CHANNELS, CLASSES)}
    return feature_kernel_shapes() | head


def feature_maps(layers: Layers, images: jax.Array, dtype: jnp.dtype | None = None) -> list[jax.Array]:
    """The maps of strides 4, 8, 16 and 32 of images [B, H, W, 3]: [B, H / stride, W / stride, 24 | 40 | 112 | 320].

    `dtype` is that of the computation and of the result; None: that of the parameters. "head" and "classifier" are not
    used.
    """
    if dtype is not None:
        layers = jax.tree.map(lambda leaf: leaf.astype(dtype), dict(layers))
    x = images.astype(layers["stem"]["kernel"].dtype)
    stem = layers["stem"]
    x = jax.nn.relu6(convolve(x, stem["kernel"], stride=2, padding=_same(x, 3, 2)) + _row(stem["bias"]))
    maps = []
    for index, block in enumerate(BLOCKS):
        x = _inverted_residual(layers, f"block{index}", block, x)
        is_last = index + 1 == len(BLOCKS) or BLOCKS[index + 1].stage != block.stage
        if is_last and block.stage in TAPS:
            maps.append(x)
    return maps


def pooled_features(layers: Layers, images: jax.Array) -> jax.Array:
    """What the classifier sees: the head's map averaged over positions, [B, H, W, 3] -> [B, 1280]."""
    x = feature_maps(layers, images)[-1]
    return jax.nn.relu6(_pointwise(layers["head"], x)).mean((1, 2))


def classify(layers: Layers, images: jax.Array) -> jax.Array:
    """Logits of ImageNet's classes, [B, H, W, 3] -> [B, 1000]."""
    return _pointwise(layers["classifier"], pooled_features(layers, images)[:, None, None])[:, 0, 0]


def _inverted_residual(layers: Layers, name: str, block: Block, x: jax.Array) -> jax.Array:
    inner = jax.nn.relu6(_pointwise(layers[f"{name}/expand"], x)) if f"{name}/expand" in layers else x
    depthwise = layers[f"{name}/depthwise"]
    padding = _same(inner, block.kernel_size, block.stride)
    inner = depthwise_convolve(inner, depthwise["kernel"], stride=block.stride, padding=padding)
    inner = _pointwise(layers[f"{name}/project"], jax.nn.relu6(inner + _row(depthwise["bias"])))
    return x + inner if block.residual else inner


def _pointwise(layer: Layers, x: jax.Array) -> jax.Array:
    """A 1x1 convolution, as the matrix product that it is: on CPUs twice as fast as XLA's convolution."""
    return x @ layer["kernel"][0, 0] + _row(layer["bias"])


def _row(bias: jax.Array) -> jax.Array:
    return bias.reshape(1, 1, 1, -1)


def _same(x: jax.Array, kernel_size: int, stride: int) -> Padding:
    """TensorFlow's SAME padding of a map [B, H, W, C]."""
    return tuple(jax.lax.padtype_to_pads(x.shape[1:3], (kernel_size,) * 2, (stride,) * 2, "SAME"))
