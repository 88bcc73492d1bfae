"""Latent back-tracking, the paper's test for mode collapse: latents whose images come nearest to given ones.

From the best of some sampled latents, Adam lowers the LPIPS distance between the generated image and its target, both
average-pooled by two, plus a share of their mean squared difference. Three things are chosen here:

- Images are pooled where at least 64 pixels remain, so from 128 up; smaller ones are compared whole.
- Latents stay where the generator was trained: the loss contains, with a small weight, the square of how many standard
  deviations |z|^2 is away from its mean for standard normal latents, nz.
- The noise is fixed while the latent moves, and it is that of `Sampler.generate(z, noise_seed=...)`: so the latent and
  the number give the image again, exactly.

The loss is a sum over images, whose gradients do not touch each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.perceptual import PerceptualDistance
from fastgan_jax.inference import latent_search
from fastgan_jax.inference.latent_search import Objective
from fastgan_jax.inference.sampler import Sampler, noise_keys
from fastgan_jax.pretrained.networks import PERCEPTUAL, load_perceptual

LONGEST_CALL = 25  # updates per call of the device program, except on CPU
L2_MEASURE = "mean squared difference"
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Projection:
    """Latents found for images.

    Attributes:
        z: float32 [N, nz].
        images: uint8 [N, H, W, C], equal to `sampler.generate(z, labels=labels, noise_seed=noise_seed)`.
        noise_seed: of the noise that all images share.
        labels: the class of each image; None for an unconditional generator.
        measure: what the distances are called, such as "LPIPS (vgg)".
        start_distances: of the targets from the images that the search began with, [N].
        distances: of the targets from `images`, [N].
        losses: what was minimized, before the first update and after each: [updates + 1, N].
    """

    z: np.ndarray
    images: np.ndarray
    noise_seed: int
    labels: list[int] | None
    measure: str
    start_distances: np.ndarray
    distances: np.ndarray
    losses: np.ndarray


def project(
    sampler: Sampler,
    targets: np.ndarray,
    network: str | None,
    params: dict[str, Any] | None = None,
    *,
    updates: int = 1000,
    learning_rate: float = 0.1,
    mse_weight: float = 0.2,
    prior_weight: float = 0.01,
    starts: int = 64,
    seed: int = 0,
    noise_seed: int = 0,
    labels: Sequence[int] | None = None,
    batch_size: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> Projection:
    """Finds latents whose images come near to given ones.

    Args:
        sampler: the generator.
        targets: uint8 [N, H, W, C] of the generator's resolution and channels.
        network: a name of `pretrained.networks.PERCEPTUAL`; None: by the mean squared difference alone.
        params: the network's parameters; None: found by `load_perceptual`.
        updates: of Adam; paper: 1,000.
        learning_rate: of Adam; paper: 0.1.
        mse_weight: of the mean squared difference of images in [-1, 1], beside LPIPS; paper: 0.2.
        prior_weight: of the squared deviation of |z|^2, in standard deviations, see above.
        starts: how many latents are sampled; each search begins at the one whose image is nearest to its target.
        seed: of these latents, from 0 to 2^32 - 1.
        noise_seed: of the noise that all images share, from 0 to 2^32 - 1.
        labels: class of each image, for a conditional generator.
        batch_size: images that are searched for together. The last chunk is padded to it, so that what is found for
            an image does not depend on the others; it depends on this number by rounding.
        on_progress: called now and then with the number of updates made since the last call, of
            `updates * ceil(N / batch_size)` in all.

    Returns:
        The latents of least loss, see `Projection`. Equal arguments give equal results on the same machine.

    Raises:
        UserError: if an argument is out of its range or does not fit the generator, or weights cannot be had.
    """
    targets = _check_targets(sampler, targets)
    _check_numbers(updates, learning_rate, mse_weight, prior_weight, starts, batch_size)
    _check_seeds(seed=seed, noise_seed=noise_seed)
    if network is not None and network not in PERCEPTUAL:
        raise UserError(f"network={network!r}: allowed is {' | '.join(PERCEPTUAL)}")
    if network is not None:
        params = jax.device_put(load_perceptual(network) if params is None else params)
    backbone = None if network is None else PERCEPTUAL[network].backbone
    # Bound to a device like what the first update returns; otherwise the second one would be compiled anew.
    variables = jax.device_put(sampler.variables, jax.local_devices()[0])
    objective = Objective(sampler.generator, backbone, mse_weight, prior_weight, learning_rate)

    generate = partial(sampler.generate, noise_seed=noise_seed)
    nearest = _nearest_starts(generate, targets, network, params, sampler.latents(starts, seed), labels)
    classes = np.zeros(len(targets), np.int32) if labels is None else np.asarray(labels, np.int32)
    found = []
    for first in range(0, len(targets), batch_size):
        arrays = [x[first : first + batch_size] for x in (targets, nearest, classes)]
        chunk = [_padded(array, batch_size) for array in arrays]
        z, losses = _search(objective, variables, params, *chunk, noise_seed, updates, on_progress or (lambda _: None))
        found.append((z[: len(arrays[0])], losses[:, : len(arrays[0])]))
    z = np.concatenate([part for part, _ in found])
    images = generate(z, labels=labels)
    measure = partial(_distances, objective, params, targets, batch_size=batch_size)
    return Projection(
        z=z,
        images=images,
        noise_seed=noise_seed,
        labels=None if labels is None else classes.tolist(),
        measure=L2_MEASURE if network is None else PERCEPTUAL[network].measure,
        start_distances=measure(generate(nearest, labels=labels)),
        distances=measure(images),
        losses=np.concatenate([losses for _, losses in found], axis=1),
    )


def _check_targets(sampler: Sampler, targets: np.ndarray) -> np.ndarray:
    targets, side, channels = np.asarray(targets), sampler.resolution, sampler.generator.channels
    if targets.dtype != np.uint8 or targets.ndim != 4 or targets.shape[1:] != (side, side, channels):
        raise UserError(
            f"targets are {targets.dtype} of shape {list(targets.shape)}: this generator needs uint8 of shape "
            f"[N, {side}, {side}, {channels}]"
        )
    if not len(targets):
        raise UserError("there are 0 targets: give at least one image")
    return targets


def _check_numbers(
    updates: int, learning_rate: float, mse_weight: float, prior_weight: float, starts: int, batch_size: int
) -> None:
    for name, value in {"updates": updates, "starts": starts, "batch_size": batch_size}.items():
        if value < 1:
            raise UserError(f"{name}={value}: give at least 1")
    if not 0 < learning_rate < math.inf:
        raise UserError(f"learning_rate={learning_rate}: give a number above 0, such as 0.1")
    for name, value in {"mse_weight": mse_weight, "prior_weight": prior_weight}.items():
        if not 0 <= value < math.inf:
            raise UserError(f"{name}={value}: give 0 or more")


def _check_seeds(**seeds: int) -> None:
    for name, seed in seeds.items():
        if not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"{name}={seed}: a seed is from 0 to {LARGEST_SEED}")


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


def _nearest_starts(
    generate: Callable[..., np.ndarray],
    targets: np.ndarray,
    network: str | None,
    params: Any,
    candidates: np.ndarray,
    labels: Sequence[int] | None,
) -> np.ndarray:
    """For each target the candidate [K, nz] whose image, of the target's class, is nearest to it: [N, nz]."""
    if labels is not None and len(labels) != len(targets):
        raise UserError(f"there are {len(labels)} labels for {len(targets)} targets: give one for each")
    matrix = _l2_matrix if network is None else PerceptualDistance(network, params).matrix
    nearest = np.zeros(len(targets), np.int64)
    for label in [None] if labels is None else sorted(set(labels)):
        images = generate(candidates, labels=None if label is None else [label] * len(candidates))
        rows = [row for row in range(len(targets)) if label is None or labels[row] == label]
        nearest[rows] = matrix(targets[rows], images).argmin(1)
    return candidates[nearest]


