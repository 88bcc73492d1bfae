"""From a configuration to the training spec."""

import jax
import jax.numpy as jnp
import pytest
from random_networks import perceptual_params

from configs import art1024, base, demo
from fastgan_jax import build as assemble
from fastgan_jax.build import distance_from_config, frozen_layers, pretrained_from_config, spec_from_config
from fastgan_jax.gan import losses
from fastgan_jax.models import lpips as perceptual
from fastgan_jax.models.discriminator import layers_from_image


def test_each_field_reaches_the_method():
    config = demo.get_config()
    config.loss.adversarial = "relativistic_hinge"
    config.loss.reconstruction = "l2"
    config.loss.reconstruction_weight = 2.0
    config.train.precision = "bfloat16"
    config.train.remat = "blocks"
    config.augment.shared = True
    config.model.decoders = "big, mid"
    spec = spec_from_config(config)
    assert (
        spec.adversarial.discriminator is losses.relativistic_hinge
        and spec.augment_shared
        and spec.generator.compute.remat
    )
    assert spec.reconstruction_weight == 2.0
    assert spec.generator.compute.dtype == spec.discriminator.compute.dtype == jnp.bfloat16
    assert spec.discriminator.decoders == ("big", "mid")
    assert (spec.generator.ngf, spec.discriminator.ndf, spec.latent_size) == (16, 16, 32)


@pytest.mark.parametrize(("excitation", "attention"), [(False, False), (False, True), (True, True)])
def test_frozen_layers_are_those_that_the_configured_discriminator_has(excitation, attention):
    config = demo.get_config()
    config.model.discriminator_skip_excitation, config.model.discriminator_attention = excitation, attention
    config.train.freeze_discriminator = 4  # all at 64 pixels
    discriminator = spec_from_config(config).discriminator
    assert (discriminator.skip_excitation, discriminator.attention) == (excitation, attention)
    expected = sum(layers_from_image(64, excitation, attention), ())
    assert frozen_layers(config) == expected
    assert any(name.startswith("sle_") for name in expected) == excitation
    assert any(name.startswith("attend_") for name in expected) == attention


@pytest.mark.parametrize("preset", [base, art1024])
def test_the_papers_presets_have_the_references_options(preset):
    config = preset.get_config()
    assert config.model.output_tanh is None and config.model.sle_activation == "swish"
    assert config.model.resize == "nearest" and not config.augment.shared
    assert config.loss.reconstruction == "lpips" and config.loss.reconstruction_weight is None
    assert (config.optim.learning_rate, config.optim.beta1, config.optim.beta2) == (2e-4, 0.5, 0.999)
    assert (config.optim.ema_decay, config.train.batch_size, config.train.iterations) == (0.999, 8, 50_000)
    assert config.augment.policy == "color,translation"


def test_lpips_is_computed_by_the_network_and_in_the_precision_of_the_configuration(monkeypatch):
    loaded = []
    monkeypatch.setattr(assemble, "load_perceptual", lambda *arguments: loaded.append(arguments) or {})
    config = base.get_config()
    config.loss.perceptual_net = "squeeze"
    config.loss.perceptual_weights = "weights.npz"
    assert pretrained_from_config(config) == ({}, None) and loaded == [("squeeze", "weights.npz")]
    distance = distance_from_config(config.loss, "bfloat16")
    params = perceptual_params("squeeze")
    features = jax.eval_shape(distance.embed, params, jnp.zeros((2, 64, 64, 3)))
    assert list(features) == list(perceptual.BACKBONES["squeeze"].channels)
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}
    assert jax.eval_shape(distance.compare, params, features, features).dtype == jnp.float32


def test_what_needs_no_network_loads_none():
    config = base.get_config()
    config.loss.reconstruction = "l1"
    assert pretrained_from_config(config) == (None, None)
    config.loss.reconstruction, config.model.decoders = "lpips", ""
    assert pretrained_from_config(config) == (None, None)
