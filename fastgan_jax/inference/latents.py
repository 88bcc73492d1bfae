"""Latents of seeds, or of a file such as `fastgan project` writes. Quick to import."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import user_path

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler


class SavedLatents(NamedTuple):
    """The latents in an .npz file, and how their images are generated."""

    z: np.ndarray  # float32 [N, nz]
    noise_seed: int | None = None  # of the noise that the images share, if they do
    label: int | None = None  # the class of all images, if they have one


def read_latents(path: str | Path) -> SavedLatents:
    """Latents from an .npz such as `fastgan project` writes, or UserError; only its `z` is required."""
    try:
        with np.load(user_path(path)) as archive:
            z = np.asarray(archive["z"], np.float32)
            noise_seed = int(archive["noise_seed"]) if "noise_seed" in archive else None
            labels = set(archive["labels"].tolist()) if "labels" in archive else set()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile):
        raise UserError(f"{path} holds no latents z: give the projected.npz of a projection") from None
    if z.ndim != 2 or not len(z):
        raise UserError(f"{path}: z has shape {list(z.shape)}, not [N, nz]")
    return SavedLatents(z, noise_seed, labels.pop() if len(labels) == 1 else None)


def latents_of(sampler: "Sampler", chosen: list[int] | SavedLatents) -> SavedLatents:
    """The first latent of each seed, or the latents of a file as they are."""
    if isinstance(chosen, SavedLatents):
        return chosen
    return SavedLatents(np.concatenate([sampler.latents(1, seed) for seed in chosen]))
