"""Layers and blocks: by hand where a hand suffices, and against PyTorch's own layers put together as in the spec."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from reference import (
    array,
    assert_close,
    assert_trees_close,
    block_gradients,
    block_variables,
    report,
    to_nchw,
    to_nhwc,
)

from fastgan_jax.models import blocks, layers
from fastgan_jax.models.generator import Generator
from fastgan_jax.models.spectral_norm import power_iterate
from fastgan_jax.models.variants import REFERENCE, Compute

# float32: a few dozen operations in another order, batch norm among them, which divides by what may be a small standard
# deviation; float64 shows that it is rounding.
TOLERANCES = {"float32": 1e-4, "float64": 1e-12}


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def test_leaky_relu_has_slope_a_fifth():
    np.testing.assert_allclose(layers.leaky_relu(jnp.array([-2.0, 0.0, 3.0])), [-0.4, 0.0, 3.0], rtol=1e-6)


def test_glu_gates_the_first_half_by_the_second():
    x = jnp.array([[1.0, -2.0, 0.0, np.log(3.0)]])
    np.testing.assert_allclose(layers.glu(x), [[0.5, -1.5]], rtol=1e-6)


def test_glu_gradient_is_that_of_its_formula():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, gradient = (jnp.asarray(rng.standard_normal(shape)) for shape in ((2, 3, 3, 8), (2, 3, 3, 4)))
        _, vjp_fn = jax.vjp(lambda x: x[..., :4] / (1 + jnp.exp(-x[..., 4:])), x)
        assert_close(layers.glu_gradient(x, gradient), vjp_fn(gradient)[0], rtol=1e-14)
        assert_close(jax.vjp(layers.glu, x)[1](gradient)[0], vjp_fn(gradient)[0], rtol=1e-14)


def test_adaptive_average_pool_by_hand():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(layers.adaptive_average_pool(x, 2)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(layers.adaptive_average_pool(x, 4), x)


class TestBatchNorm:
    """Conventions that PyTorch and Flax do not share."""

    VARIABLES = {
        "params": {"scale": jnp.array([2.0]), "bias": jnp.array([0.5])},
        "batch_stats": {"mean": jnp.array([1.0]), "var": jnp.array([4.0])},
    }
    X = jnp.array([0.0, 0.0, 2.0, 4.0]).reshape(2, 2, 1, 1)  # mean 1.5, variance 2.75 (biased) and 11 / 3 (unbiased)

    def test_training_normalizes_with_the_biased_variance(self):
        value, _ = layers.BatchNorm().apply(self.VARIABLES, self.X, True, mutable=["batch_stats"])
        expected = 2 * (np.asarray(self.X) - 1.5) / np.sqrt(2.75 + 1e-5) + 0.5
        np.testing.assert_allclose(value, expected, rtol=1e-6)

    def test_running_averages_keep_nine_tenths_and_take_the_unbiased_variance(self):
        _, mutated = layers.BatchNorm().apply(self.VARIABLES, self.X, True, mutable=["batch_stats"])
        np.testing.assert_allclose(mutated["batch_stats"]["mean"], [0.9 * 1 + 0.1 * 1.5], rtol=1e-6)
        np.testing.assert_allclose(mutated["batch_stats"]["var"], [0.9 * 4 + 0.1 * 11 / 3], rtol=1e-6)

    def test_evaluation_uses_the_running_averages_and_keeps_them(self):
        value, mutated = layers.BatchNorm().apply(self.VARIABLES, self.X, False, mutable=["batch_stats"])
        expected = 2 * (np.asarray(self.X) - 1.0) / np.sqrt(4 + 1e-5) + 0.5
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_array_equal(mutated["batch_stats"]["var"], [4.0])

    def test_epsilon_is_inside_the_root(self):
        """A constant map, whose variance is 0, shows epsilon alone."""
        variables = {**self.VARIABLES, "batch_stats": {"mean": jnp.array([0.0]), "var": jnp.array([0.0])}}
        value = layers.BatchNorm().apply(variables, jnp.full((1, 1, 1, 1), 1e-3), False)
        np.testing.assert_allclose(value.item(), 2 * 1e-3 / np.sqrt(1e-5) + 0.5, rtol=1e-6)

    def test_initialization_leaves_the_running_averages_at_zero_and_one(self):
        state = layers.BatchNorm().init(jax.random.key(0), self.X, True)["batch_stats"]
        np.testing.assert_array_equal([state["mean"], state["var"]], [[0.0], [1.0]])

    def test_one_value_per_channel_gives_finite_averages(self):
        _, mutated = layers.BatchNorm().apply(self.VARIABLES, jnp.ones((1, 1, 1, 1)), True, mutable=["batch_stats"])
        np.testing.assert_allclose(mutated["batch_stats"]["var"], [3.6], rtol=1e-6)

    def test_bfloat16_input_keeps_float32_statistics(self):
        x = (100 + normal(0, 8, 16, 16, 1)).astype(jnp.bfloat16)
        value, mutated = layers.BatchNorm().apply(self.VARIABLES, x, True, mutable=["batch_stats"])
        assert value.dtype == jnp.bfloat16
        assert mutated["batch_stats"]["var"].dtype == jnp.float32
        wide = np.asarray(x, np.float64)
        np.testing.assert_allclose(mutated["batch_stats"]["mean"], 0.9 + 0.1 * wide.mean(), rtol=1e-6)
        np.testing.assert_allclose(mutated["batch_stats"]["var"], 3.6 + 0.1 * wide.var(ddof=1), rtol=1e-4)


ACTIVATIONS = {"leaky_relu": layers.leaky_relu, "glu": layers.glu, "linear": layers.linear}


@pytest.mark.parametrize("platform", ["cuda", "default"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_batch_normalization_has_the_gradients_of_its_formula(name, platform, monkeypatch):
    """Of two groups; also the gradient of a gradient, which penalties take. Far from 0, where digits could cancel."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, **branches: branches[platform](*args))
    activation = ACTIVATIONS[name]
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, scale, bias = (jnp.asarray(rng.standard_normal(s)) for s in ((2, 3, 2, 2, 4), 4, 4))
        x = x * jnp.asarray([1.0, 5.0]).reshape(2, 1, 1, 1, 1) + 100

        def formula(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
            deviation = jnp.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
            wide = (x - x.mean((1, 2, 3), keepdims=True)) / deviation
            return activation(wide * scale.reshape(1, 1, 1, 1, 4) + bias.reshape(1, 1, 1, 1, 4))

        weights = jnp.asarray(rng.standard_normal(formula(x, scale, bias).shape))
        ours, theirs = (
            lambda *args, function=function: (function(*args) * weights).sum()
            for function in (lambda *args: layers.normalize_batch(activation, *args)[0], formula)
        )
        assert_close(ours(x, scale, bias), theirs(x, scale, bias), rtol=1e-11)
        gradients, expected = (jax.grad(function, (0, 1, 2))(x, scale, bias) for function in (ours, theirs))
        for value, other in zip(gradients, expected, strict=True):
            assert_close(value, other, rtol=1e-10)
        second, expected = (
            jax.grad(lambda x, f=function: jnp.square(jax.grad(f)(x, scale, bias)).sum())(x)
            for function in (ours, theirs)
        )
        assert_close(second, expected, rtol=1e-9)


def test_noise_injection_adds_one_map_to_every_channel():
    x, noise = normal(0, 2, 3, 3, 4), normal(1, 2, 3, 3, 1)
    value = layers.NoiseInjection().apply({"params": {"noise_weight": jnp.array([0.5])}}, x, noise)
    np.testing.assert_allclose(value, x + 0.5 * np.tile(noise, (1, 1, 1, 4)), rtol=1e-6)


def test_noise_injection_starts_silent():
    variables = layers.NoiseInjection().init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(variables["params"]["noise_weight"], [0.0])


def test_embedding_looks_up_rows():
    table = normal(0, 5, 3)
    value = layers.Embedding(5, 3).apply({"params": {"embedding": table}}, jnp.array([4, 0, 4]))
    np.testing.assert_array_equal(value, table[jnp.array([4, 0, 4])])


def test_attention_by_its_formula():
    """x + softmax over channels of Q, times softmax over positions of K transposed, times V (Shen et al. 2021)."""
    x, module = normal(0, 2, 4, 4, 3), blocks.EfficientAttention()
    variables = module.init(jax.random.key(0), x)
    layer = layers.SpectralConv(features=3, kernel_size=1)
    query = layer.apply(_select(variables, "query"), x)
    depthwise = layers.SpectralConv(features=3, padding=1, depthwise=True)
    key, value = (depthwise.apply(_select(variables, name), x) for name in ("key", "value"))
    expected = np.array(x, np.float64)
    for image in range(2):
        q, k, v = (np.asarray(y[image], np.float64).reshape(16, 3) for y in (query, key, value))
        q = np.exp(q) / np.exp(q).sum(1, keepdims=True)
        k = np.exp(k) / np.exp(k).sum(0, keepdims=True)
        expected[image] += (q @ (k.T @ v)).reshape(4, 4, 3)
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-5, atol=1e-6)


