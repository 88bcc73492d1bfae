"""Latents of seeds, or of a file such as `fastgan project` writes. Quick to import."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import check_seed
from fastgan_jax.utils.files import user_path

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler


WIDEST = 2.0  # standard deviations times truncation: the largest value
SMALLEST_TRUNCATION = 0.01  # below, next to no value that is resampled would do
CURE = "give the projected.npz of a projection"


class SavedLatents(NamedTuple):
    """The latents in an .npz file, and how their images are generated."""

    z: np.ndarray  # float32 [N, nz]
    noise_seed: int | None = None  # of the noise that the images share, if they do
    label: int | None = None  # the class of all images, if they have one
    path: str | Path | None = None  # of the file


def read_latents(path: str | Path) -> SavedLatents:
    """Latents from an .npz such as `fastgan project` writes, or UserError; only its `z` is required."""
    z, noise_seed, labels = (_read_field(path, name) for name in ("z", "noise_seed", "labels"))
    if z is None:
        raise UserError(f"{path} holds no latents z: {CURE}")
    if z.dtype.kind not in "iuf":
        raise UserError(f"{path}: z holds values of type {z.dtype}, not numbers: {CURE}")
    z = z.astype(np.float32)
    if z.ndim != 2 or not len(z):
        raise UserError(f"{path}: z has shape {list(z.shape)}, not [N, nz]")
    if not np.isfinite(z).all():
        raise UserError(f"{path}: some values of z are not finite numbers")
    if noise_seed is not None:
        if noise_seed.dtype.kind not in "iu" or noise_seed.ndim:
            raise UserError(f"{path}: noise_seed={noise_seed}: must be one whole number: {CURE}")
        noise_seed = check_seed(int(noise_seed), f"{path}: noise_seed")
    if labels is not None and labels.dtype.kind not in "iu":
        raise UserError(f"{path}: labels hold values of type {labels.dtype}: must be whole numbers, the classes")
    classes = [] if labels is None else np.unique(labels).tolist()
    return SavedLatents(z, noise_seed, classes[0] if len(classes) == 1 else None, path)


def _read_field(path: str | Path, name: str) -> np.ndarray | None:
    """An array of an .npz file, None if it has none of this name; UserError if it cannot be read."""
    try:
        with np.load(user_path(path)) as archive:
            return archive.get(name)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        what = "no latents z" if name == "z" else f"no {name} that can be read"
        raise UserError(f"{path} holds {what}: {CURE}") from None


def latents_of(sampler: "Sampler", chosen: list[int] | SavedLatents, truncation: float = 1.0) -> SavedLatents:
    """The first latent of each seed, or the latents of a file as they are; a UserError if those are to be truncated."""
    if not isinstance(chosen, SavedLatents):
        return SavedLatents(np.concatenate([sampler.latents(1, seed, truncation=truncation) for seed in chosen]))
    if truncation != 1:
        raise UserError(f"--truncation {truncation:g} is for latents drawn from a seed, not for a file's: leave it out")
    return chosen


def draw_latent(seed: int, index: int, size: int, truncation: float = 1.0) -> np.ndarray:
    """The latent of an index of a seed: standard normal values, float64 [size].

    With `truncation` T < 1, values beyond 2 T standard deviations are resampled until none is, and all are scaled so
    that the latent's length is what it was before. The length decides on an image's contrast and colors: latents that
    are shortened give faded images.
    """
    # RandomState is numpy's frozen generator: its stream never changes and is the same on every machine.
    random = np.random.RandomState([seed, index])
    values = random.standard_normal(size)
    if truncation == 1:
        return values
    length = _length(values)
    while len(beyond := np.flatnonzero(np.abs(values) > WIDEST * truncation)):
        values[beyond] = random.standard_normal(len(beyond))
    return values * (length / _length(values))


def _length(values: np.ndarray) -> float:
    return math.sqrt(math.fsum(values**2))  # the same digits everywhere
