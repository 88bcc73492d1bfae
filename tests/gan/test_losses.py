"""The losses against values worked out by hand."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgan_jax.build import spec_from_config
from fastgan_jax.gan import losses
from fastgan_jax.gan.state import NetworkState
from fastgan_jax.gan.step import (
    Seen,
    discriminator_gradient,
    generator_loss_gradient,
    train_step,
)
from fastgan_jax.models.discriminator import DiscriminatorOutput
from fastgan_jax.models.variants import REFERENCE
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
    np.testing.assert_allclose(losses.generator_hinge(None, jnp.array([[1.0, 2.0], [3.0, -8.0]])), 0.5)


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
    """A least-squares loss and a Charbonnier distance, from the configuration to the step."""

    called = set()

    def least_squares(real, fake, real_margins, fake_margins):
        called.add("least_squares")
        return jnp.square(real - 1).mean(), jnp.square(fake + 1).mean()

    def charbonnier(first, second):
        called.add("charbonnier")
        return jnp.sqrt(jnp.square(first - second) + 1e-6).mean((1, 2, 3))

    monkeypatch.setitem(losses.ADVERSARIAL, "least_squares", losses.Adversarial(least_squares))
    monkeypatch.setitem(
        losses.RECONSTRUCTION, "charbonnier", lambda backbone, dtype: losses.Distance.of_images(charbonnier)
    )
    config = small.config.copy_and_resolve_references()
    config.loss.adversarial, config.loss.reconstruction = "least_squares", "charbonnier"
    validate(config)
    spec = spec_from_config(config)
    _, metrics = jax.eval_shape(partial(train_step, spec), small.state, small.images, small.labels)
    assert {"loss/d_real", "loss/reconstruction"} <= metrics.keys()
    assert called == {"least_squares", "charbonnier"}


LOGITS = jnp.array([[1.0, -2.0], [0.5, 3.0]]), jnp.array([[-1.0, 0.0], [2.0, 0.5]])


@pytest.mark.parametrize(
    ("name", "d_real", "d_fake", "g"),
    [  # sums of log(1 + e^x) over the four logits, by hand
        (
            "logistic",
            0.313262 + 2.126928 + 0.474077 + 0.048587,
            0.313262 + 0.693147 + 2.126928 + 0.974077,
            1.313262 + 0.693147 + 0.126928 + 0.474077,
        ),
        (
            "relativistic_pairing",
            0.126928 + 2.126928 + 1.701413 + 0.078889,
            0.0,
            2.126928 + 0.126928 + 0.201413 + 2.578889,
        ),
    ],
)
def test_logistic_losses_equal_numbers_by_hand(name, d_real, d_fake, g):
    adversarial, (real, fake) = losses.ADVERSARIAL[name], LOGITS
    found = adversarial.discriminator(real, fake, None, None)
    np.testing.assert_allclose(found, (d_real / 4, d_fake / 4), rtol=1e-5)
    np.testing.assert_allclose(adversarial.generator(real, fake), g / 4, rtol=1e-5)


def test_lecam_compares_with_the_average_of_the_other_kind():
    real, fake = LOGITS
    averages = {"real": jnp.float32(1.0), "fake": jnp.float32(-1.0)}
    expected = (4 + 1 + 2.25 + 16) / 4 + (4 + 1 + 1 + 0.25) / 4
    np.testing.assert_allclose(losses.lecam(real, fake, averages), expected, rtol=1e-6)


def test_gradient_penalty_of_a_linear_function_is_half_its_squared_length():
    weights = (jnp.arange(12.0).reshape(2, 2, 3), jnp.ones((1, 1, 3)))

    def logits_of(inputs):
        return sum((x * w[None]).sum((1, 2, 3)) for x, w in zip(inputs, weights, strict=True))[:, None]

    inputs = (jnp.ones((5, 2, 2, 3)), jnp.ones((5, 1, 1, 3)))
    np.testing.assert_allclose(losses.gradient_penalty(logits_of, inputs), (506 + 3) / 2, rtol=1e-6)


class TwoJudges(nn.Module):
    """A discriminator of two judges, with one logit and two: what it sees of an image, times a parameter each."""

    logit_groups = (1, 2)
    heads, decoders, compute = (), (), REFERENCE

    @nn.compact
    def __call__(self, logits, *, labels, train, cell=None):
        scale = self.param("scale", nn.initializers.ones, (3,))
        self.variable("batch_stats", "none", jnp.zeros, ())
        return DiscriminatorOutput(logits * scale[None], {}, ())


def test_each_judge_has_its_own_mean_and_the_projected_one_its_weight(small):
    """By hand, in a case where the mean over all logits would be another number."""
    changes = {"projected_weight": 0.25, "smoothing": 0.0, "adversarial": losses.ADVERSARIAL["hinge"]}
    spec = dataclasses.replace(small.spec, discriminator=TwoJudges(), **changes)
    real, fake = jnp.array([[0.5, 2.0, -1.0]] * 2), jnp.array([[1.0, -3.0, 5.0]] * 2)
    params = {"scale": jnp.ones(3)}
    d = NetworkState(params=params, batch_stats={"none": jnp.zeros(())}, spectral={}, optimizer=())
    seen = Seen((real,), (fake,), jnp.zeros(2, jnp.int32))
    (gradient,), _, metrics = generator_loss_gradient(spec, d, seen)
    assert float(metrics["loss/g"]) == -1 + 0.25 * -1
    np.testing.assert_allclose(gradient, [[-1 / 2, -0.25 / 4, -0.25 / 4]] * 2)
    draws = SimpleNamespace(real_margins=jnp.ones((2, 3)), fake_margins=jnp.ones((2, 3)), cell=None)
    gradient, _, metrics = discriminator_gradient(spec, None, (d, d), seen, {}, draws, small.state)
    # relu(1 - real) is 0.5 | 0, 2; relu(1 + fake) is 2 | 0, 6
    assert (float(metrics["loss/d_real"]), float(metrics["loss/d_fake"])) == (0.5 + 1, 2 + 3)
    np.testing.assert_allclose(gradient["scale"], [-0.5 + 1, 0, 1 / 2 + 5 / 2])
    assert float(metrics["logits/real_sign"]) == 0.5 and float(metrics["logits/fake_sign"]) == 0.5