def _select(variables: dict, name: str) -> dict:
    return {collection: tree[name] for collection, tree in variables.items()}


class TorchBlocks:
    """The blocks of the spec, section 1 and 2, from PyTorch's own layers; `parts` maps our layers to theirs."""

    def __init__(self, torch):
        self.torch, self.nn = torch, torch.nn
        self.F = torch.nn.functional
        torch.manual_seed(0)

    def conv(self, *args, **kwargs):
        return self.torch.nn.utils.spectral_norm(self.nn.Conv2d(*args, bias=False, **kwargs))

    def norm(self, features):
        norm = self.nn.BatchNorm2d(features)
        for tensor, low, high in (
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.5, 0.5),
            (norm.running_mean, -1.0, 1.0),
            (norm.running_var, 0.5, 2.0),
        ):
            self.nn.init.uniform_(tensor, low, high)
        return norm

    def upsample(self, x):
        return self.F.interpolate(x, scale_factor=2, mode="nearest")

    def init_block(self):
        transposed = self.nn.utils.spectral_norm(self.nn.ConvTranspose2d(6, 8, 4, 1, 0, bias=False))
        parts = {"conv": transposed, "norm": self.norm(8)}
        return parts, lambda z: self.F.glu(parts["norm"](parts["conv"](z)), 1)

    def up_block(self):
        parts = {"conv": self.conv(6, 8, 3, padding=1), "norm": self.norm(8)}
        return parts, lambda x: self.F.glu(parts["norm"](parts["conv"](self.upsample(x))), 1)

    def up_block_comp(self):
        scalar = self.nn.Parameter
        parts = {
            "conv_0": self.conv(6, 8, 3, padding=1),
            "noise_0": scalar(self.torch.tensor([0.3])),
            "norm_0": self.norm(8),
            "conv_1": self.conv(4, 8, 3, padding=1),
            "noise_1": scalar(self.torch.tensor([-0.7])),
            "norm_1": self.norm(8),
        }

        def call(x, first, second):
            x = parts["conv_0"](self.upsample(x)) + parts["noise_0"] * first
            x = self.F.glu(parts["norm_0"](x), 1)
            x = parts["conv_1"](x) + parts["noise_1"] * second
            return self.F.glu(parts["norm_1"](x), 1)

        return parts, call

    def excitation(self, activation):
        parts = {"conv_0": self.conv(6, 5, 4), "conv_1": self.conv(5, 5, 1)}

        def call(low, high):
            gate = parts["conv_0"](self.F.adaptive_avg_pool2d(low, 4))
            gate = self.F.silu(gate) if activation == "swish" else self.F.leaky_relu(gate, 0.2)
            return high * self.torch.sigmoid(parts["conv_1"](gate))

        return parts, call

    def down_block(self):
        parts = {"conv": self.conv(6, 8, 4, stride=2, padding=1), "norm": self.norm(8)}
        return parts, lambda x: self.F.leaky_relu(parts["norm"](parts["conv"](x)), 0.2)

    def down_block_comp(self):
        parts = {
            "main_0/conv": self.conv(6, 8, 4, stride=2, padding=1),
            "main_0/norm": self.norm(8),
            "main_1_conv": self.conv(8, 8, 3, padding=1),
            "main_1_norm": self.norm(8),
            "direct_conv": self.conv(6, 8, 1),
            "direct_norm": self.norm(8),
        }

        def call(x):
            main = self.F.leaky_relu(parts["main_0/norm"](parts["main_0/conv"](x)), 0.2)
            main = self.F.leaky_relu(parts["main_1_norm"](parts["main_1_conv"](main)), 0.2)
            direct = parts["direct_conv"](self.F.avg_pool2d(x, 2))
            return (main + self.F.leaky_relu(parts["direct_norm"](direct), 0.2)) / 2

        return parts, call

    def decoder(self):
        widths = (5, 4)
        parts, size_in = {}, 6
        for index, width in enumerate(widths):
            parts[f"up_{index}/conv"] = self.conv(size_in, 2 * width, 3, padding=1)
            parts[f"up_{index}/norm"] = self.norm(2 * width)
            size_in = width
        parts["to_picture"] = self.conv(size_in, 3, 3, padding=1)

        def call(x):
            x = self.F.adaptive_avg_pool2d(x, 8)
            for index in range(len(widths)):
                x = parts[f"up_{index}/conv"](self.upsample(x))
                x = self.F.glu(parts[f"up_{index}/norm"](x), 1)
            return self.torch.tanh(parts["to_picture"](x))

        return parts, call


