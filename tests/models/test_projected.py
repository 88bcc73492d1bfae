"""The projected discriminator: its maps, its logits, and that nothing of the projection is ever trained."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from random_networks import feature_layers
from reference import quick_jit

from configs import smoke
from fastgan_jax.build import build_discriminator, spec_from_config
from fastgan_jax.gan import augment, losses
from fastgan_jax.gan.randomness import draw_step
from fastgan_jax.gan.spec import Pretrained
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.gan.step import Seen, augment_real, discriminator_gradient, discriminator_passes, update
from fastgan_jax.models import projected
from fastgan_jax.models.conv import convolve
from fastgan_jax.models.init import initial_variables
from fastgan_jax.models.layers import adaptive_average_pool
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


def simple_features(layers, images, dtype=None):
    """Maps of the feature network's shapes that cost little to compile: pooled images, through one matrix each."""
    pooled = ((stride, adaptive_average_pool(images, images.shape[1] // stride)) for stride in (4, 8, 16, 32))
    return [jnp.tanh(x @ layers[str(stride)]) for stride, x in pooled]


@pytest.fixture(scope="module")
def narrow():
    """Float64, on narrow maps of 128 pixels with simple features: in float64 wide convolutions take minutes."""
    small = {"SMALLEST_INPUT": 128, "MIXED_CHANNELS": (8,) * 4, "MAP_CHANNELS": (8,) * 4}
    small["WIDTHS"] = dict.fromkeys(projected.WIDTHS, 6)
    with pytest.MonkeyPatch.context() as patched, jax.enable_x64(True):
        for name, value in small.items():
            patched.setattr(projected, name, value)
        patched.setattr(projected.efficientnet, "feature_maps", simple_features)
        yield


@pytest.fixture(scope="module")
def stepped(narrow):
    """Specification, arguments and result of an iteration."""
    layers = {
        str(stride): np.random.default_rng(stride).standard_normal((3, channels))
        for stride, channels in ((4, 24), (8, 40), (16, 112), (32, 320))
    }
    spec = spec_from_config(config_of("projected", normalize_latent=True, stages="composite", output_bias=True))
    state = create_train_state(jax.random.key(0), spec)
    images = to_unit(np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3)).astype(np.uint8))
    draws = draw_step(jax.random.key(1), spec, 4)
    arrays = (state, images, draws, Pretrained(features=layers))
    state, images, draws, pretrained = jax.tree.map(
        lambda x: jnp.asarray(x, jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, arrays
    )
    arguments = (state, images, jnp.zeros(4, jnp.int32), draws, pretrained)
    return spec, arguments, quick_jit(partial(update, spec))(*arguments)


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
    g, d = state.generator, state.discriminator
    spectral = power_iterate(g.params, g.spectral)
    mixing = {name: d.params[name] for name in mixing_shapes()}

    def maps_of_fakes(params):
        moved, inputs = g.replace(params=params, spectral=spectral), (draws.z, draws.noise, labels)
        (full, _), _ = spec.generator.apply(moved.variables, *inputs, train=True, mutable=["batch_stats"])
        return project(pretrained.features, mixing, augment.apply(full, draws.augment_full, spec.policy))

    def logits_of(d, params, maps):
        variables = d.replace(params=params).variables
        return spec.discriminator.apply(variables, *maps, train=True, mutable=["batch_stats"])[0].logits

    for_real, for_fake = discriminator_passes(d)

    def d_loss(params):
        on_real = logits_of(for_real, params, project(pretrained.features, mixing, augment_real(spec, real, draws)))
        margins = (losses.margins(x, spec.smoothing) for x in (draws.real_margins, draws.fake_margins))
        return sum(losses.hinge(on_real, logits_of(for_fake, params, maps_of_fakes(g.params)), *margins))

    def g_loss(params):
        return -logits_of(after.discriminator, after.discriminator.params, maps_of_fakes(params)).mean()

    for name, loss, params in (("d", d_loss, d.params), ("g", g_loss, g.params)):
        norm = optax.tree.norm(quick_jit(jax.grad(loss))(params))
        # metrics are float32
        assert float(metrics[f"grad_norm/{name}"]) == pytest.approx(float(norm), rel=1e-6), name


@pytest.mark.slow
def test_joint_variant_gives_the_same_gradient(narrow):
    """FastGAN's discriminator beside the projected ones, on any maps."""
    config, found = config_of("both"), {}
    for variant in ("apart", "joint"):
        config.train.ops = f"reference,discriminate={variant}"
        spec = spec_from_config(config)
        state = create_train_state(jax.random.key(0), spec)
        d = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), state.discriminator.replace(optimizer=()))
        rng = np.random.default_rng(0)
        reals, fakes = (
            tuple(rng.standard_normal((4, *x.shape[1:])) for x in spec.discriminator.call_shapes()[0]) for _ in range(2)
        )
        draws = draw_step(jax.random.key(1), spec, 4)
        targets = {"whole": rng.uniform(-1, 1, (4, 64, 64, 3))}
        seen = Seen(reals, fakes, jnp.zeros(4, jnp.int32))
        function = partial(discriminator_gradient, spec, None, discriminator_passes(d))
        found[variant] = quick_jit(function)(seen, targets, draws, state)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), found["joint"], found["apart"])
