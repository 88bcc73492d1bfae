"""Tasks of the discriminator beside its own: their losses by hand, rotation, and that each is learned."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw

from configs import smoke
from fastgan_jax.build import spec_from_config
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.self_supervision import TASKS, Facts, rotate
from fastgan_jax.gan.spec import NO_PRETRAINED
from fastgan_jax.gan.state import apply_gradients, create_train_state
from fastgan_jax.gan.step import augment_real, discriminator_gradient, discriminator_passes, see
from fastgan_jax.models.generator import small_side
from fastgan_jax.utils.images import resize_nearest, to_unit

FACTS = Facts(jnp.zeros(2, jnp.int32), jnp.array([0, 2]), jnp.array([0.0, math.log(2)]))


def test_losses_by_hand():
    logits = jnp.log(jnp.array([[1.0, 2.0, 1.0], [1.0, 1.0, 6.0]]))  # probabilities 1/4 and 3/4 of the right classes
    expected = (math.log(4) + math.log(4 / 3)) / 2
    assert float(TASKS["contrastive"].loss(logits, FACTS, None)) == pytest.approx(expected, rel=1e-6)
    turned = TASKS["rotation"].loss(logits, FACTS, jnp.array([1, 2]))  # 1/2 and 3/4
    assert float(turned) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)
    predicted = jnp.array([[0.5], [0.0]])
    aspect = TASKS["aspect"].loss(predicted, FACTS, None)
    assert float(aspect) == pytest.approx((0.25 + math.log(2) ** 2) / 2, rel=1e-6)


def test_each_image_is_rotated_by_its_own_turns():
    images = np.random.RandomState(0).rand(5, 4, 4, 3).astype(np.float32)
    turns = [0, 1, 2, 3, 1]
    expected = np.stack([np.rot90(image, number) for image, number in zip(images, turns, strict=True)])
    np.testing.assert_array_equal(jax.jit(rotate)(images, jnp.array(turns)), expected)


def scenes(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawings of a disk on hatching over a ground, squashed to 64x64, and the logarithms of their aspects."""
    images, aspects = [], []
    for seed in range(first, first + count):
        draws = np.random.RandomState(seed)
        width, height = draws.randint(48, 145, 2)
        image = Image.new("RGB", (width, height), tuple(draws.randint(100, 256, 3)))
        pen, radius = ImageDraw.Draw(image), draws.randint(10, 14)
        for start in range(-height, width, 12):  # whose slope tells the aspect
            pen.line((start, 0, start + height, height), fill=tuple(draws.randint(0, 120, 3)), width=4)
        pen.rectangle((0, int(height * draws.uniform(0.6, 0.8)), width, height), fill=tuple(draws.randint(0, 120, 3)))
        x, y = int(width * 0.35), int(height * 0.35)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(draws.randint(0, 120, 3)))
        images.append(np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)))
        aspects.append(math.log(width / height))
    return np.stack(images), np.float32(aspects)


@pytest.mark.slow
def test_each_head_learns_its_task_on_images_that_it_did_not_see():
    """Of D's whole update; other drawings are held out, for contrastive other augmentations of the same ones."""
    known, batch = 64, 16
    config = smoke.get_config()
    config.data.flip = False
    config.model.update(ndf=8, decoders="", num_instances=known, self_supervision="contrastive,aspect,rotation")
    config.optim.learning_rate = 3e-3
    spec = spec_from_config(config)
    state = create_train_state(jax.random.key(0), spec)
    fakes = (jnp.zeros((batch, 64, 64, 3)), jnp.zeros((batch, 32, 32, 3)))
    drawings, aspects = scenes(0, known)
    facts = Facts(jnp.zeros(known, jnp.int32), jnp.arange(known), jnp.asarray(aspects))

    @jax.jit
    def update(d, rows, key):
        draws, own = draw_step(key, spec, batch), jax.tree.map(lambda x: x[rows], facts)
        real = augment_real(spec, to_unit(jnp.asarray(drawings)[rows]), draws)
        seen, passes = see(spec, NO_PRETRAINED, d, (real, fakes), own, draws), discriminator_passes(d)
        gradient, stats, metrics = discriminator_gradient(spec, None, passes, seen, {}, draws, state)
        return apply_gradients(passes[1], spec.optimizer, gradient, batch_stats=stats), metrics

    d = state.discriminator
    for iteration in range(120):
        d, metrics = update(d, (jnp.arange(batch) + batch * iteration) % known, jax.random.key(iteration))
    assert all(np.isfinite(value) for value in metrics.values())

    @jax.jit
    def predict(images):
        output, _ = spec.discriminator.apply(
            d.variables, images, resize_nearest(images, small_side(64)), train=True, mutable=["batch_stats"]
        )
        return output.predictions

    again = augment_real(spec, to_unit(drawings), draw_step(jax.random.key(1000), spec, known))
    held, held_aspects = scenes(known, known)
    turns = jnp.arange(known) % 4
    instances = predict(again)["contrastive"].argmax(1) == facts.instance
    rotations = predict(rotate(to_unit(held), turns))["rotation"].argmax(1) == turns
    errors = jnp.square(predict(to_unit(held))["aspect"][:, 0] - held_aspects)
    found = {
        "contrastive": instances.mean(),
        "rotation": rotations.mean(),
        "aspect": errors.mean() / held_aspects.var(),
    }
    print({name: round(float(value), 3) for name, value in found.items()})
    assert found["contrastive"] > 10 / known  # chance: 1 / known
    assert found["rotation"] > 0.6  # chance: 1 / 4
    assert found["aspect"] < 0.6  # of the variance; the mean as a guess has 1
