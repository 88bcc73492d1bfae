"""Convolutions on [B, H, W, C] with [kh, kw, in, out] kernels: the plain form, and faster equal forms beside it."""

import jax
import jax.numpy as jnp
from jax import lax

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
UPSAMPLE_FORMS = ("repeat", "phase")


def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: int | tuple = 0, groups: int = 1
) -> jax.Array:
    """Cross-correlation of [B, H, W, in] with [kh, kw, in / groups, out], zero padded by `padding` on every side."""
    if isinstance(padding, int):
        padding = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS, feature_group_count=groups
    )


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width of [B, H, W, C] by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def upsample_convolve(x: jax.Array, kernel: jax.Array, *, form: str = "repeat") -> jax.Array:
    """Nearest-neighbour x2, then a 3x3 convolution with padding 1: [B, H, W, in] -> [B, 2H, 2W, out].

    Args:
        x: [B, H, W, in].
        kernel: [3, 3, in, out].
        form: "repeat" builds the upsampled map; "phase" gives the same result (to rounding) from the small map with
            4/9 of the multiplications.

    Raises:
        ValueError: for another form.
    """
    if form == "repeat":
        return convolve(upsample_nearest(x), kernel, padding=1)
    if form == "phase":
        return _upsample_convolve_by_phase(x, kernel)
    raise ValueError(f"upsampling form {form!r} is none of {', '.join(UPSAMPLE_FORMS)}")


def _upsample_convolve_by_phase(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each of the four output phases sees only 2x2 pixels of the small map, through summed taps of the kernel.

    Along one axis an even output reads the small pixels (i-1, i) with weights (w0, w1 + w2), an odd one (i, i+1) with
    (w0 + w1, w2).
    """
    batch, height, width, _ = x.shape
    phases = [
        jnp.stack(
            [convolve(x, _taps(_taps(kernel, 0, row), 1, column), padding=_pads(row, column)) for column in (0, 1)], 3
        )
        for row in (0, 1)
    ]  # 2 x [B, H, W, 2, out]
    return jnp.stack(phases, 2).reshape(batch, 2 * height, 2 * width, kernel.shape[-1])


def _taps(kernel: jax.Array, axis: int, phase: int) -> jax.Array:
    """The three taps along `axis` summed to the two that an even (0) or odd (1) output phase has."""
    w0, w1, w2 = jnp.split(kernel, 3, axis)
    return jnp.concatenate((w0, w1 + w2) if phase == 0 else (w0 + w1, w2), axis)


def _pads(row: int, column: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (1 - row, row), (1 - column, column)
