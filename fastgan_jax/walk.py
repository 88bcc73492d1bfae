"""Walks through latents: which latent each frame of a film shows."""

from collections.abc import Sequence

import numpy as np

from fastgan_jax.sampling import interpolate

EASINGS = ("linear", "smooth")


def walk(
    stations: np.ndarray, frames: int, *, closed: bool, spherical: bool = True, easing: str = "linear"
) -> np.ndarray:
    """Latents from station to station.

    Args:
        stations: latents [N, nz].
        frames: steps from one station to the next.
        closed: go on from the last station to the first. The last frame then comes just before the first, so that a
            film that repeats does not jump or pause; otherwise it is the last station.
        spherical: see `sampling.interpolate`.
        easing: "linear": at constant speed; "smooth": at rest at every station (3 t^2 - 2 t^3).

    Returns:
        float32 [N * frames, nz] if closed, else [(N - 1) * frames + 1, nz].
    """
    shares = np.arange(frames) / frames
    if easing == "smooth":
        shares = shares**2 * (3 - 2 * shares)
    ends = np.roll(stations, -1, axis=0) if closed else stations[1:]
    segments: Sequence[np.ndarray] = [
        interpolate(start, end, shares, spherical=spherical) for start, end in zip(stations, ends, strict=False)
    ]
    last = [] if closed else [np.asarray(stations[-1:], np.float32)]
    return np.concatenate([*segments, *last])
