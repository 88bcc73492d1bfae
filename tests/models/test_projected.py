"""The projected discriminator: its maps, its logits, and that nothing of the projection is ever trained."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from random_networks import feature_layers

from configs import smoke
from fastgan_jax.build import build_discriminator, spec_from_config
from fastgan_jax.gan import augment, losses
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.spec import Pretrained
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.gan.step import augment_real, discriminator_passes, update
from fastgan_jax.models import projected
from fastgan_jax.models.conv import convolve
from fastgan_jax.models.init import initial_variables
from fastgan_jax.models.projected import MAP_CHANNELS, ProjectedDiscriminator, mixing_shapes, project, upsample_aligned
from fastgan_jax.models.spectral_norm import power_iterate
from fastgan_jax.utils.images import to_unit


def config_of(kind: str, **model):
    config = smoke.get_config()
    config.model.update(model | {"discriminator": kind})
    return config


def drawn_mixing(dtype=np.float32) -> dict:
    rng = np.random.default_rng(0)
    return {name: rng.uniform(-0.1, 0.1, shape).astype(dtype) for name, shape in mixing_shapes().items()}


@pytest.mark.parametrize("resolution", [64, 256, 512, 1024])
def test_shapes_of_maps_and_logits(resolution):
    module = ProjectedDiscriminator(resolution)
    inputs, named = module.call_shapes()
    image = jax.ShapeDtypeStruct((2, resolution, resolution, 3), jnp.float32)
    maps = jax.eval_shape(project, feature_layers(), drawn_mixing(), image)
    assert [x.shape for x in maps] == [x.shape for x in inputs]
    sides = {64: (112, 56, 28, 14), 256: (128, 64, 32, 16)}.get(resolution, [resolution // s for s in (2, 4, 8, 16)])
    assert [x.shape for x in maps] == [(2, side, side, c) for side, c in zip(sides, MAP_CHANNELS, strict=True)]
    output, _ = jax.eval_shape(partial(module.init_with_output, train=True), jax.random.key(0), *inputs, **named)
    assert output.logits.shape == (2, module.num_logits)
    # a 4x4 head on an 8x8 map, or 7x7 where the images were enlarged to 224
    assert module.num_logits == 4 * (4 if resolution == 64 else 5) ** 2


def test_mixing_before_upsampling_is_mixing_after_it():
    """The order of the paper, in float64: features, mixed across channels, added, upsampled, mixed across scales."""
    rng, sides, taps = np.random.default_rng(1), (8, 4, 2, 1), (24, 40, 112, 320)
    mixing = drawn_mixing(np.float64)
    features = [rng.standard_normal((1, side, side, size)) for side, size in zip(sides, taps, strict=True)]

    def mix(name, x):
        return convolve(x, jnp.asarray(mixing[name][None, None, :-1])) + mixing[name][-1].reshape(1, 1, 1, -1)

    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patched:
        patched.setattr(projected.efficientnet, "feature_maps", lambda *_: [jnp.asarray(x) for x in features])
        found = project({}, mixing, jnp.zeros((1, 256, 256, 3)))
        coarser = 0
        for level in (3, 2, 1, 0):
            mixed = mix(f"mixing_channels_{level}", jnp.asarray(features[level]))
            coarser = mix(f"mixing_scales_{level}", upsample_aligned(mixed + coarser))
            np.testing.assert_allclose(found[level], coarser, atol=1e-12)


def test_upsampling_is_bilinear_with_aligned_corners():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 7, 7, 3))
    theirs = torch.nn.functional.interpolate(
        torch.tensor(x.transpose(0, 3, 1, 2)), scale_factor=2, mode="bilinear", align_corners=True
    )
    with jax.enable_x64(True):
        np.testing.assert_allclose(upsample_aligned(jnp.asarray(x)), theirs.numpy().transpose(0, 2, 3, 1), atol=1e-12)


def test_initial_mixing_is_uniform_by_its_inputs():
    module = ProjectedDiscriminator(64)
    inputs, named = module.call_shapes()
    params = initial_variables(jax.random.key(0), module, *inputs, named=named, train=True)["params"]
    for name, (rows, columns) in mixing_shapes().items():
        values, bound = np.asarray(params[name]), 1 / np.sqrt(rows - 1)
        assert values.shape == (rows, columns) and np.abs(values).max() <= bound
        # five standard errors of the mean, and of the variance of a uniform distribution
        assert abs(values.mean()) < 5 * bound / np.sqrt(3 * values.size)
        assert abs(values.var() / (bound**2 / 3) - 1) < 5 * np.sqrt(0.8 / values.size)


def test_a_conditional_one_scores_the_class():
    module = ProjectedDiscriminator(64, num_classes=3)
    inputs, named = module.call_shapes()
    variables = initial_variables(jax.random.key(0), module, *inputs, named=named, train=True)
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal(x.shape).astype(np.float32) for x in inputs]
    scores = [
        np.asarray(module.apply(variables, *maps, labels=jnp.full(2, label), train=False).logits) for label in range(3)
    ]
    assert scores[0].shape == (2, 64)
    for first, second in ((0, 1), (1, 2)):
        assert np.abs(scores[first] - scores[second]).max() > 1e-3


def test_both_names_the_variables_of_fastgans_as_they_are_alone():
    alone, both = (build_discriminator(config_of(kind).model) for kind in ("fastgan", "both"))
    trees = []
    for module in (alone, both):
        inputs, named = module.call_shapes()
        trees.append(jax.eval_shape(partial(module.init, train=True), jax.random.key(0), *inputs, **named))
    for collection, tree in trees[0].items():
        flat, own = (traverse_util.flatten_dict(each) for each in (trees[1][collection], tree))
        assert own.items() <= flat.items()
    assert both.decoders == alone.decoders and both.num_logits == alone.num_logits + 64


@pytest.fixture(scope="module", params=["projected", "both"])
def stepped(request):
    """Specification, first state, arguments and result of an iteration."""
    spec = spec_from_config(config_of(request.param, normalize_latent=True, stages="composite", output_bias=True))
    state = create_train_state(jax.random.key(0), spec)
    images = to_unit(np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3)).astype(np.uint8))
    draws = draw_step(jax.random.key(1), spec, 4)
    pretrained = Pretrained(features=feature_layers())
    arguments = (state, images, jnp.zeros(4, jnp.int32), draws, pretrained)
    return spec, arguments, jax.jit(partial(update, spec))(*arguments)


@pytest.mark.slow
def test_training_leaves_the_projection_alone(stepped):
    _, (state, *_), (after, _) = stepped
    before, moved = state.discriminator.params, after.discriminator.params
    for name in mixing_shapes():
        np.testing.assert_array_equal(before[name], moved[name])
    for stride in projected.MAP_STRIDES:
        assert not np.array_equal(before[f"map_{stride}"]["head"]["kernel"], moved[f"map_{stride}"]["head"]["kernel"])
    assert not np.array_equal(state.generator.params["bias"], after.generator.params["bias"])


@pytest.mark.slow
def test_gradients_are_those_of_the_losses_written_out(stepped):
    """Features are computed once for both updates; here each loss is a function of parameters from end to end."""
    spec, (state, real, labels, draws, pretrained), (after, metrics) = stepped
    if spec.discriminator.image is not None:
        pytest.skip("its reconstructions are tested with FastGAN's discriminator alone")
    g, d = state.generator, state.discriminator
    spectral = power_iterate(g.params, g.spectral)

    def fakes(params):
        variables = g.replace(params=params, spectral=spectral).variables
        (full, _), _ = spec.generator.apply(
            variables, draws.z, draws.noise, labels, train=True, mutable=["batch_stats"]
        )
        full = augment.apply(full, draws.augment_full, spec.policy)
        return project(pretrained.features, {name: d.params[name] for name in mixing_shapes()}, full)

    def judge(d, params, maps):
        variables = d.replace(params=params).variables
        output, mutated = spec.discriminator.apply(variables, *maps, labels=labels, train=True, mutable=["batch_stats"])
        return output.logits, mutated["batch_stats"]

    for_real, for_fake = discriminator_passes(d)

    @jax.jit
    def d_gradient(params):
        def loss(params):
            mixing = {name: d.params[name] for name in mixing_shapes()}
            real_maps = project(pretrained.features, mixing, augment_real(spec, real, draws))
            on_real, stats = judge(for_real, params, real_maps)
            on_fake, _ = judge(for_fake.replace(batch_stats=stats), params, fakes(g.params))
            margins = (losses.margins(x, spec.smoothing) for x in (draws.real_margins, draws.fake_margins))
            return sum(losses.hinge(on_real, on_fake, *margins))

        return jax.grad(loss)(params)

    @jax.jit
    def g_gradient(params):
        def loss(params):
            moved = after.discriminator.replace(batch_stats=for_real.batch_stats)
            return -judge(moved, moved.params, fakes(params))[0].mean()

        return jax.grad(loss)(params)

    for name, gradient in (("d", d_gradient(d.params)), ("g", g_gradient(g.params))):
        norm = np.sqrt(sum(float(jnp.sum(jnp.square(x))) for x in jax.tree.leaves(gradient)))
        assert float(metrics[f"grad_norm/{name}"]) == pytest.approx(norm, rel=1e-4), name


@pytest.mark.slow
def test_joint_variant_gives_the_same_iteration(stepped):
    spec, arguments, (after, metrics) = stepped
    compute = dataclasses.replace(spec.discriminator.compute, discriminate="joint")
    own = {} if spec.discriminator.image is None else {"image": spec.discriminator.image.clone(compute=compute)}
    joint = dataclasses.replace(spec, discriminator=spec.discriminator.clone(compute=compute, **own))
    _, found = jax.jit(partial(update, joint))(*arguments)
    for name, value in metrics.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
