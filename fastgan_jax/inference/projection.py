"""Latent back-tracking, the paper's test for mode collapse: latents whose images come nearest to given ones.

From the best of some sampled latents, Adam lowers the LPIPS distance between the generated image and its target, both
average-pooled by two, plus a share of their mean squared difference. Three things are choices of this implementation:

- Images are pooled where at least 64 pixels remain, so from 128 up; smaller ones are compared whole.
- Latents stay where the generator was trained: the loss contains, with a small weight, the square of how many standard
  deviations |z|^2 is away from its mean for standard normal latents, nz.
- The noise is fixed while the latent moves, and it is that of `Sampler.generate(z, noise_seed=...)`: so the latent and
  the number reproduce the image exactly.

The loss is a sum over images, so that the search for one image does not affect another.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fastgan_jax.errors import UserError
from fastgan_jax.gan.losses import Distance, l2
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.inference.sampler import Sampler, draw_noise, noise_keys
from fastgan_jax.models.generator import Generator
from fastgan_jax.pretrained.networks import PERCEPTUAL, load_perceptual
from fastgan_jax.utils.images import map_batches, padded_batches, to_unit

LONGEST_CALL = 25  # updates per call of the device program, except on CPU
L2_MEASURE = "mean squared difference"
SMALLEST_POOLED = 64  # pixels: perceptual networks see little in less


@dataclass(frozen=True)
class Projection:
    """Latents found for images.

    Attributes:
        z: float32 [N, nz].
        images: uint8 [N, H, W, C], equal to `sampler.generate(z, labels=labels, noise_seed=noise_seed)`.
        noise_seed: of the noise that all images share.
        labels: the class of each image; None for an unconditional generator.
        measure: name of the distance, such as "LPIPS (vgg)".
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
    options: ProjectionOptions | None = None,
    *,
    labels: Sequence[int] | None = None,
    on_progress: Callable[[int], None] = lambda updates: None,
) -> Projection:
    """Finds latents whose images come near to given ones.

    Args:
        sampler: the generator.
        targets: uint8 [N, H, W, C] of the generator's resolution and channels.
        network: a name of `pretrained.networks.PERCEPTUAL`; None: the mean squared difference alone is minimized.
        params: the network's parameters; None: found by `load_perceptual`.
        options: None: the defaults.
        labels: class of each image, for a conditional generator.
        on_progress: called now and then with the number of updates made since the last call, of
            `updates * ceil(N / batch_size)` in all.

    Returns:
        The latents of least loss, see `Projection`. Equal arguments give equal results on the same machine.

    Raises:
        UserError: if an argument is out of its range or does not fit the generator, or weights cannot be had.
    """
    options = options or ProjectionOptions()
    options.check()
    targets = _check_targets(sampler, targets)
    if labels is not None and len(labels) != len(targets):
        raise UserError(f"there are {len(labels)} labels for {len(targets)} targets: give one for each")
    if network is not None:
        if network not in PERCEPTUAL:
            raise UserError(f"network={network!r}: must be one of {', '.join(PERCEPTUAL)}")
        params = jax.device_put(load_perceptual(network) if params is None else params)
    backbone = None if network is None else PERCEPTUAL[network].backbone
    objective = Objective(sampler.generator, backbone, options.mse_weight, options.prior_weight, options.learning_rate)
    generate = partial(sampler.generate, noise_seed=options.noise_seed)
    latents = sampler.latents(options.starts, options.seed)

    @functools.cache
    def candidates(label: int | None) -> np.ndarray:
        """The images of one class of all latents at which a search may begin."""
        return generate(latents, labels=None if label is None else [label] * len(latents))

    # Bound to a device like what the first update returns; otherwise the second one would be compiled anew.
    variables = jax.device_put(sampler.variables, jax.local_devices()[0])
    key = noise_keys(latents[:1], options.noise_seed)
    classes = np.zeros(len(targets), np.int32) if labels is None else np.asarray(labels, np.int32)
    starts, found, losses = [], [], []
    for (batch, own), rows in padded_batches(options.batch_size, targets, classes):
        fixed = objective.prepare(params, batch, own, key)
        z = latents[_nearest(objective, params, fixed, candidates, None if labels is None else own)]
        best_z, history = _search(objective, variables, params, fixed, z, options.updates, on_progress)
        starts.append(z[:rows])
        found.append(best_z[:rows])
        losses.append(history[:, :rows])
    z = np.concatenate(found)
    images = generate(z, labels=labels)
    measure = partial(map_batches, partial(objective.measure, params), options.batch_size, targets)
    return Projection(
        z=z,
        images=images,
        noise_seed=options.noise_seed,
        labels=None if labels is None else classes.tolist(),
        measure=L2_MEASURE if network is None else PERCEPTUAL[network].measure,
        start_distances=measure(generate(np.concatenate(starts), labels=labels)),
        distances=measure(images),
        losses=np.concatenate(losses, axis=1),
    )


