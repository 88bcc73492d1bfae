"""Tasks that D learns beside its own on real images (paper, table 6): to each a linear head on D's last map, f2.

Auto-encoding, the method's own, is elsewhere: `model.decoders`. To add a task, enter it in TASKS.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

ROTATION = "rotation"  # the task that takes rotated images
QUARTERS = 4


class Facts(NamedTuple):
    """What is known of each image of a batch or set, [B] each; it takes the place of the labels where tasks need it."""

    label: jax.Array  # int32: class; zeros without classes
    instance: jax.Array  # int32: row of the image in the training set
    log_aspect: jax.Array  # float32: natural logarithm of width / height of the file


class Task(NamedTuple):
    """One task.

    Attributes:
        outputs: number of training images -> outputs of the head.
        loss: (predictions [B, outputs], facts, quarter turns int32 [B] or None) -> scalar.
    """

    outputs: Callable[[int], int]
    loss: Callable[[jax.Array, Facts, jax.Array | None], jax.Array]


def cross_entropy(predicted: jax.Array, classes: jax.Array) -> jax.Array:
    """Mean cross-entropy of logits [B, K] with classes int32 [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(predicted, classes).mean()


def contrastive(predicted: jax.Array, facts: Facts, turns: jax.Array | None) -> jax.Array:
    """Each training image is a class of its own."""
    return cross_entropy(predicted, facts.instance)


def aspect(predicted: jax.Array, facts: Facts, turns: jax.Array | None) -> jax.Array:
    """Mean squared error of the logarithm of the aspect that the image had before it was fitted."""
    return jnp.square(predicted[:, 0] - facts.log_aspect).mean()


def rotation(predicted: jax.Array, facts: Facts, turns: jax.Array | None) -> jax.Array:
    """By how many quarter turns an image was rotated (Chen et al. 2019)."""
    return cross_entropy(predicted, turns)


# model.self_supervision
TASKS = {
    "contrastive": Task(lambda images: images, contrastive),
    "aspect": Task(lambda images: 1, aspect),
    ROTATION: Task(lambda images: QUARTERS, rotation),
}


def rotate(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Each image of [B, R, R, C] by its number 0..3 of quarter turns, counterclockwise."""
    rotated = jnp.stack([jnp.rot90(images, number, (1, 2)) for number in range(QUARTERS)])
    return rotated[turns, jnp.arange(len(images))]
