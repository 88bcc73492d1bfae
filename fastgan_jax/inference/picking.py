"""The best of several images, by the trained discriminator."""

from functools import partial

import jax
import numpy as np

from fastgan_jax.inference.restore import TrainedDiscriminator
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import small_side
from fastgan_jax.utils.images import RESIZES, map_batches, to_unit

CHUNK = 8  # images per device call


def realness(trained: TrainedDiscriminator, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean logit of images uint8 [N, R, R, C] of classes int32 [N], by the discriminator's running averages: [N].

    Higher is more like the training images; the scale differs from run to run.
    """
    score = partial(_mean_logit, trained.discriminator, trained.config.model.resize, trained.variables)
    return map_batches(score, CHUNK, images, labels)


@partial(jax.jit, static_argnums=(0, 1))
def _mean_logit(
    discriminator: Discriminator, resize: str, variables: dict, images: jax.Array, labels: jax.Array
) -> jax.Array:
    full = to_unit(images)
    small = RESIZES[resize](full, small_side(discriminator.resolution))
    return discriminator.apply(variables, full, small, None, labels, train=False).logits.mean(1)