class Search(NamedTuple):
    """The state of a search for a batch of images.

    Attributes:
        z: latents [B, nz].
        adam: the optimizer's state.
        best_z: of all latents so far those of least loss, [B, nz]; Adam at a constant rate wanders around them.
        best_loss: their losses [B].
    """

    z: jax.Array
    adam: Any
    best_z: jax.Array
    best_loss: jax.Array


@dataclass(frozen=True)
class Objective:
    """What is minimized, and how: everything that the compiled programs depend on besides arrays.

    Attributes:
        generator: the module.
        backbone: a name of `lpips.BACKBONES`; None: the mean squared difference alone.
        mse_weight, prior_weight, learning_rate: see `ProjectionOptions`.
    """

    generator: Generator
    backbone: str | None
    mse_weight: float
    prior_weight: float
    learning_rate: float

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)

    @property
    def distance(self) -> Distance:
        """The distance of images [B, R, R, C] in [-1, 1]."""
        if self.backbone is None:
            return Distance.of_images(l2)
        lpips = Distance.lpips(self.backbone)
        return Distance(lambda params, images: lpips.embed(params, rgb_of_units(_pooled(images))), lpips.compare)

    def begin(self, z: np.ndarray) -> Search:
        """A search at latents [B, nz]."""
        z = jnp.asarray(z)
        return Search(z, self.optimizer.init(z), z, jnp.full(len(z), jnp.inf, z.dtype))

    @partial(jax.jit, static_argnums=0)
    def prepare(self, params: Any, targets: jax.Array, labels: jax.Array, key: jax.Array) -> dict[str, Any]:
        """What stays the same during a search.

        Args:
            params: parameters of the perceptual network; None without one.
            targets: uint8 [B, R, R, C].
            labels: int32 [B]; an unconditional generator ignores them.
            key: key data uint32 [1, 2] of the noise that all images share.

        Returns:
            The targets in [-1, 1], their embeddings, the labels and the noise maps.
        """
        images = to_unit(targets)
        noise = draw_noise(self.generator.resolution, key)
        return {
            "targets": images,
            "embedded": self.distance.embed(params, images),
            "labels": labels,
            "noise": noise,
        }

    @partial(jax.jit, static_argnums=(0, 1))
    def update(
        self, updates: int, variables: dict, params: Any, fixed: dict, search: Search
    ) -> tuple[Search, jax.Array]:
        """Several updates of Adam, and the losses [updates, B] before each."""

        def total(z: jax.Array) -> tuple[jax.Array, jax.Array]:
            images, _ = self.generator.apply(variables, z, fixed["noise"], fixed["labels"], train=False)
            losses = self.distance(params, images, fixed["embedded"])
            if self.backbone is not None:
                losses = losses + self.mse_weight * l2(images, fixed["targets"])
            deviation = (jnp.square(z).mean(1) - 1) / math.sqrt(2 / z.shape[1])  # chi-squared: its variance is 2 nz
            losses = losses + self.prior_weight * jnp.square(deviation)
            return losses.sum(), losses

        def step(search: Search, _: None) -> tuple[Search, jax.Array]:
            z, best_z, best_loss = search.z, search.best_z, search.best_loss
            (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(z)
            best_z = jnp.where((losses < best_loss)[:, None], z, best_z)
            change, adam = self.optimizer.update(gradient, search.adam)
            return Search(z + change, adam, best_z, jnp.fmin(losses, best_loss)), losses

        if updates == 1:
            search, losses = step(search, None)
            return search, losses[None]
        return jax.lax.scan(step, search, length=updates)

    @partial(jax.jit, static_argnums=0)
    def measure(self, params: Any, first: jax.Array, second: jax.Array) -> jax.Array:
        """The distance between images, uint8 [B, R, R, C] twice: [B]."""
        return self.distance(params, to_unit(second), self.distance.embed(params, to_unit(first)))

    @partial(jax.jit, static_argnums=0)
    def measure_all(self, params: Any, fixed: dict, images: jax.Array) -> jax.Array:
        """The distance of each image, uint8 [K, R, R, C], from each target: [K, B]."""

        def from_all(embedded: Any) -> jax.Array:
            same = jax.tree.map(lambda one, all: jnp.broadcast_to(one, all.shape), embedded, fixed["embedded"])
            return self.distance.compare(params, same, fixed["embedded"])

        return jax.lax.map(from_all, self.distance.embed(params, to_unit(images)))


def rgb_of_units(images: jax.Array) -> jax.Array:
    """Images in [-1, 1] of 1, 3 or 4 channels as RGB, like `utils.images.rgb`: transparency is laid on white."""
    if images.shape[-1] == 1:
        return jnp.repeat(images, 3, axis=-1)
    if images.shape[-1] == 4:
        alpha = (images[..., 3:] + 1) / 2
        return images[..., :3] * alpha + 1 - alpha
    return images


def _pooled(images: jax.Array) -> jax.Array:
    """Images [B, R, R, C], average-pooled by two where they are large enough."""
    half = images.shape[1] // 2
    if half < SMALLEST_POOLED:
        return images
    return images.reshape(-1, half, 2, half, 2, images.shape[-1]).mean((2, 4))


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


def _nearest(
    objective: Objective,
    params: Any,
    fixed: dict,
    candidates: Callable[[int | None], np.ndarray],
    labels: np.ndarray | None,
) -> np.ndarray:
    """For each of B targets the row of the candidate of its class (`labels` [B]) that is nearest to it: [B]."""
    size = len(fixed["targets"])
    measure = partial(objective.measure_all, params, fixed)
    nearest = np.zeros(size, np.int64)
    for label in [None] if labels is None else sorted(set(labels.tolist())):
        of_class = slice(None) if label is None else labels == label
        nearest[of_class] = map_batches(measure, size, candidates(label)).argmin(0)[of_class]
    return nearest


def _search(
    objective: Objective,
    variables: Any,
    params: Any,
    fixed: dict,
    z: np.ndarray,
    updates: int,
    on_progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """The latents of least loss [B, nz] for one batch of targets, and all losses [updates + 1, B]."""
    search = jax.device_put(objective.begin(z), jax.local_devices()[0])
    block = updates_per_call(updates, jax.default_backend())
    losses = []
    for _ in range(updates // block):
        search, part = objective.update(block, variables, params, fixed, search)
        losses.append(np.asarray(part))
        on_progress(block)
    search, last = objective.update(1, variables, params, fixed, search)  # for the losses after the last one
    return np.asarray(search.best_z), np.concatenate([*losses, np.asarray(last)])


def updates_per_call(updates: int, backend: str) -> int:
    """The largest divisor of `updates` up to LONGEST_CALL; on CPU 1, where gradients of convolutions crawl in loops."""
    return 1 if backend == "cpu" else max(k for k in range(1, LONGEST_CALL + 1) if updates % k == 0)