def _l2_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean squared differences of uint8 [M, H, W, C] from uint8 [N, H, W, C]: [M, N]."""
    return np.array([[np.square(np.float32(a) - np.float32(b)).mean() for b in second] for a in first])


def _search(
    objective: Objective,
    variables: Any,
    params: Any,
    targets: np.ndarray,
    z: np.ndarray,
    labels: np.ndarray,
    noise_seed: int,
    updates: int,
    on_progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """The latents of least loss [B, nz] for one chunk of targets, and all losses [updates + 1, B]."""
    fixed = latent_search.prepare(objective, params, targets, labels, noise_keys(z[:1], noise_seed))
    search = jax.device_put(latent_search.begin(objective, z), jax.local_devices()[0])
    block = updates_per_call(updates, jax.default_backend())
    losses = []
    for _ in range(updates // block):
        search, part = latent_search.update(objective, block, variables, params, fixed, search)
        losses.append(np.asarray(part))
        on_progress(block)
    search, last = latent_search.finish(objective, variables, params, fixed, search)
    return np.asarray(search.best_z), np.concatenate([*losses, np.asarray(last)[None]])


def updates_per_call(updates: int, backend: str) -> int:
    """The largest divisor of `updates` up to LONGEST_CALL; on CPU 1, where gradients of convolutions crawl in loops."""
    return 1 if backend == "cpu" else max(k for k in range(1, LONGEST_CALL + 1) if updates % k == 0)


def _distances(
    objective: Objective, params: Any, first: np.ndarray, second: np.ndarray, *, batch_size: int
) -> np.ndarray:
    """The distance part of the loss between saved images, uint8 [N, R, R, C] twice: [N]."""
    parts = []
    for start in range(0, len(first), batch_size):
        pair = [_padded(x[start : start + batch_size], batch_size) for x in (first, second)]
        parts.append(np.asarray(latent_search.distance(objective, params, *pair))[: len(first) - start])
    return np.concatenate(parts)
