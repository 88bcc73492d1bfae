"""Convolutions on [B, H, W, C] with [kh, kw, in, out] kernels: the plain form, and faster equal variants beside it.

They have their names, and the choice between them, in `variants.py`.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Padding = tuple[tuple[int, int], tuple[int, int]]

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Where matrix products take the place of convolutions, since that was faster on CPU (docs/performance.md):
NARROWEST_PRODUCT = 16  # channels in and out from here up
FEWEST_POSITIONS = 256  # height times width of the map by the squared stride, from here up: the kernel's gradient
SMALL_POSITIONS = 64  # height times width of the result, up to here
LARGE_KERNEL = 2**20  # elements, from here up: all of it; and for any 1x1 kernel
STRIP_POSITIONS = 4096  # height times width of what the gradient's products sum over at once
FEWEST_FOR_SUBPIXELS = 1024  # height times width of the small map, from here up: below, the kernel counts for more


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int | Padding = 0,
    products: str = "never",
) -> jax.Array:
    """Cross-correlation of [B, H, W, in] with [kh, kw, in, out], zero padded by `padding` on every side.

    Args:
        x: [B, H, W, in].
        kernel: [kh, kw, in, out].
        stride: of the result.
        padding: pixels on every side, or ((above, below), (left, right)).
        products: "never": as XLA convolves and differentiates; "by_size": by matrix products, the same to rounding, all
            of it for 1x1 kernels and small maps (`_multiply_patches`), the kernel's gradient for large maps of many
            channels (`_kernel_gradient`).
    """
    padding = _on_each_side(padding)
    if products == "by_size":
        if _is_product(x, kernel, stride, padding):
            return _multiply_patches(x, kernel, stride, padding)
        if _is_large(x, kernel, stride):
            return _convolve_with_products(x, kernel, stride, padding)
    return _convolve(x, kernel, stride, padding)


def depthwise_convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int | Padding = 0) -> jax.Array:
    """Each channel of [B, H, W, C] by its own kernel, [k, k, 1, C], as a sum of shifted maps: [B, H', W', C].

    So is its gradient; as JAX differentiates, it would be a sum of k * k padded maps. XLA's grouped convolution takes
    CPUs longer than either (docs/performance.md).
    """
    return _depthwise_convolve(x, kernel, stride, _on_each_side(padding))


def _on_each_side(padding: int | Padding) -> Padding:
    return ((padding, padding), (padding, padding)) if isinstance(padding, int) else padding


def _sum_of_shifted(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """The taps' sum, and the kernel's gradient over all positions, in float32 at least."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    padded, weights = jnp.pad(x, ((0, 0), *padding, (0, 0))), kernel.astype(wide).reshape(-1, 1, 1, 1, x.shape[-1])
    seen = _seen_by_taps(padded, kernel.shape[:2], stride)
    taps = [part.astype(wide) * weight for part, weight in zip(seen, weights, strict=True)]
    return sum(taps[1:], start=taps[0]).astype(x.dtype)


_depthwise_convolve = jax.custom_vjp(_sum_of_shifted, nondiff_argnums=(2, 3))


