"""How images are brought to the size of a feature network. FID depends on it, so each convention has a name.

`legacy` is what the common PyTorch FID tool (pytorch-fid) does: bilinear without antialiasing, which aliases when
images shrink. `clean` is the proposal of Parmar et al. ("On Aliased Resizing and Surprising Subtleties in GAN
Evaluation", 2022): bicubic with the filter widened when shrinking, never rounded to integers. Results of the two cannot
be compared with each other.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.errors import UserError

CONVENTIONS = ("legacy", "clean")


def resize_for_network(images: jax.Array | np.ndarray, side: int, convention: str) -> jax.Array:
    """Resizes images uint8 [B, H, W, 3] to [B, side, side, 3] and maps them to the value range of the network, float32.

    Args:
        images: each image's result depends on that image alone.
        side: height and width to resize to, in pixels.
        convention: "legacy": bilinear on x / 255, then 2x - 1, so [-1, 1]. "clean": antialiased bicubic on [0, 255],
            clipped, then (x - 128) / 128, so [-1, 0.9922]; its authors' program scales so, which differs from `legacy`
            by up to 1 / 128 even where nothing is resized.

    Raises:
        UserError: for an unknown convention, or images that are not uint8 [B, H, W, 3].
    """
    if convention not in CONVENTIONS:
        raise UserError(f"resize convention {convention!r} is unknown: must be one of {', '.join(CONVENTIONS)}")
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise UserError(
            f"images to resize are {images.dtype} {tuple(images.shape)}: give uint8 [B, H, W, 3] (gray repeated to "
            "three channels, transparency laid on a background)"
        )
    pixels = jnp.asarray(images).astype(jnp.float32)
    if convention == "legacy":
        return 2 * _resize(pixels / 255, side, linear_weights) - 1
    return (jnp.clip(_resize(pixels, side, cubic_weights), 0, 255) - 128) / 128


def _resize(images: jax.Array, side: int, weights: Callable[[int, int], np.ndarray]) -> jax.Array:
    """Applies the separable filter to both axes of [B, H, W, C]."""
    rows, columns = (jnp.asarray(weights(size, side), jnp.float32) for size in images.shape[1:3])
    precision = jax.lax.Precision.HIGHEST
    images = jnp.einsum("oh,bhwc->bowc", rows, images, precision=precision)
    return jnp.einsum("ow,bhwc->bhoc", columns, images, precision=precision)


def linear_weights(size: int, side: int) -> np.ndarray:
    """Weights [side, size] of bilinear interpolation between the two nearest pixels, ends repeated.

    Positions are float32, from one fused multiply-add of a float32 scale, as in PyTorch (align_corners=False): at 1024
    pixels its positions are 5e-5 pixels off the exact ones, and images agree with it to rounding all the same.
    """
    scale = np.float64(np.float32(size) / np.float32(side))
    positions = np.maximum((scale * (np.arange(side) + 0.5) - 0.5).astype(np.float32), 0)
    left = np.minimum(positions.astype(np.int64), size - 1)
    right = np.minimum(left + 1, size - 1)
    share = np.minimum(positions - left, 1).astype(np.float32)
    weights = np.zeros((side, size), np.float32)
    weights[np.arange(side), left] += 1 - share
    weights[np.arange(side), right] += share
    return weights


def cubic_weights(size: int, side: int) -> np.ndarray:
    """Weights [side, size] of Keys' cubic filter (a = -1/2), widened by size / side when shrinking; each row sums to 1.

    Pillow's `resize` with BICUBIC, which the clean convention is defined by, uses the same weights.
    """
    scale = size / side
    centers = (np.arange(side) + 0.5) * scale
    d = np.abs(np.arange(size) + 0.5 - centers[:, None]) / max(scale, 1.0)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    weights = np.where(d < 1, near, np.where(d < 2, far, 0.0))
    return weights / weights.sum(1, keepdims=True)
