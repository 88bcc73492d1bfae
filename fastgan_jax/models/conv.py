"""Convolutions on [B, H, W, C] with [kh, kw, in, out] kernels: the plain form, and faster equal variants beside it.

They have their names, and the choice between them, in `variants.py`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Padding = tuple[tuple[int, int], tuple[int, int]]

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Where kernel gradients are made by products, since that was faster on CPU (docs/performance.md):
NARROWEST_PRODUCT = 16  # channels in and out from here up
FEWEST_POSITIONS = 256  # height times width of the map, divided by the squared stride
STRIP_POSITIONS = 4096  # height times width of what products sum over at once


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int | Padding = 0,
    groups: int = 1,
    kernel_gradient: str = "convolution",
) -> jax.Array:
    """Cross-correlation of [B, H, W, in] with [kh, kw, in / groups, out], zero padded by `padding` on every side.

    Args:
        x: [B, H, W, in].
        kernel: [kh, kw, in / groups, out].
        stride: of the result.
        padding: pixels on every side, or ((above, below), (left, right)).
        groups: of channels.
        kernel_gradient: how the kernel's gradient is computed: "convolution", as XLA differentiates; "by_size", for
            large maps of many channels by one matrix product for each of the kernel's taps, the same to rounding.
            Depthwise and grouped convolutions have the first way only.
    """
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    if groups == 1 and kernel_gradient == "by_size" and _is_large(x, kernel, stride):
        return _convolve_with_products(x, kernel, stride, padding)
    return _convolve(x, kernel, stride, padding, groups)


def depthwise_convolve(x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding) -> jax.Array:
    """Each channel of [B, H, W, C] by its own kernel, [k, k, 1, C], as a sum of shifted maps: [B, H', W', C].

    XLA's grouped convolution takes CPUs five times as long (docs/performance.md).
    """
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    size = kernel.shape[0]
    height, width = ((side - size) // stride * stride + 1 for side in padded.shape[1:3])
    taps = [
        padded[:, i : i + height : stride, j : j + width : stride] * kernel[i, j, 0].reshape(1, 1, 1, -1)
        for i in range(size)
        for j in range(size)
    ]
    return sum(taps[1:], start=taps[0])


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS, feature_group_count=groups
    )


def _is_large(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether a kernel's gradient is a matter of large products."""
    positions = x.shape[1] * x.shape[2] // stride**2
    spatial = kernel.shape[:2] != (1, 1)
    return spatial and min(kernel.shape[2:]) >= NARROWEST_PRODUCT and positions >= FEWEST_POSITIONS


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_with_products(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    return _convolve(x, kernel, stride, padding)


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> tuple[jax.Array, tuple]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: Padding, kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    vjp_fn = jax.linear_transpose(lambda x: _convolve(x, kernel, stride, padding), x)
    return *vjp_fn(gradient), _kernel_gradient(x, gradient, kernel, stride, padding)


def _kernel_gradient(x: jax.Array, gradient: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """The gradient of a kernel [kh, kw, in, out], tap by tap, summed over strips of rows that fit into a cache."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    batch, height, width, features = gradient.shape
    rows = max(r for r in range(1, height + 1) if height % r == 0 and (r == 1 or r * width <= STRIP_POSITIONS))
    strips, wide = height // rows, jnp.promote_types(gradient.dtype, jnp.float32)
    read = (1, stride * (rows - 1) + kernel.shape[0], *padded.shape[2:])

    def add(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
        image, first = index // strips, index % strips * rows
        seen = lax.dynamic_slice(padded, (image, first * stride, 0, 0), read)[0]
        came = lax.dynamic_slice(gradient, (image, first, 0, 0), (1, rows, width, features)).reshape(-1, features)

        def tap(i: int, j: int) -> jax.Array:
            """What the kernel's tap (i, j) saw, times what came of it: [in, out]."""
            part = seen[i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
            part = part.reshape(-1, part.shape[-1])
            return lax.dot_general(part, came, (((0,), (0,)), ((), ())), preferred_element_type=wide)

        taps = [tap(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
        return total + jnp.stack(taps).reshape(kernel.shape), None

    total, _ = lax.scan(add, jnp.zeros(kernel.shape, wide), jnp.arange(batch * strips))
    return total.astype(kernel.dtype)


_convolve_with_products.defvjp(_forward, _backward)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width of [B, H, W, C] by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def upsample_convolve(
    x: jax.Array, kernel: jax.Array, *, variant: str = "repeat", kernel_gradient: str = "convolution"
) -> jax.Array:
    """Nearest-neighbor x2, then a 3x3 convolution with padding 1: [B, H, W, in] -> [B, 2H, 2W, out].

    Args:
        x: [B, H, W, in].
        kernel: [3, 3, in, out].
        variant: "repeat" builds the upsampled map; "phase" gives the same result (to rounding) from the small map with
            4/9 of the multiplications.
        kernel_gradient: see `convolve`.
    """
    if variant == "phase":
        return _upsample_convolve_by_phase(x, kernel, kernel_gradient)
    return convolve(upsample_nearest(x), kernel, padding=1, kernel_gradient=kernel_gradient)


def _upsample_convolve_by_phase(x: jax.Array, kernel: jax.Array, kernel_gradient: str) -> jax.Array:
    """Each of the four output phases sees only 2x2 pixels of the small map, through summed taps of the kernel.

    Along one axis an even output reads the small pixels (i-1, i) with weights (w0, w1 + w2), an odd one (i, i+1) with
    (w0 + w1, w2).
    """
    batch, height, width, _ = x.shape

    def phase(row: int, column: int) -> jax.Array:
        taps, padding = _taps(_taps(kernel, 0, row), 1, column), ((1 - row, row), (1 - column, column))
        return convolve(x, taps, padding=padding, kernel_gradient=kernel_gradient)

    rows = [jnp.stack([phase(row, 0), phase(row, 1)], 3) for row in (0, 1)]  # 2 x [B, H, W, 2, out]
    return jnp.stack(rows, 2).reshape(batch, 2 * height, 2 * width, kernel.shape[-1])


def _taps(kernel: jax.Array, axis: int, phase: int) -> jax.Array:
    """The three taps along `axis` summed to the two that an even (0) or odd (1) output phase has."""
    w0, w1, w2 = jnp.split(kernel, 3, axis)
    return jnp.concatenate((w0, w1 + w2) if phase == 0 else (w0 + w1, w2), axis)


def downsample_convolve(
    x: jax.Array, kernel: jax.Array, *, variant: str = "strided", kernel_gradient: str = "convolution"
) -> jax.Array:
    """A 4x4 convolution of stride 2 with padding 1: [B, H, W, in] -> [B, H/2, W/2, out], H and W even.

    Args:
        x: [B, H, W, in].
        kernel: [4, 4, in, out].
        variant: "strided" is the reference; "subpixel_gradient" is the same but for the gradient of the map, which is a
            sub-pixel convolution (Shi et al. 2016): 2x2, to four times the channels, which then become 2x2 pixels. As
            XLA differentiates, three of four products there are with zeros.
        kernel_gradient: see `convolve`.
    """
    if variant == "subpixel_gradient":
        return _downsample_with_subpixel_gradient(x, kernel, kernel_gradient)
    return convolve(x, kernel, stride=2, padding=1, kernel_gradient=kernel_gradient)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _downsample_with_subpixel_gradient(x: jax.Array, kernel: jax.Array, kernel_gradient: str) -> jax.Array:
    return convolve(x, kernel, stride=2, padding=1, kernel_gradient=kernel_gradient)


def _downsample_forward(x: jax.Array, kernel: jax.Array, kernel_gradient: str) -> tuple[jax.Array, tuple]:
    return _downsample_with_subpixel_gradient(x, kernel, kernel_gradient), (x, kernel)


def _downsample_backward(kernel_gradient: str, kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    _, vjp_fn = jax.vjp(lambda k: convolve(x, k, stride=2, padding=1, kernel_gradient=kernel_gradient), kernel)
    return _subpixel_convolve(gradient, kernel), *vjp_fn(gradient)


def _subpixel_convolve(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient [B, 2H, 2W, in] of what a 4x4 convolution of stride 2 and padding 1 saw.

    Along one axis, the padded map's pixel 2 m + r was seen by the result's pixel m through the kernel's tap r, and by
    m - 1 through r + 2.
    """
    inputs, outputs = kernel.shape[2:]
    taps = kernel.reshape(2, 2, 2, 2, inputs, outputs)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    blocks = _convolve(gradient, taps.reshape(2, 2, outputs, 4 * inputs), 1, ((1, 1), (1, 1)))
    return _depth_to_space(blocks)[:, 1:-1, 1:-1]


_downsample_with_subpixel_gradient.defvjp(_downsample_forward, _downsample_backward)


def _depth_to_space(x: jax.Array) -> jax.Array:
    """Each pixel as a 2x2 block of pixels: [B, H, W, 4 C] -> [B, 2H, 2W, C]."""
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, 2 * height, 2 * width, channels // 4)