# name: (how PyTorch builds it, our module, shapes [N, C, H, W] of the inputs, whether it normalizes batches)
BLOCKS = {
    "InitBlock": (TorchBlocks.init_block, blocks.InitBlock(4), [(3, 6, 1, 1)], True),
    "UpBlock": (TorchBlocks.up_block, blocks.UpBlock(4), [(3, 6, 4, 4)], True),
    "UpBlock by phase": (TorchBlocks.up_block, blocks.UpBlock(4, Compute(upsample="phase")), [(3, 6, 4, 4)], True),
    "UpBlockComp": (TorchBlocks.up_block_comp, blocks.UpBlockComp(4), [(3, 6, 4, 4), *[(3, 1, 8, 8)] * 2], True),
    "SkipLayerExcitation": (
        lambda torch_blocks: torch_blocks.excitation("swish"),
        blocks.SkipLayerExcitation(),
        [(3, 6, 8, 8), (3, 5, 16, 16)],
        False,
    ),
    "SkipLayerExcitation, the paper's": (
        lambda torch_blocks: torch_blocks.excitation("leaky_relu"),
        blocks.SkipLayerExcitation("leaky_relu"),
        [(3, 6, 4, 4), (3, 5, 16, 16)],
        False,
    ),
    "DownBlock": (TorchBlocks.down_block, blocks.DownBlock(8), [(3, 6, 8, 8)], True),
    "DownBlockComp": (TorchBlocks.down_block_comp, blocks.DownBlockComp(8), [(3, 6, 8, 8)], True),
    "Decoder": (TorchBlocks.decoder, blocks.Decoder((5, 4)), [(3, 6, 16, 16)], True),
}


