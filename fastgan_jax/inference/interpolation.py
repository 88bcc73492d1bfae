"""Between latents: which latent each frame of a film shows."""

import numpy as np

from fastgan_jax.errors import UserError

EASINGS = ("linear", "smooth")


def interpolate(start: np.ndarray, end: np.ndarray, shares: np.ndarray, *, spherical: bool = True) -> np.ndarray:
    """Latents between two latents.

    Args:
        start: [nz], at share 0.
        end: [nz], at share 1.
        shares: [N], from 0 to 1.
        spherical: along the great circle, with length and angle interpolated; otherwise along the straight line.

    Returns:
        float32 [N, nz].
    """
    shares = np.asarray(shares, np.float64)[:, None]
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    line = (1 - shares) * start + shares * end
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    angle = np.arccos(np.clip(start @ end / max(lengths[0] * lengths[1], 1e-12), -1, 1))
    # Of zero, parallel and opposite latents, no great circle is determined.
    if not spherical or min(lengths) < 1e-6 or np.sin(angle) < 1e-6:
        return line.astype(np.float32)
    direction = np.sin((1 - shares) * angle) * (start / lengths[0]) + np.sin(shares * angle) * (end / lengths[1])
    length = (1 - shares) * lengths[0] + shares * lengths[1]
    return (length * direction / np.sin(angle)).astype(np.float32)


def walk(
    stations: np.ndarray, frames: int, *, closed: bool, spherical: bool = True, easing: str = "linear"
) -> np.ndarray:
    """Latents from station to station.

    Args:
        stations: latents [N, nz].
        frames: steps from one station to the next.
        closed: go on from the last station to the first. The last frame then comes just before the first, so that a
            film that repeats does not jump or pause; otherwise it is the last station.
        spherical: see `interpolate`.
        easing: "linear": at constant speed; "smooth": at rest at every station (3 t^2 - 2 t^3).

    Returns:
        float32 [N * frames, nz] if closed, else [(N - 1) * frames + 1, nz].

    Raises:
        UserError: without stations or steps, or for another easing.
    """
    if easing not in EASINGS:
        raise UserError(f"easing={easing!r}: allowed is {' | '.join(EASINGS)}")
    if frames < 1 or not len(stations):
        raise UserError(f"a walk of {frames} frames between {len(stations)} stations: give at least 1 of each")
    shares = np.arange(frames) / frames
    if easing == "smooth":
        shares = shares**2 * (3 - 2 * shares)
    ends = np.roll(stations, -1, axis=0) if closed else stations[1:]
    segments = [
        interpolate(start, end, shares, spherical=spherical) for start, end in zip(stations, ends, strict=False)
    ]
    last = [] if closed else [np.asarray(stations[-1:], np.float32)]
    return np.concatenate([*segments, *last])
