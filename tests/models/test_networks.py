"""Both networks: sizes, shapes under every option, initial values, and properties that any weights must have."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from reference import assert_close, assert_trees_close, quick_jit

from fastgan_jax.models import discriminator as d_module
from fastgan_jax.models import generator as g_module
from fastgan_jax.models import layers
from fastgan_jax.models import spectral_norm as spectral
from fastgan_jax.models.blocks import EfficientAttention
from fastgan_jax.models.discriminator import Discriminator, layers_from_image
from fastgan_jax.models.generator import Generator
from fastgan_jax.models.init import initial_variables
from fastgan_jax.models.variants import FASTEST, VARIANTS, Compute

pytestmark = pytest.mark.slow  # many shapes of whole networks

NZ = 256

FASTEST_ON_CPU = Compute(**FASTEST["cpu"])
LAST = Compute(*(ways[-1] for ways in VARIANTS.values()))  # none of them plain


def g_inputs(module: Generator, batch: int = 2, nz: int = NZ) -> tuple:
    """Shapes of the generator's arguments."""
    sides = g_module.noise_sides(module.resolution)
    noise = tuple(jax.ShapeDtypeStruct((batch, side, side, 1), jnp.float32) for side in sides)
    return jax.ShapeDtypeStruct((batch, nz), jnp.float32), noise, jax.ShapeDtypeStruct((batch,), jnp.int32)


def d_inputs(module: Discriminator, batch: int = 2) -> tuple:
    """Shapes of the discriminator's arguments."""
    full, small = (
        jax.ShapeDtypeStruct((batch, side, side, module.channels), jnp.float32)
        for side in (module.resolution, g_module.small_side(module.resolution))
    )
    return full, small, jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((batch,), jnp.int32)


def abstract(module, inputs: tuple) -> tuple:
    """Shapes of (variables, output in training mode, state after it, output in evaluation mode)."""

    def run(key, *args):
        variables = module.init(key, *args, train=True)
        output, mutated = module.apply(variables, *args, train=True, mutable=["batch_stats"])
        return variables, output, mutated, module.apply(variables, *args, train=False)

    return jax.eval_shape(run, jax.random.key(0), *inputs)


def abstract_variables(module, inputs: tuple) -> dict:
    """Shapes of the variables."""
    return jax.eval_shape(lambda key, *args: module.init(key, *args, train=True), jax.random.key(0), *inputs)


