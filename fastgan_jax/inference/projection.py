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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fastgan_jax.errors import UserError
from fastgan_jax.gan.losses import Distance, l2
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.inference.sampler import Sampler, draw_noise, noise_keys
from fastgan_jax.models.generator import Generator
from fastgan_jax.pretrained.networks import PERCEPTUAL, load_perceptual
from fastgan_jax.utils.devices import along_batch, in_full_precision, local_mesh, on_all
from fastgan_jax.utils.images import OverBatches, padded_batches, rgb_of_units, to_unit

SMALLEST_POOLED = 64  # pixels: perceptual networks see little in less


@dataclass(frozen=True)
class Projection:
    """Latents found for images; `images` equal `sampler.generate(z, labels=labels, noise_seed=noise_seed)`."""

    z: np.ndarray  # float32 [N, nz]
    images: np.ndarray  # uint8 [N, H, W, C]
    noise_seed: int  # of the noise that all images share
    labels: list[int] | None  # the class of each image; None for an unconditional generator
    measure: str  # name of the distance, such as "LPIPS (vgg)"
    start_distances: np.ndarray  # of the targets from the images that the search began with, [N]
    distances: np.ndarray  # of the targets from `images`, [N]
    losses: np.ndarray  # what was minimized, before the first update and after each: [updates + 1, N]


