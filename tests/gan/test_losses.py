"""The losses against values worked out by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgan_jax.build import spec_from_config
from fastgan_jax.gan import losses
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.step import discriminator_gradient, discriminator_passes, train_step
from fastgan_jax.runs.config import validate


def test_margins_span_the_range_of_the_reference():
    np.testing.assert_allclose(losses.margins(jnp.array([0.0, 0.5, 1.0]), 0.2), [0.8, 0.9, 1.0], rtol=1e-6)


def test_hinge_by_hand():
    real, fake = jnp.array([[2.0, 0.5], [-1.0, 0.9]]), jnp.array([[-2.0, -0.5], [1.0, 0.25]])
    real_margins, fake_margins = jnp.array([[1.0, 1.0], [0.8, 0.8]]), jnp.array([[1.0, 0.9], [1.0, 0.75]])
    on_real, on_fake = losses.hinge(real, fake, real_margins, fake_margins)
    # relu(1 - 2), relu(1 - 0.5), relu(0.8 + 1), relu(0.8 - 0.9)
    np.testing.assert_allclose(on_real, (0 + 0.5 + 1.8 + 0) / 4, rtol=1e-6)
    # relu(1 - 2), relu(0.9 - 0.5), relu(1 + 1), relu(0.75 + 0.25)
    np.testing.assert_allclose(on_fake, (0 + 0.4 + 2.0 + 1.0) / 4, rtol=1e-6)


def test_relativistic_hinge_by_hand():
    real, fake = jnp.array([[1.0], [3.0]]), jnp.array([[-1.0], [0.0]])  # means 2 and -0.5
    ones = jnp.ones((2, 1))
    on_real, on_fake = losses.relativistic_hinge(real, fake, ones, ones)
    # real - mean fake = 1.5, 3.5: beyond the margin; a fake at -1 - 2 = -3 and at 0 - 2 = -2: beyond it too
    np.testing.assert_allclose([on_real, on_fake], [0.0, 0.0])
    on_real, on_fake = losses.relativistic_hinge(fake, real, ones, ones)
    # the two swapped: 1 - (-1 - 2) = 4, 1 - (0 - 2) = 3; 1 + (1 + 0.5) = 2.5, 1 + (3 + 0.5) = 4.5
    np.testing.assert_allclose([on_real, on_fake], [3.5, 3.5], rtol=1e-6)


def test_relativistic_hinge_ignores_a_common_shift_of_the_logits():
    real, fake = jax.random.normal(jax.random.key(0), (2, 3, 50))
    ones = jnp.ones((3, 50))
    plain = losses.relativistic_hinge(real, fake, ones, ones)
    shifted = losses.relativistic_hinge(real + 5, fake + 5, ones, ones)
    np.testing.assert_allclose(plain, shifted, rtol=1e-5)


def test_generator_loss_is_minus_the_mean_logit():
    np.testing.assert_allclose(losses.generator_loss(jnp.array([[1.0, 2.0], [3.0, -8.0]])), 0.5)


@pytest.mark.parametrize(("name", "expected"), [("l1", [1.0, 0.25]), ("l2", [1.0, 0.25])])
def test_distances_are_means_over_each_image(name, expected):
    prediction = jnp.zeros((2, 4, 4, 3))
    target = jnp.stack([-jnp.ones((4, 4, 3)), jnp.zeros((4, 4, 3)).at[:, 0].set(-1)])
    np.testing.assert_allclose(losses.RECONSTRUCTION[name]("vgg", None)(None, prediction, target), expected, rtol=1e-6)


def test_distances_differ_off_the_unit():
    prediction, target = jnp.zeros((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 3.0)
    np.testing.assert_allclose(losses.l1(prediction, target), [3.0])
    np.testing.assert_allclose(losses.l2(prediction, target), [9.0])


@pytest.mark.slow
def test_a_new_loss_is_one_entry(small, monkeypatch):
    """The logistic loss and a Charbonnier distance, from the configuration to the step."""

    def logistic(real, fake, real_margins, fake_margins):
        return jax.nn.softplus(-real).mean(), jax.nn.softplus(fake).mean()

    def charbonnier(first, second):
        return jnp.sqrt(jnp.square(first - second) + 1e-6).mean((1, 2, 3))

    monkeypatch.setitem(losses.ADVERSARIAL, "logistic", logistic)
    monkeypatch.setitem(
        losses.RECONSTRUCTION, "charbonnier", lambda backbone, dtype: losses.Distance.of_images(charbonnier)
    )
    config = small.config.copy_and_resolve_references()
    config.loss.adversarial, config.loss.reconstruction = "logistic", "charbonnier"
    validate(config)
    spec = spec_from_config(config)
    _, metrics = jax.eval_shape(partial(train_step, spec), small.state, small.images, small.labels)
    assert {"loss/d_real", "loss/reconstruction"} <= metrics.keys()
    draws = draw_step(jax.random.key(0), spec, 4)
    passes = discriminator_passes(small.state.discriminator)
    fakes = (jnp.zeros((4, 64, 64, 3)), jnp.zeros((4, 32, 32, 3)))
    gradient = partial(
        discriminator_gradient, spec, None, passes, jnp.zeros((4, 64, 64, 3)), fakes, small.labels, draws
    )
    _, _, metrics = jax.jit(gradient)()
    # Of untrained logits near 0, each half of the logistic loss is near log 2.
    assert float(metrics["loss/d_real"]) == pytest.approx(np.log(2), abs=0.4)
