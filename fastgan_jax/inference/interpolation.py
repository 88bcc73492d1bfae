"""Interpolation in the latent space: which latent each frame of a video shows."""

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import whole

EASINGS = ("linear", "smooth")


def interpolate(start: np.ndarray, end: np.ndarray, fractions: np.ndarray, *, spherical: bool = True) -> np.ndarray:
    """Latents float32 [N, nz] between the latents [nz] at fraction 0 and at 1, at `fractions` [N].

    Spherical: along the great circle, with length and angle interpolated; otherwise along the straight line.
    """
    fractions = np.asarray(fractions, np.float64)[:, None]
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    line = (1 - fractions) * start + fractions * end
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    angle = np.arccos(np.clip(start @ end / max(lengths[0] * lengths[1], 1e-12), -1, 1))
    # The great circle through zero, parallel or opposite latents is not determined.
    if not spherical or min(lengths) < 1e-6 or np.sin(angle) < 1e-6:
        return line.astype(np.float32)
    direction = np.sin((1 - fractions) * angle) * (start / lengths[0]) + np.sin(fractions * angle) * (end / lengths[1])
    length = (1 - fractions) * lengths[0] + fractions * lengths[1]
    return (length * direction / np.sin(angle)).astype(np.float32)


def interpolate_keyframes(
    keyframes: np.ndarray, frames: int, *, closed: bool, spherical: bool = True, easing: str = "linear"
) -> np.ndarray:
    """Latents from keyframe to keyframe.

    Args:
        keyframes: latents [N, nz].
        frames: steps from one keyframe to the next.
        closed: continue from the last keyframe to the first. The last frame then comes just before the first, so that
            a looping video neither jumps nor pauses; otherwise it is the last keyframe.
        spherical: see `interpolate`.
        easing: "linear": at constant speed; "smooth": at rest at every keyframe (3 t^2 - 2 t^3).

    Returns:
        float32 [N * frames, nz] if closed, else [(N - 1) * frames + 1, nz].

    Raises:
        UserError: without keyframes or steps, or for an unknown easing.
    """
    if easing not in EASINGS:
        raise UserError(f"easing={easing!r}: must be one of {', '.join(EASINGS)}")
    frames = whole(frames, "frames")
    if frames < 1 or not len(keyframes):
        raise UserError(f"{frames} frames between {len(keyframes)} keyframes: give at least 1 of each")
    fractions = np.arange(frames) / frames
    if easing == "smooth":
        fractions = fractions**2 * (3 - 2 * fractions)
    ends = np.roll(keyframes, -1, axis=0) if closed else keyframes[1:]
    path = [interpolate(*pair, fractions, spherical=spherical) for pair in zip(keyframes, ends, strict=False)]
    return np.concatenate(path if closed else [*path, np.asarray(keyframes[-1:], np.float32)])