def _depthwise_forward(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> tuple[jax.Array, tuple]:
    return _sum_of_shifted(x, kernel, stride, padding), (x, kernel)


def _depthwise_backward(
    stride: int, padding: Padding, residuals: tuple, gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    spread = [(0, 0, 0)]  # the gradient's pixels as far apart as they were in x, with as much around them as taps reach
    for side, size, taps, (before, _) in zip(x.shape[1:3], gradient.shape[1:3], kernel.shape[:2], padding, strict=True):
        spread.append((taps - 1 - before, side + before - stride * (size - 1) - 1, stride - 1))
    spread = lax.pad(gradient, jnp.zeros((), gradient.dtype), [*spread, (0, 0, 0)])
    of_x = _sum_of_shifted(lax.optimization_barrier(spread), kernel[::-1, ::-1], 1, ((0, 0), (0, 0)))
    _, vjp_fn = jax.vjp(lambda kernel: _sum_of_shifted(x, kernel, stride, padding), kernel)
    return of_x, *vjp_fn(gradient)


_depthwise_convolve.defvjp(_depthwise_forward, _depthwise_backward)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)


def _is_large(x: jax.Array, kernel: jax.Array, stride: int) -> bool:
    """Whether a kernel's gradient is a matter of large products."""
    positions = x.shape[1] * x.shape[2] // stride**2
    spatial = kernel.shape[:2] != (1, 1)
    return spatial and min(kernel.shape[2:]) >= NARROWEST_PRODUCT and positions >= FEWEST_POSITIONS


def _is_product(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> bool:
    """Whether a convolution is better one product: if it is 1x1, or its map small beside its kernel.

    XLA turns a kernel around for each gradient, which takes longer than a small map does.
    """
    if kernel.shape[:2] == (1, 1) and stride == 1:
        return True
    sides = zip(x.shape[1:3], kernel.shape[:2], padding, strict=True)
    height, width = ((side + sum(added) - size) // stride + 1 for side, size, added in sides)
    return kernel.size >= LARGE_KERNEL and height * width <= SMALL_POSITIONS


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _multiply_patches(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    """The convolution and its gradients, each as one product with what each position sees: [B H' W', kh kw in]."""
    return _patches_forward(x, kernel, stride, padding)[0]


def _patches_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    patches = _patches(x, kernel.shape[:2], stride, padding)
    result = _product(_as_matrix(patches), kernel.reshape(-1, kernel.shape[-1]), (1, 0))
    return result.astype(x.dtype).reshape(*patches.shape[:3], -1), (x, kernel)


def _patches_backward(
    stride: int, padding: Padding, residuals: tuple, gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    patches, vjp_fn = jax.vjp(lambda x: _patches(x, kernel.shape[:2], stride, padding), x)
    cotangent = _as_matrix(gradient)
    of_kernel = _product(_as_matrix(patches), cotangent, (0, 0)).astype(kernel.dtype).reshape(kernel.shape)
    of_patches = _product(cotangent, kernel.reshape(-1, kernel.shape[-1]), (1, 1)).astype(x.dtype)
    return *vjp_fn(of_patches.reshape(patches.shape)), of_kernel


_multiply_patches.defvjp(_patches_forward, _patches_backward)


def _patches(x: jax.Array, size: tuple[int, int], stride: int, padding: Padding) -> jax.Array:
    """What each position of the result sees of [B, H, W, in]: [B, H', W', kh kw in]."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return jnp.concatenate(_seen_by_taps(padded, size, stride), axis=-1)


def _seen_by_taps(padded: jax.Array, size: tuple[int, int], stride: int) -> list[jax.Array]:
    """What each tap of a kernel of this size sees of a padded map, row by row: kh kw times [B, H', W', in]."""
    height, width = (side - taps + 1 for side, taps in zip(padded.shape[1:3], size, strict=True))
    taps = itertools.product(range(size[0]), range(size[1]))
    return [padded[:, i : i + height : stride, j : j + width : stride] for i, j in taps]


def _as_matrix(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _product(a: jax.Array, b: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """Two matrices multiplied over an axis of each, summed in float32 at least."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return lax.dot_general(a, b, (((axes[0],), (axes[1],)), ((), ())), preferred_element_type=wide)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve_with_products(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    return _convolve(x, kernel, stride, padding)


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> tuple[jax.Array, tuple]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: Padding, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
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
        seen = lax.dynamic_slice(padded, (image, first * stride, 0, 0), read)
        cotangent = _as_matrix(lax.dynamic_slice(gradient, (image, first, 0, 0), (1, rows, width, features)))
        parts = _seen_by_taps(seen, kernel.shape[:2], stride)
        sums = jnp.stack([_product(_as_matrix(part), cotangent, (0, 0)) for part in parts])
        return total + sums.reshape(kernel.shape), None

    total, _ = lax.scan(add, jnp.zeros(kernel.shape, wide), jnp.arange(batch * strips))
    return total.astype(kernel.dtype)


_convolve_with_products.defvjp(_forward, _backward)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width of [B, H, W, C] by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def upsample_convolve(
    x: jax.Array, kernel: jax.Array, *, variant: str = "repeat", products: str = "never"
) -> jax.Array:
    """Nearest-neighbor x2, then a 3x3 convolution with padding 1: [B, H, W, in] -> [B, 2H, 2W, out].

    Args:
        x: [B, H, W, in].
        kernel: [3, 3, in, out].
        variant: "repeat" builds the upsampled map; "phase" gives the same result (to rounding) from the small map with
            4/9 of the multiplications; "subpixel" from the small map by one convolution to four times the channels,
            which become 2x2 pixels, where the map has FEWEST_FOR_SUBPIXELS positions: it moves less memory.
        products: see `convolve`.
    """
    if variant == "phase":
        return _upsample_convolve_by_phase(x, kernel, products)
    if variant == "subpixel" and x.shape[1] * x.shape[2] >= FEWEST_FOR_SUBPIXELS:
        return _upsample_convolve_to_subpixels(x, kernel, products)
    return convolve(upsample_nearest(x), kernel, padding=1, products=products)


def _upsample_convolve_by_phase(x: jax.Array, kernel: jax.Array, products: str) -> jax.Array:
    """Each of the four output phases sees only 2x2 pixels of the small map, through summed taps of the kernel.

    Along one axis an even output reads the small pixels (i-1, i) with weights (w0, w1 + w2), an odd one (i, i+1) with
    (w0 + w1, w2).
    """
    batch, height, width, _ = x.shape

    def phase(row: int, column: int) -> jax.Array:
        taps, padding = _taps(_taps(kernel, 0, row), 1, column), ((1 - row, row), (1 - column, column))
        return convolve(x, taps, padding=padding, products=products)

    rows = [jnp.stack([phase(row, 0), phase(row, 1)], 3) for row in (0, 1)]  # 2 x [B, H, W, 2, out]
    return jnp.stack(rows, 2).reshape(batch, 2 * height, 2 * width, kernel.shape[-1])


def _upsample_convolve_to_subpixels(x: jax.Array, kernel: jax.Array, products: str) -> jax.Array:
    """All four phases by one 3x3 convolution of the small map, 20 of whose 36 taps are zero."""

    def phases(kernel: jax.Array, axis: int) -> jax.Array:
        pad = [(0, 0)] * kernel.ndim
        added = ((0, 1), (1, 0))  # where the third tap along the axis is zero
        taps = [jnp.pad(_taps(kernel, axis, phase), [*pad[:axis], added[phase], *pad[axis + 1 :]]) for phase in (0, 1)]
        return jnp.stack(taps, -2)

    taps = phases(phases(kernel, 0), 1)  # [3, 3, in, row, column, out]
    return _depth_to_space(convolve(x, taps.reshape(*kernel.shape[:3], -1), padding=1, products=products))


def _taps(kernel: jax.Array, axis: int, phase: int) -> jax.Array:
    """The three taps along `axis` summed to the two that an even (0) or odd (1) output phase has."""
    w0, w1, w2 = jnp.split(kernel, 3, axis)
    return jnp.concatenate((w0, w1 + w2) if phase == 0 else (w0 + w1, w2), axis)


def downsample_convolve(
    x: jax.Array, kernel: jax.Array, *, variant: str = "strided", products: str = "never"
) -> jax.Array:
    """A 4x4 convolution of stride 2 with padding 1: [B, H, W, in] -> [B, H/2, W/2, out], H and W even.

    Args:
        x: [B, H, W, in].
        kernel: [4, 4, in, out].
        variant: "strided" is the reference; "subpixel_gradient" is the same but for the gradient of the map, which is a
            sub-pixel convolution (Shi et al. 2016): 2x2, to four times the channels, which then become 2x2 pixels. As
            XLA differentiates, three of four products there are with zeros.
        products: see `convolve`.
    """
    by_patches = products == "by_size" and _is_product(x, kernel, 2, ((1, 1), (1, 1)))
    if variant == "subpixel_gradient" and not by_patches:
        return _downsample_with_subpixel_gradient(x, kernel, products)
    return convolve(x, kernel, stride=2, padding=1, products=products)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _downsample_with_subpixel_gradient(x: jax.Array, kernel: jax.Array, products: str) -> jax.Array:
    return convolve(x, kernel, stride=2, padding=1, products=products)


def _downsample_forward(x: jax.Array, kernel: jax.Array, products: str) -> tuple[jax.Array, tuple]:
    return _downsample_with_subpixel_gradient(x, kernel, products), (x, kernel)


def _downsample_backward(products: str, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    _, vjp_fn = jax.vjp(lambda k: convolve(x, k, stride=2, padding=1, products=products), kernel)
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