def project(
    sampler: Sampler,
    targets: np.ndarray,
    network: str | None,
    params: dict[str, Any] | None = None,
    options: ProjectionOptions | None = None,
    *,
    labels: Sequence[int] | int | None = None,
    on_progress: Callable[[int], None] = lambda updates: None,
) -> Projection:
    """Finds latents whose images come near to given ones.

    Args:
        sampler: the generator.
        targets: uint8 [N, H, W, C] of the generator's resolution and channels.
        network: a name of `pretrained.networks.PERCEPTUAL`; None: the mean squared difference alone is minimized.
        params: the network's parameters; None: found by `load_perceptual`.
        options: None: the defaults.
        labels: class of each image, or one of all, for a conditional generator.
        on_progress: called after each update with the number of batches that made it, one on each device; of
            `updates * ceil(N / batch_size)` in all.

    Returns:
        The latents of least loss. Equal arguments give equal results on the same machine.

    Raises:
        UserError: if an argument is out of its range or does not fit the generator, or weights cannot be had.
    """
    options = options or ProjectionOptions()
    options.check()
    targets = _check_targets(sampler, targets)
    classes = sampler.check_labels(labels, len(targets))
    if network is not None:
        if network not in PERCEPTUAL:
            raise UserError(f"network={network!r}: must be one of {', '.join(PERCEPTUAL)}")
        params = jax.device_put(load_perceptual(network) if params is None else params)
    backbone = None if network is None else PERCEPTUAL[network].backbone
    objective = Objective(sampler.generator, backbone, options.mse_weight, options.prior_weight, options.learning_rate)
    generate = partial(sampler.generate, noise_seed=options.noise_seed)
    measure = OverBatches(Objective.measure, options.batch_size, static=(objective,), fixed=(params,))
    latents = sampler.latents(options.starts, options.seed)

    @functools.cache
    def candidates(label: int) -> np.ndarray:
        """The images of one class of all latents at which a search may begin."""
        return generate(latents, labels=None if labels is None else label)

    def nearest(target: np.ndarray, label: int) -> int:
        images = candidates(label)
        return measure(np.broadcast_to(target, images.shape), images).argmin()

    starts = latents[[nearest(*own) for own in zip(targets, classes.tolist(), strict=True)]]
    mesh = local_mesh() if len(targets) > options.batch_size else None  # each device has batches of that size
    # Bound to devices like what the first update returns; otherwise the second one would be compiled anew.
    variables, params, key = _bound((sampler.variables, params, noise_keys(latents[:1], options.noise_seed)), mesh)
    found, losses = [], []
    for batch, rows in padded_batches(options.batch_size * (mesh.size if mesh else 1), targets, classes, starts):
        *batch, z = _bound(batch, mesh, axis=0)
        fixed = objective.prepare(params, *batch, key)
        begin = (z, objective.optimizer.init(z), z, np.full(len(z), np.inf, np.float32))
        search = partial(objective.update, variables, params, fixed)
        done = partial(on_progress, -(-rows // options.batch_size))
        best_z, history = _search(search, _bound(begin, mesh, axis=0), options.updates, done)
        found.append(best_z[:rows])
        losses.append(history[:, :rows])
    z = np.concatenate(found)
    images = generate(z, labels=labels)
    return Projection(
        z=z,
        images=images,
        noise_seed=options.noise_seed,
        labels=None if labels is None else classes.tolist(),
        measure="mean squared difference" if network is None else PERCEPTUAL[network].measure,
        start_distances=measure(targets, generate(starts, labels=labels)),
        distances=measure(targets, images),
        losses=np.concatenate(losses, axis=1),
    )


@dataclass(frozen=True)
class Objective:
    """What is minimized, and how: everything that the compiled programs depend on besides arrays."""

    generator: Generator
    backbone: str | None  # a name of `lpips.BACKBONES`; None: the mean squared difference alone
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

    @partial(jax.jit, static_argnums=0)
    def prepare(self, params: Any, targets: jax.Array, labels: jax.Array, key: jax.Array) -> tuple:
        """What stays the same in a search for uint8 [B, R, R, C] with the noise of a key uint32 [1, 2]."""
        images = to_unit(targets)
        return images, self.distance.embed(params, images), labels, draw_noise(self.generator, key)

    @partial(jax.jit, static_argnums=0)
    def update(self, variables: dict, params: Any, fixed: tuple, search: tuple) -> tuple[tuple, jax.Array]:
        """One update of Adam, and the losses [B] before it.

        A search is latents [B, nz], Adam's state, and of all latents so far those of least loss, since Adam at a
        constant rate wanders around them, and their losses [B].
        """
        targets, embedded, labels, noise = fixed
        z, adam, best_z, best_loss = search

        def total(z: jax.Array) -> tuple[jax.Array, jax.Array]:
            images, _ = self.generator.apply(variables, z, noise, labels, train=False)
            losses = self.distance(params, images, embedded)
            if self.backbone is not None:
                losses = losses + self.mse_weight * l2(images, targets)
            deviation = (jnp.square(z).mean(1) - 1) / math.sqrt(2 / z.shape[1])  # chi-squared: its variance is 2 nz
            losses = losses + self.prior_weight * jnp.square(deviation)
            return losses.sum(), losses

        (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(z)
        best_z = jnp.where((losses < best_loss)[:, None], z, best_z)
        change, adam = self.optimizer.update(gradient, adam)
        return (z + change, adam, best_z, jnp.fmin(losses, best_loss)), losses

    @partial(jax.jit, static_argnums=0)
    @in_full_precision
    def measure(self, params: Any, first: jax.Array, second: jax.Array) -> jax.Array:
        """The distance between images, uint8 [B, R, R, C] twice: [B]."""
        return self.distance(params, to_unit(second), self.distance.embed(params, to_unit(first)))


def _search(
    update: Callable[[tuple], tuple[tuple, jax.Array]], search: tuple, updates: int, on_progress: Callable[[], None]
) -> tuple[np.ndarray, np.ndarray]:
    """The latents of least loss [B, nz] for one batch of targets, and all losses [updates + 1, B]."""
    losses = []
    for index in range(updates + 1):  # the last one for the losses after the others
        search, loss = update(search)
        losses.append(loss)
        if index:
            losses[-2].block_until_ready()  # the device has one more to do meanwhile
            on_progress()
    return np.asarray(search[2]), np.stack(losses)


def _bound(tree: Any, mesh: Mesh | None, axis: int | None = None) -> Any:
    """A tree of arrays on one device, or on those of a mesh: each whole, or cut along `axis` if it has any."""

    def place(x: Any) -> jax.Array:
        cut = axis is not None and np.ndim(x)
        return jax.device_put(x, along_batch(mesh, axis) if cut else on_all(mesh))

    return jax.device_put(tree, jax.local_devices()[0]) if mesh is None else jax.tree.map(place, tree)


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