def concrete(inputs: tuple, seed: int = 0) -> tuple:
    """Random values of the shapes in `inputs`; integers are 0."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.standard_normal(s.shape) if s.dtype == jnp.float32 else np.zeros(s.shape), s.dtype),
        inputs,
    )


def settled_variables(module, inputs: tuple) -> dict:
    """Initial variables with the spectral vectors near convergence, as after some training."""
    variables = initial_variables(jax.random.key(0), module, *inputs, train=True)
    variables["spectral"] = spectral.power_iterate(variables["params"], variables["spectral"], steps=5)
    return variables


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("resolution", "generator_parameters", "discriminator_parameters"),
    [(256, 29_127_846, 11_526_160), (512, 29_174_392, 11_526_496), (1024, 29_176_512, 11_528_192)],
)
def test_parameter_counts_are_the_published_ones(resolution, generator_parameters, discriminator_parameters):
    generator, discriminator = Generator(resolution), Discriminator(resolution)
    assert count(abstract_variables(generator, g_inputs(generator))["params"]) == generator_parameters
    params = abstract_variables(discriminator, d_inputs(discriminator))["params"]
    assert count(params) == discriminator_parameters
    assert count([tree for name, tree in params.items() if name.startswith("decoder")]) == 3_139_488


@pytest.mark.parametrize("resolution", [64, 128, 256, 512, 1024, 2048])
def test_shapes_at_every_resolution(resolution):
    generator, discriminator = Generator(resolution, ngf=8), Discriminator(resolution, ndf=8)
    small = min(128, resolution // 2)
    variables, images, _, evaluated = abstract(generator, g_inputs(generator, nz=16))
    assert [p.shape for p in images] == [(2, resolution, resolution, 3), (2, small, small, 3)]
    assert images == evaluated
    assert {path[0] for path in traverse_util.flatten_dict(variables["params"]) if path[0].startswith("sle")} == {
        f"sle_{side}" for side in (64, 128, 256, 512) if side <= resolution
    }
    _, output, _, evaluated = abstract(discriminator, d_inputs(discriminator))
    assert output.logits.shape == (2, 50)
    side = min(128, resolution)
    assert {name: p.shape for name, p in output.reconstructions.items()} == {
        name: (2, side, side, 3) for name in ("big", "part", "small")
    }
    assert [f.shape for f in output.features] == [(2, 16, 16, 32), (2, 8, 8, 64)]
    assert jax.tree.leaves(output) == jax.tree.leaves(evaluated)


def test_generator_widths_are_those_of_the_method():
    sides = [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert [g_module.generator_width(side, 64) for side in sides] == [1024, 512, 256, 128, 128, 64, 32, 16, 8]
    assert g_module.generator_width(1024, 1) == 1


def test_discriminator_widths_are_those_of_the_method():
    assert [d_module.trunk_width(side, 64) for side in (512, 256, 128, 64, 32, 16, 8)] == [8, 16, 32, 64, 128, 256, 512]
    assert [d_module.small_branch_width(side, 64) for side in (64, 32, 16, 8)] == [32, 64, 128, 256]
    assert d_module.trunk_width(256, 1) == d_module.small_branch_width(64, 1) == 1


@pytest.mark.parametrize("resolution", [64, 128, 256, 512, 1024])
def test_layers_from_the_image_are_all_but_heads_and_decoders(resolution):
    discriminator = Discriminator(resolution, ndf=8)
    params = abstract_variables(discriminator, d_inputs(discriminator))["params"]
    in_layers = layers_from_image(resolution)
    named = [name for names in in_layers for name in names]
    assert len(set(named)) == len(named)
    assert set(named) == {name for name in params if not name.startswith(("decoder_", "head_"))}
    assert in_layers[0] == ("from_big_0", "from_small") and "down_8" in in_layers[-1]


def test_layers_from_the_image_follow_excitation_and_attention():
    plain = sum(layers_from_image(256, skip_excitation=False), ())
    assert not any(name.startswith("sle_") for name in plain)
    attended = layers_from_image(256, attention=True)
    assert attended[-1] == ("down_8", "sle_8", "attend_8")
    discriminator = Discriminator(256, ndf=8, skip_excitation=False, attention=True)
    params = abstract_variables(discriminator, d_inputs(discriminator))["params"]
    named = set(sum(layers_from_image(256, skip_excitation=False, attention=True), ()))
    assert named == {name for name in params if not name.startswith(("decoder_", "head_"))}


def test_the_discriminator_attends_at_16_and_8():
    """With the same variables, its map of 16 pixels is the attended one of a discriminator without."""
    module = Discriminator(64, ndf=4, decoders=(), attention=True)
    variables = initial_variables(jax.random.key(0), module, *d_inputs(module), train=True)
    full = jnp.asarray(np.random.RandomState(0).rand(2, 64, 64, 3), jnp.float32)
    run = quick_jit(partial(Discriminator.apply, train=False), static_argnums=0)
    attended, _ = run(module, variables, full, full[:, ::2, ::2]).features
    plain, _ = run(module.clone(attention=False), variables, full, full[:, ::2, ::2]).features
    own = {collection: tree["attend_16"] for collection, tree in variables.items() if "attend_16" in tree}
    np.testing.assert_allclose(attended, EfficientAttention().apply(own, plain), rtol=1e-5, atol=1e-6)
    assert float(jnp.abs(attended - plain).max()) > 1e-3


def test_heads_read_the_mean_of_the_last_map_and_take_part_in_no_normalization():
    module = Discriminator(64, ndf=4, decoders=(), heads=(("contrastive", 5),))
    variables = initial_variables(jax.random.key(0), module, *d_inputs(module), train=True)
    assert "head_contrastive" not in variables["spectral"] and "head_contrastive" not in variables["batch_stats"]
    full = jnp.asarray(np.random.RandomState(0).rand(2, 64, 64, 3), jnp.float32)
    output = quick_jit(partial(module.apply, train=False))(variables, full, full[:, ::2, ::2])
    layer = variables["params"]["head_contrastive"]
    expected = output.features[1].mean((1, 2)) @ layer["kernel"] + layer["bias"][None]
    np.testing.assert_allclose(output.predictions["contrastive"], expected, rtol=1e-5, atol=1e-6)


def test_noise_goes_to_both_sites_of_every_composite_stage():
    assert g_module.noise_sides(256) == [8, 8, 32, 32, 128, 128]
    assert g_module.noise_sides(512) == [8, 8, 32, 32, 128, 128, 512, 512]
    assert g_module.noise_sides(1024) == g_module.noise_sides(512)


GENERATOR_OPTIONS = [
    {"skip_excitation": False},
    {"attention": True},
    {"num_classes": 5},
    {"channels": 1},
    {"channels": 4},
    {"sle_activation": "leaky_relu"},
    {"output_tanh": True},
    {"compute": Compute(upsample="phase", downsample="subpixel_gradient")},
    {"compute": Compute(remat=True)},
]
DISCRIMINATOR_OPTIONS = [
    {"decoders": ()},
    {"decoders": ("mid",)},
    {"decoders": ("small", "big")},
    {"part": "eighth"},
    {"skip_excitation": False},
    {"attention": True},
    {"heads": (("contrastive", 7), ("aspect", 1))},
    {"logits_map": 1},
    {"num_classes": 5},
    {"channels": 1},
    {"channels": 4},
    {"sle_activation": "leaky_relu"},
    {"compute": Compute(upsample="phase", downsample="subpixel_gradient")},
    {"compute": Compute(remat=True)},
]


def changed_name(options: dict) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize("options", GENERATOR_OPTIONS, ids=changed_name)
def test_generator_options_build_and_run(options):
    resolution = 64
    module = Generator(resolution, ngf=8, **options)
    variables, images, mutated, evaluated = abstract(module, g_inputs(module, nz=16))
    assert images[0].shape == (2, resolution, resolution, options.get("channels", 3))
    assert images == evaluated
    assert jax.tree.structure(mutated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    names = set(variables["params"])
    assert any(name.startswith("sle") for name in names) == options.get("skip_excitation", True)
    assert any(name.startswith("attend") for name in names) == options.get("attention", False)
    assert ("embed" in names) == bool(options.get("num_classes"))


@pytest.mark.parametrize("options", DISCRIMINATOR_OPTIONS, ids=changed_name)
def test_discriminator_options_build_and_run(options):
    resolution = 64
    module = Discriminator(resolution, ndf=8, **options)
    variables, output, mutated, _ = abstract(module, d_inputs(module))
    decoders = options.get("decoders", ("big", "part", "small"))
    assert output.logits.shape == (2, 2 * options.get("logits_map", 5) ** 2)
    side = min(128, resolution)
    assert {name: p.shape for name, p in output.reconstructions.items()} == {
        name: (2, side, side, options.get("channels", 3)) for name in decoders
    }
    assert {name for name in variables["params"] if name.startswith("decoder")} == {f"decoder_{n}" for n in decoders}
    assert jax.tree.structure(mutated["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


@pytest.mark.parametrize(
    ("resolution", "compute"), [(256, Compute()), (256, FASTEST_ON_CPU), (256, LAST), (1024, Compute())]
)
def test_bfloat16_computes_in_it_but_keeps_variables_and_results_in_float32(resolution, compute):
    compute = dataclasses.replace(compute, dtype=jnp.bfloat16)
    generator = Generator(resolution, ngf=8, attention=True, num_classes=3, compute=compute)
    discriminator = Discriminator(resolution, ndf=8, num_classes=3, compute=compute)
    for module, inputs in ((generator, g_inputs(generator)), (discriminator, d_inputs(discriminator))):
        variables, output, mutated, evaluated = abstract(module, inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves((variables, mutated))} == {jnp.dtype(jnp.float32)}
        if module is discriminator:
            # The maps inside are the proof that the computation is in bfloat16.
            assert {leaf.dtype for leaf in (*output.features, *evaluated.features)} == {jnp.dtype(jnp.bfloat16)}
            output, evaluated = output[:2], evaluated[:2]
        assert {leaf.dtype for leaf in jax.tree.leaves((output, evaluated))} == {jnp.dtype(jnp.float32)}
    early = jax.eval_shape(
        lambda key, *args: generator.apply(
            generator.init(key, *args, train=True), *args, train=False, method=generator.early
        ),
        jax.random.key(0),
        *g_inputs(generator),
    )
    assert {leaf.dtype for leaf in early.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.fixture(scope="module")
def generator() -> tuple[Generator, dict]:
    module = Generator(64, ngf=4, output_tanh=False)
    return module, settled_variables(module, g_inputs(module, nz=8))


@pytest.fixture(scope="module")
def discriminator() -> tuple[Discriminator, dict]:
    module = Discriminator(64, ndf=4)
    return module, settled_variables(module, d_inputs(module))


def value_state_gradient(module, variables: dict, args: tuple) -> tuple:
    """Output in training mode, state after it and the gradient of a fixed sum of the output."""

    @quick_jit
    def run(variables, args):
        state = {name: tree for name, tree in variables.items() if name != "params"}

        def total(params):
            output, mutated = module.apply({"params": params, **state}, *args, train=True, mutable=["batch_stats"])
            weighted = [
                jnp.vdot(leaf, jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)) for leaf in jax.tree.leaves(output)
            ]
            return sum(weighted), (output, mutated)

        return jax.value_and_grad(total, has_aux=True)(variables["params"])

    (_, (output, mutated)), gradient = run(variables, args)
    return jax.tree.leaves(output), mutated, gradient


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_remat_changes_neither_variables_nor_results(network, request):
    """Rematerialization only recomputes: the same tree, outputs, state and gradients, to rounding in float32."""
    module, variables = request.getfixturevalue(network)
    if network == "discriminator":  # decoders are never rematerialized
        module = module.clone(decoders=())
        trunk = {k: {n: t for n, t in tree.items() if "decoder" not in n} for k, tree in variables.items()}
        variables, inputs = trunk, d_inputs(module)
    else:
        inputs = g_inputs(module, nz=8)
    other = module.clone(compute=Compute(remat=True))
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables)
    assert jax.tree.map(lambda leaf: leaf.shape, dict(abstract(other, inputs)[0])) == shapes
    args = concrete(inputs)
    outputs, mutated, gradient = value_state_gradient(module, variables, args)
    other_outputs, other_mutated, other_gradient = value_state_gradient(other, variables, args)
    for output, expected in zip(other_outputs, outputs, strict=True):
        assert_close(output, expected, rtol=1e-5)
    assert_trees_close(other_mutated, mutated, rtol=1e-5)
    assert_trees_close(other_gradient, gradient, rtol=1e-3, atol=1e-5)


def test_generator_in_evaluation_maps_each_latent_by_itself(generator):
    """Permuting the batch permutes the images, and a latent alone gives the image it gives in company."""
    module, variables = generator
    z, noise, _ = concrete(g_inputs(module, batch=4, nz=8))
    apply = quick_jit(lambda z, noise: module.apply(variables, z, noise, train=False))
    images = apply(z, noise)
    order = jnp.array([2, 0, 3, 1])
    permuted = apply(z[order], tuple(n[order] for n in noise))
    alone = apply(z[3:], tuple(n[3:] for n in noise))
    for whole, moved, single in zip(images, permuted, alone, strict=True):
        assert_close(moved, whole[order], rtol=1e-5)
        assert_close(single, whole[3:], rtol=1e-5)


def test_generator_in_training_sees_its_batch(generator):
    """The opposite of the above: batch statistics couple the images, which is why sampling does not use them."""
    module, variables = generator
    z, noise, _ = concrete(g_inputs(module, batch=4, nz=8))
    apply = quick_jit(lambda z, n: module.apply(variables, z, n, train=True, mutable=["batch_stats"])[0][0])
    whole, changed = apply(z, noise), apply(z.at[0].set(-z[0]), noise)
    assert float(jnp.max(jnp.abs(whole[1:] - changed[1:]))) > 1e-3 * float(jnp.max(jnp.abs(whole)))


def test_excitation_reads_the_early_maps_it_is_given(generator):
    module, variables = generator
    z, noise, _ = concrete(g_inputs(module, batch=2, nz=8))
    early = quick_jit(partial(module.apply, train=False, method=module.early))(variables, z, noise)
    assert sorted(early) == [4, 8, 16, 32]

    @quick_jit
    def late(exciting: dict) -> jax.Array:
        return module.apply(variables, early[32], exciting, noise, train=False, method=module.late)[0]

    whole = quick_jit(partial(module.apply, train=False))(variables, z, noise)[0]
    np.testing.assert_allclose(late(early), whole, rtol=1e-5, atol=1e-6)
    swapped = late({side: x[::-1] for side, x in early.items()})
    assert float(jnp.max(jnp.abs(swapped - whole))) > 1e-4 * float(jnp.max(jnp.abs(whole)))


def test_tanh_only_from_1024_unless_asked_for(generator):
    module, variables = generator
    args = concrete(g_inputs(module, nz=8))[:2]
    linear, squashed, default = (
        quick_jit(partial(module.clone(output_tanh=tanh).apply, train=False))(variables, *args)
        for tanh in (False, True, None)
    )
    for plain, bent, left in zip(linear, squashed, default, strict=True):
        np.testing.assert_allclose(bent, np.tanh(plain), rtol=1e-6)
        np.testing.assert_array_equal(left, plain)
    tanh = {
        resolution: "tanh" in str(_jaxpr(Generator(resolution, ngf=1)).eqns[-2:]) for resolution in (256, 512, 1024)
    }
    assert tanh == {256: False, 512: False, 1024: True}


def _jaxpr(module: Generator):
    """The operations of a forward pass in evaluation mode."""
    inputs = g_inputs(module, nz=4)[:2]
    variables = jax.eval_shape(lambda key, *args: module.init(key, *args, train=True), jax.random.key(0), *inputs)
    return jax.make_jaxpr(lambda v, *args: module.apply(v, *args, train=False))(variables, *inputs).jaxpr


def test_no_quadrant_no_reconstructions(discriminator):
    module, variables = discriminator
    full, small, _, _ = concrete(d_inputs(module))
    apply = quick_jit(lambda *args: module.apply(variables, *args, train=False))
    with_them, without = apply(full, small, jnp.int32(2)), apply(full, small)
    assert without.reconstructions == {}
    np.testing.assert_allclose(without.logits, with_them.logits, rtol=1e-5, atol=1e-6)


def test_only_the_part_decoder_sees_the_quadrant(discriminator):
    module, variables = discriminator
    full, small, _, _ = concrete(d_inputs(module))
    apply = quick_jit(lambda quadrant: module.apply(variables, full, small, quadrant, train=False))
    first, last = (apply(jnp.int32(q)).reconstructions for q in (0, 3))
    np.testing.assert_array_equal(first["big"], last["big"])
    np.testing.assert_array_equal(first["small"], last["small"])
    assert float(jnp.max(jnp.abs(first["part"] - last["part"]))) > 1e-3


def test_small_head_sees_the_small_image_alone(discriminator):
    module, variables = discriminator
    full, small, quadrant, _ = concrete(d_inputs(module))
    apply = quick_jit(lambda small: module.apply(variables, full, small, quadrant, train=False))
    before, after = apply(small), apply(-small)
    np.testing.assert_array_equal(before.logits[:, :25], after.logits[:, :25])
    assert bool(jnp.all(jnp.any(before.logits[:, 25:] != after.logits[:, 25:], axis=1)))
    np.testing.assert_array_equal(before.reconstructions["big"], after.reconstructions["big"])
    assert bool(jnp.any(before.reconstructions["small"] != after.reconstructions["small"]))


def test_class_term_is_the_projection_on_the_mean_of_the_last_map():
    module = Discriminator(64, ndf=4, num_classes=3, decoders=())
    inputs = d_inputs(module)
    variables = settled_variables(module, inputs)
    full, small, _, _ = concrete(inputs)
    labels = jnp.array([2, 0])
    apply = quick_jit(lambda variables: module.apply(variables, full, small, labels=labels, train=False))
    output = apply(variables)
    silent = jax.tree.map(lambda leaf: leaf, variables)
    for name in ("embed_big", "embed_small"):
        silent["params"][name] = {"embedding": jnp.zeros_like(variables["params"][name]["embedding"])}
    table = np.asarray(variables["params"]["embed_big"]["embedding"])
    score = (table[np.array(labels)] * np.asarray(output.features[1]).mean((1, 2))).sum(-1) / table.shape[1] ** 0.5
    difference = np.asarray(output.logits - apply(silent).logits)[:, :25]
    np.testing.assert_allclose(difference, np.repeat(score[:, None], 25, 1), rtol=1e-3, atol=1e-5)


def test_class_changes_the_image_of_a_conditional_generator():
    module = Generator(64, ngf=4, num_classes=3)
    variables = settled_variables(module, g_inputs(module, nz=8))
    z, noise, _ = concrete(g_inputs(module, nz=8))
    apply = quick_jit(lambda labels: module.apply(variables, z, noise, labels, train=False)[0])
    one, other = apply(jnp.array([0, 0])), apply(jnp.array([0, 2]))
    np.testing.assert_array_equal(one[0], other[0])
    assert float(jnp.max(jnp.abs(one[1] - other[1]))) > 1e-4 * float(jnp.max(jnp.abs(one)))


@pytest.mark.parametrize(
    "module",
    [Generator(64, ngf=16, num_classes=200, attention=True), Discriminator(64, ndf=16, num_classes=200)],
    ids=lambda module: type(module).__name__,
)
def test_initial_variables_are_those_of_init(module):
    inputs = g_inputs(module) if isinstance(module, Generator) else d_inputs(module)
    drawn = traverse_util.flatten_dict(initial_variables(jax.random.key(1), module, *inputs, train=True))
    shapes = traverse_util.flatten_dict(abstract_variables(module, inputs))
    assert {path: (leaf.shape, leaf.dtype) for path, leaf in drawn.items()} == {
        path: (leaf.shape, leaf.dtype) for path, leaf in shapes.items()
    }
    by_name = {}
    for path, leaf in drawn.items():
        by_name.setdefault(path[-1], []).append(np.asarray(leaf, np.float64).ravel())
    expected = {"kernel": (0, 0.02), "scale": (1, 0.02), "embedding": (0, 0.02), "bias": (0, 0), "noise_weight": (0, 0)}
    expected |= {"mean": (0, 0), "var": (1, 0)}
    for name, (mean, deviation) in expected.items():
        if name in by_name:
            values = np.concatenate(by_name[name])
            # five standard errors
            error = 5 * deviation / np.sqrt(len(values))
            np.testing.assert_allclose(values.mean(), mean, atol=error + 1e-7, err_msg=name)
            np.testing.assert_allclose(values.std(), deviation, atol=error + 1e-7, err_msg=name)
    assert {"kernel", "scale", "bias", "mean", "var", "u", "v", "embedding"} <= by_name.keys()
    for vector in (*by_name["u"], *by_name["v"]):
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)


def test_initial_values_of_init_itself_follow_the_same_distributions():
    """Layer by layer, since drawing a whole network leaf by leaf compiles for long."""
    key, x = jax.random.key(0), jnp.zeros((1, 8, 8, 32))
    conv = layers.SpectralConv(features=32).init(key, x)
    np.testing.assert_allclose(np.std(conv["params"]["kernel"]), 0.02, rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(conv["spectral"]["u"]), 1, rtol=1e-5)
    norm = layers.BatchNorm().init(key, x, True)
    np.testing.assert_allclose(np.mean(norm["params"]["scale"]), 1, atol=5 * 0.02 / np.sqrt(32))
    assert 0 < np.std(norm["params"]["scale"]) < 0.04
    np.testing.assert_array_equal(norm["batch_stats"]["var"], np.ones(32))


def test_initial_variables_depend_on_the_key_alone():
    module = Discriminator(64, ndf=4, decoders=())
    first, again, other = (
        initial_variables(jax.random.key(seed), module, *d_inputs(module), train=True) for seed in (0, 0, 1)
    )
    assert_trees_close(first, again, rtol=0)
    kernels = [tree["params"]["head_small"]["kernel"] for tree in (first, other)]
    assert not np.array_equal(*kernels)
    # Leaves are cut from one draw without overlap.
    assert not np.intersect1d(first["params"]["head_small"]["kernel"], first["params"]["head_big_1"]["kernel"]).size