def inputs_of(name: str, arrays: list[np.ndarray]) -> list:
    """Arrays [N, C, H, W] as the arguments of our block."""
    if name == "InitBlock":
        return [arrays[0][:, :, 0, 0]]
    first, *rest = (to_nhwc(x) for x in arrays)
    return [first, tuple(rest)] if name == "UpBlockComp" else [first, *rest]


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", BLOCKS)
def test_block_equals_pytorch(name, precision):
    """Two training-mode calls and one in evaluation mode: value, gradients of inputs and parameters, all state."""
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    build, module, shapes, has_norm = BLOCKS[name]
    rtol = TOLERANCES[precision]
    with jax.enable_x64(precision == "float64"):
        parts, call = build(TorchBlocks(torch))
        for part in parts.values():
            part.data = part.data.to(getattr(torch, precision)) if isinstance(part, torch.Tensor) else None
            if isinstance(part, torch.nn.Module):
                part.to(getattr(torch, precision))
        variables = jax.tree.map(jnp.asarray, block_variables(parts))
        params = variables.pop("params")
        rng = np.random.default_rng(0)

        def forward(params, state, args, train):
            flags = (train,) if has_norm else ()
            return module.apply({"params": params, **state}, *args, *flags, mutable=["batch_stats"])

        forward, errors = jax.jit(forward, static_argnums=3), []
        for index, train in enumerate((True, True, False)):
            what = f"call {index}"
            arrays = [rng.standard_normal(shape).astype(precision) for shape in shapes]
            theirs = [torch.from_numpy(x).requires_grad_() for x in arrays]
            for part in parts.values():
                if isinstance(part, torch.nn.Module):
                    part.train(train)
                    part.zero_grad()
                else:
                    part.grad = None
            expected = call(*theirs)
            cotangent = rng.standard_normal(expected.shape).astype(precision)
            expected.backward(torch.from_numpy(cotangent))

            if train:
                variables["spectral"] = power_iterate(params, variables["spectral"])
            value, pull_back, mutated = jax.vjp(
                lambda p, args, state=dict(variables), train=train: forward(p, state, args, train),
                params,
                inputs_of(name, arrays),
                has_aux=True,
            )
            variables.update(mutated)
            d_params, d_args = pull_back(jnp.asarray(to_nhwc(cotangent), value.dtype))

            errors.append(assert_close(to_nchw(value), array(expected), rtol=rtol, what=what))
            errors.append(assert_trees_close(d_params, block_gradients(parts), rtol=rtol, what=f"{what} gradient"))
            d_theirs = inputs_of(name, [array(x.grad) for x in theirs])
            for ours, other in zip(jax.tree.leaves(d_args), jax.tree.leaves(d_theirs), strict=True):
                errors.append(assert_close(ours, other, rtol=rtol, what=f"{what} gradient of an input"))
            state = {key: tree for key, tree in block_variables(parts).items() if key != "params"}
            errors.append(assert_trees_close(variables, state, rtol=rtol, what=f"{what} state"))
    report(f"{name}, {precision}: value, gradients, state over three calls", max(errors), rtol)


