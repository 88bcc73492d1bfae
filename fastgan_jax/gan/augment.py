"""Differentiable augmentation (Zhao et al. 2020, "DiffAugment") on float images [B, H, W, C], nominally in [-1, 1].

`draw` makes the random numbers, uniform in [0, 1) and one set per image; `apply` is a pure function of images and
numbers, with exact gradients. Nothing is clipped to [-1, 1]. To add an augmentation, enter it in `AUGMENTATIONS`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

TRANSLATIONS = {"translation": 1 / 8, "small_translation": 1 / 32}  # largest shift of a part, as a share of the side
CUTOUT_RATIO = 0.5  # side of the square, as a share of the image's

Draws = dict[str, jax.Array]


class Part(NamedTuple):
    """One augmentation.

    Attributes:
        sizes: {name of a draw: how many numbers per image}.
        apply: (images [B, H, W, C], {name: uniform [B, size]}) -> [B, H, W, C].
    """

    sizes: dict[str, int]
    apply: Callable[[jax.Array, Draws], jax.Array]


def parse_policy(policy: str) -> tuple[str, ...]:
    """Splits "color,translation" into its parts, in order.

    Raises:
        ValueError: if a part is unknown or named twice.
    """
    parts = tuple(part.strip() for part in policy.split(",") if part.strip())
    for part in parts:
        if part not in AUGMENTATIONS:
            raise ValueError(f"augmentation {part!r} in policy {policy!r} must be one of {', '.join(AUGMENTATIONS)}")
    if len(set(parts)) < len(parts):
        raise ValueError(f"augmentation policy {policy!r} names a part twice; name each once")
    return parts


def draw(key: jax.Array, policy: str, batch: int) -> Draws:
    """The random numbers that `apply` needs for a batch: {name: [batch, k] uniform in [0, 1)}."""
    sizes = {"gate": 1}
    for part in parse_policy(policy):
        sizes |= AUGMENTATIONS[part].sizes
    keys = jax.random.split(key, len(sizes))
    return {name: jax.random.uniform(k, (batch, size)) for k, (name, size) in zip(keys, sizes.items(), strict=True)}


def apply(images: jax.Array, draws: Draws, policy: str, probability: float | jax.Array = 1.0) -> jax.Array:
    """Augments each image by its own numbers.

    Args:
        images: [B, H, W, C]; of four channels, color leaves the last (alpha) alone.
        draws: from `draw` with the same policy.
        policy: parts joined by commas, applied in this order; "" returns the images unchanged.
        probability: share of images to augment; the others pass unchanged.

    Returns:
        [B, H, W, C].
    """
    augmented = images
    for part in parse_policy(policy):
        augmented = AUGMENTATIONS[part].apply(augmented, draws)
    if isinstance(probability, jax.Array) or probability < 1:
        augmented = jnp.where(_per_image(draws["gate"]) < probability, augmented, images)
    return augmented


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def translate(images: jax.Array, shifts: jax.Array, wrap: bool) -> jax.Array:
    """Moves each image by whole pixels: out[i, j] = x[i + dy, j + dx], 0 outside or, with `wrap`, modulo the size.

    Args:
        images: [B, H, W, C].
        shifts: int32 [B, 2], (dy, dx) per image.
        wrap: whether what leaves on one side enters on the other.
    """
    height, width = images.shape[1:3]
    rows = jnp.arange(height)[None] + shifts[:, :1]  # [B, H]
    columns = jnp.arange(width)[None] + shifts[:, 1:]  # [B, W]
    moved = jax.vmap(lambda x, r, c: x[r % height][:, c % width])(images, rows, columns)
    if wrap:
        return moved
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    return moved * inside[..., None].astype(images.dtype)


def _translate_forward(images: jax.Array, shifts: jax.Array, wrap: bool) -> tuple[jax.Array, jax.Array]:
    return translate(images, shifts, wrap), shifts


def _translate_backward(wrap: bool, shifts: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    # The adjoint of a shift is the opposite shift: a gather too, where the derived rule would be a scatter.
    return translate(cotangent, -shifts, wrap), None


translate.defvjp(_translate_forward, _translate_backward)


def _color(images: jax.Array, draws: dict[str, jax.Array]) -> jax.Array:
    """Brightness, saturation and contrast, in this order."""
    if images.shape[-1] == 4:
        return jnp.concatenate([_color(images[..., :3], draws), images[..., 3:]], axis=-1)
    brightness, saturation, contrast = (
        _per_image(draws[name]).astype(images.dtype) for name in ("brightness", "saturation", "contrast")
    )
    images = images + (brightness - 0.5)
    mean = images.mean(3, keepdims=True)
    images = (images - mean) * (2 * saturation) + mean
    mean = images.mean((1, 2, 3), keepdims=True)
    return (images - mean) * (contrast + 0.5) + mean


def _translation(images: jax.Array, draws: Draws, part: str) -> jax.Array:
    """Shifts by up to 1/8 of the side on each axis, or 1/32 for small_translation; 0 comes in."""
    return translate(images, _shifts(draws[part], images.shape[1:3], TRANSLATIONS[part]), False)


def _cutout(images: jax.Array, draws: Draws) -> jax.Array:
    """Sets one square to 0; its center is uniform over the image, and what reaches over the border is cut off."""
    height, width = images.shape[1:3]
    rows, columns = (_inside_square(draws["cutout"][:, axis], side) for axis, side in enumerate((height, width)))
    hole = rows[:, :, None, None] & columns[:, None, :, None]
    return images * (1 - hole.astype(images.dtype))


def _inside_square(uniforms: jax.Array, side: int) -> jax.Array:
    """Whether each of `side` positions lies in the square: [B, side] of bool."""
    size = int(side * CUTOUT_RATIO + 0.5)
    start = _integers(uniforms, side + 1 - size % 2)[:, None] - size // 2
    position = jnp.arange(side)[None]
    return (position >= start) & (position < start + size)


def _shifts(uniforms: jax.Array, shape: tuple[int, int], ratio: float) -> jax.Array:
    """Shifts [B, 2], uniform over the integers from -s to s, s = int(side * ratio + 0.5) per axis."""
    largest = [int(side * ratio + 0.5) for side in shape]
    return jnp.stack([_integers(uniforms[:, axis], 2 * s + 1) - s for axis, s in enumerate(largest)], axis=1)


def _offset(images: jax.Array, draws: Draws, part: str) -> jax.Array:
    """Shifts with wrap-around, uniform over the image: on both axes, or for offset_h / offset_v on x / y alone."""
    uniforms, zero = draws[part], jnp.zeros(len(images), jnp.int32)
    dy = zero if part == "offset_h" else _integers(uniforms[:, 0], images.shape[1])
    dx = zero if part == "offset_v" else _integers(uniforms[:, -1], images.shape[2])
    return translate(images, jnp.stack([dy, dx], axis=1), True)


def _integers(uniforms: jax.Array, count: int) -> jax.Array:
    """Uniform integers in [0, count) from uniform numbers in [0, 1)."""
    return jnp.minimum((uniforms * count).astype(jnp.int32), count - 1)


def _per_image(draw: jax.Array) -> jax.Array:
    return draw[:, :, None, None]


# augment.policy: the parts that it may name
AUGMENTATIONS = {
    "color": Part({"brightness": 1, "saturation": 1, "contrast": 1}, _color),
    **{part: Part({part: 2}, partial(_translation, part=part)) for part in TRANSLATIONS},
    "cutout": Part({"cutout": 2}, _cutout),
    "offset": Part({"offset": 2}, partial(_offset, part="offset")),
    "offset_h": Part({"offset_h": 1}, partial(_offset, part="offset_h")),
    "offset_v": Part({"offset_v": 1}, partial(_offset, part="offset_v")),
}
