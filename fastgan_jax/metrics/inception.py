"""Inception-v3 in the form that the Fréchet inception distance is defined with: images to 2048 features.

The network (Szegedy et al., "Rethinking the Inception Architecture", 2016, figures 5 to 7 and 10) as TensorFlow
published its weights on 2015-12-05. It departs from common Inception-v3 programs in two places: average pooling counts
only pixels inside the map, and the pooling branch of the last block takes the maximum.

Every convolution is bias-free and followed by batch norm (epsilon 1e-3) and ReLU; `pretrained.layouts` folds the stored
statistics into kernel and bias, so parameters are `{name: {"kernel": [kh, kw, in, out], "bias": [out]}}` with a name
such as `Mixed_5b.branch1x1`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from fastgan_jax.errors import UserError

SIDE = 299  # height and width of the images that the network expects
BATCH_NORM_EPSILON = 1e-3
CLASSES = 1008  # of the classifier head, which features do not need; another count means other weights

Params = dict[str, dict[str, Any]]


class Conv(NamedTuple):
    """A convolution."""

    name: str
    height: int
    width: int
    channels: int
    stride: int
    padding: str


# The network: blocks one after the other. Of each block, one line per branch; of each branch, steps one after the
# other, separated by commas; "a + b" are side by side. A convolution is "name HEIGHTxWIDTH CHANNELS", a size that ends
# with /2 has stride 2 and no padding, one with v no padding. The remaining steps are POOLINGS.
def _block_a(pooled: int) -> tuple[str, ...]:
    """Figure 5, on maps of 35x35."""
    return (
        "branch1x1 1x1 64",
        "branch5x5_1 1x1 48, branch5x5_2 5x5 64",
        "branch3x3dbl_1 1x1 64, branch3x3dbl_2 3x3 96, branch3x3dbl_3 3x3 96",
        f"average, branch_pool 1x1 {pooled}",
    )


def _block_c(inner: int) -> tuple[str, ...]:
    """Figure 6 with n = 7, on maps of 17x17."""
    return (
        "branch1x1 1x1 192",
        f"branch7x7_1 1x1 {inner}, branch7x7_2 1x7 {inner}, branch7x7_3 7x1 192",
        f"branch7x7dbl_1 1x1 {inner}, branch7x7dbl_2 7x1 {inner}, branch7x7dbl_3 1x7 {inner}, "
        f"branch7x7dbl_4 7x1 {inner}, branch7x7dbl_5 1x7 192",
        "average, branch_pool 1x1 192",
    )


def _block_e(pool: str) -> tuple[str, ...]:
    """Figure 7, on maps of 8x8."""
    return (
        "branch1x1 1x1 320",
        "branch3x3_1 1x1 384, branch3x3_2a 1x3 384 + branch3x3_2b 3x1 384",
        "branch3x3dbl_1 1x1 448, branch3x3dbl_2 3x3 384, branch3x3dbl_3a 1x3 384 + branch3x3dbl_3b 3x1 384",
        f"{pool}, branch_pool 1x1 192",
    )


BLOCKS = {
    "": (
        "Conv2d_1a_3x3 3x3/2 32, Conv2d_2a_3x3 3x3v 32, Conv2d_2b_3x3 3x3 64, shrink, "
        "Conv2d_3b_1x1 1x1 80, Conv2d_4a_3x3 3x3v 192, shrink",
    ),
    "Mixed_5b.": _block_a(32),
    "Mixed_5c.": _block_a(64),
    "Mixed_5d.": _block_a(64),
    "Mixed_6a.": (  # 35x35 to 17x17
        "branch3x3 3x3/2 384",
        "branch3x3dbl_1 1x1 64, branch3x3dbl_2 3x3 96, branch3x3dbl_3 3x3/2 96",
        "shrink",
    ),
    "Mixed_6b.": _block_c(128),
    "Mixed_6c.": _block_c(160),
    "Mixed_6d.": _block_c(160),
    "Mixed_6e.": _block_c(192),
    "Mixed_7a.": (  # 17x17 to 8x8
        "branch3x3_1 1x1 192, branch3x3_2 3x3/2 320",
        "branch7x7x3_1 1x1 192, branch7x7x3_2 1x7 192, branch7x7x3_3 7x1 192, branch7x7x3_4 3x3/2 192",
        "shrink",
    ),
    "Mixed_7b.": _block_e("average"),
    "Mixed_7c.": _block_e("max"),
}


_max_pool = partial(nn.max_pool, window_shape=(3, 3))
POOLINGS = {
    "average": partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False),
    "max": partial(_max_pool, padding="SAME"),
    "shrink": partial(_max_pool, strides=(2, 2)),
}


def _run(x: Any, convolve: Callable[[Conv, Any], Any], pool: Callable[[str, Any], Any], join: Callable) -> Any:
    """Runs the network on maps, or on anything else that the three functions take, such as numbers of channels."""

    def step(block: str, text: str, x: Any) -> Any:
        if text in POOLINGS:
            return pool(text, x)
        name, size, channels = text.split()
        stride, padding = (2, "VALID") if size.endswith("/2") else (1, "VALID" if size.endswith("v") else "SAME")
        height, width = map(int, size.removesuffix("/2").removesuffix("v").split("x"))
        return convolve(Conv(block + name, height, width, int(channels), stride, padding), x)

    def branch(block: str, steps: str, x: Any) -> Any:
        for text in steps.split(", "):
            x = join([step(block, beside, x) for beside in text.split(" + ")])
        return x

    for block, branches in BLOCKS.items():
        x = join([branch(block, steps, x) for steps in branches])
    return x


def layer_shapes() -> dict[str, tuple[int, int, int, int]]:
    """Kernel shape [kh, kw, in, out] of every convolution by its full name."""
    shapes = {}

    def record(conv: Conv, channels: int) -> int:
        shapes[conv.name] = (conv.height, conv.width, channels, conv.channels)
        return conv.channels

    _run(3, record, lambda _pool, channels: channels, sum)
    return shapes


def features(params: Params, images: jax.Array) -> jax.Array:
    """The features of images: the mean over the last map ("pool3"), float32 [B, 2048], each at least 0.

    Products are true float32 on every device, as digits of FID depend on them. Compile it with `jax.jit`.

    Args:
        params: see the module.
        images: floating point [B, 299, 299, 3], in [-1, 1]; see `resizing.resize_for_network`.

    Raises:
        UserError: if the images have another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (SIDE, SIDE, 3):
        raise UserError(f"Inception takes images [B, {SIDE}, {SIDE}, 3], not {tuple(images.shape)}: resize them first")

    def convolve(conv: Conv, x: jax.Array) -> jax.Array:
        """Convolution with folded batch norm, then ReLU."""
        layer, strides, layout = params[conv.name], (conv.stride, conv.stride), ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(
            x, layer["kernel"], strides, conv.padding, dimension_numbers=layout, precision=lax.Precision.HIGHEST
        )
        return jax.nn.relu(x + layer["bias"][None, None, None])

    def join(parts: list[jax.Array]) -> jax.Array:
        return jnp.concatenate(parts, -1) if len(parts) > 1 else parts[0]

    return _run(images.astype(jnp.float32), convolve, lambda name, x: POOLINGS[name](x), join).mean((1, 2))