@pytest.mark.parametrize("name", BLOCKS)
def test_block_in_bfloat16_keeps_its_variables_in_float32(name):
    _, module, shapes, has_norm = BLOCKS[name]
    args = inputs_of(name, [np.zeros(shape, np.float32) for shape in shapes])
    flags = (True,) if has_norm else ()
    module = module.clone(compute=Compute(dtype=jnp.bfloat16))

    def run(key):
        variables = module.init(key, *args, *flags)
        return variables, module.apply(variables, *args, *flags, mutable=["batch_stats"])

    variables, (value, mutated) = jax.eval_shape(run, jax.random.key(0))
    leaves = traverse_util.flatten_dict(variables) | traverse_util.flatten_dict(mutated)
    assert {leaf.dtype for leaf in leaves.values()} == {jnp.dtype(jnp.float32)}
    # Excitation multiplies onto the map that it is given, here in float32; images leave a decoder in float32.
    expected = jnp.float32 if name.startswith(("Skip", "Decoder")) else jnp.bfloat16
    assert value.dtype == expected


def test_sums_over_all_pixels_are_exact_in_bfloat16():
    """Of the gate and of the output's bias: summed in bfloat16, whose 8 bits end at 256, they would stop at a part."""
    compute = Compute(dtype=jnp.bfloat16)
    low, high = normal(0, 1, 8, 8, 4), 1 + 0.1 * normal(1, 1, 128, 128, 4)
    gated = {wide: blocks.SkipLayerExcitation(compute=own) for wide, own in ((True, REFERENCE), (False, compute))}
    variables = gated[True].init(jax.random.key(0), low, high)

    def gradient(wide: bool) -> jax.Array:
        given = jnp.asarray(high, jnp.float32 if wide else jnp.bfloat16)
        return jax.jit(jax.grad(lambda x: gated[wide].apply(variables, x, given).astype(jnp.float32).sum()))(low)

    exact, found = gradient(True), gradient(False)
    assert np.linalg.norm(found - exact) < 0.03 * np.linalg.norm(exact)

    generator = Generator(64, ngf=4, output_bias=True, compute=compute)
    cotangent = 0.3 + normal(2, 8, 64, 64, 3)

    def product(bias: jax.Array) -> jax.Array:
        full = jnp.zeros((8, 64, 64, 3), jnp.bfloat16)
        image = generator.apply(
            {"params": {"bias": bias}}, full, method=lambda g, x: g._output(x, g.bias.reshape(1, 1, 1, 3))
        )
        return (image * cotangent).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(product))(jnp.zeros(3)), cotangent.sum((0, 1, 2)), rtol=1e-3)


def test_swish_is_the_activation_of_the_reference():
    assert blocks.SkipLayerExcitation().activation == "swish"
    assert blocks.SLE_ACTIVATIONS["swish"] is nn.swish
