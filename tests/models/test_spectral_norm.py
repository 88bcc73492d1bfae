"""Spectral normalization: the power iteration, the norm, and PyTorch's conventions over several training-mode calls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference import array, assert_close, block_variables, kernel_of, report, to_nchw, to_nhwc, vector_of

from fastgan_jax.models import layers
from fastgan_jax.models import spectral_norm as spectral
from fastgan_jax.models.variants import Compute

# float32: the same few dozen operations in another order; float64 shows that no more than rounding differs.
TOLERANCES = {"float32": 5e-6, "float64": 1e-13}


def state_of(kernel: np.ndarray, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray((vector := rng.standard_normal(size)) / np.linalg.norm(vector))
        for name, size in (("u", kernel.shape[-1]), ("v", kernel.size // kernel.shape[-1]))
    }


def test_sigma_converges_to_the_largest_singular_value():
    with jax.enable_x64(True):
        kernel = jnp.asarray(np.random.default_rng(0).standard_normal((3, 3, 4, 6)))
        state = spectral.power_iterate({"a": {"kernel": kernel}}, {"a": state_of(kernel)}, steps=500, norms=True)["a"]
        expected = np.linalg.svd(np.asarray(kernel).reshape(-1, 6), compute_uv=False)[0]
        assert_close(spectral.sigma(kernel, state["u"], state["v"]), expected, rtol=1e-12)
        assert_close(state["sigma"], expected, rtol=1e-12)


def test_several_steps_are_single_steps_in_a_row():
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal((1, 1, 5, 3)), jnp.float32)
    params, once = {"a": {"kernel": kernel}}, {"a": state_of(kernel)}
    thrice = spectral.power_iterate(params, once, steps=3)
    for _ in range(3):
        once = spectral.power_iterate(params, once)
    np.testing.assert_allclose(once["a"]["u"], thrice["a"]["u"], rtol=1e-6)
    np.testing.assert_allclose(once["a"]["v"], thrice["a"]["v"], rtol=1e-6)


def test_power_iteration_by_hand():
    """W = diag(3, 4) as [2, 2] and u = (1, 0): v = W u normalized, then u = W^T v normalized."""
    matrix = jnp.array([[3.0, 0.0], [4.0, 0.0]])
    moved = spectral.power_iterate(
        {"kernel": matrix.reshape(1, 1, 2, 2)}, {"u": jnp.array([1.0, 0.0]), "v": jnp.array([1.0, 0.0])}
    )
    np.testing.assert_allclose(moved["v"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(moved["u"], [1.0, 0.0])


def test_no_gradient_flows_through_the_vectors():
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 2, 3)), jnp.float32)
    state = state_of(kernel)

    def value(kernel: jax.Array) -> jax.Array:
        moved = spectral.power_iterate({"kernel": kernel}, state)
        return spectral.sigma(kernel, moved["u"], moved["v"])

    moved = spectral.power_iterate({"kernel": kernel}, state)
    # With u and v constant, the gradient of v^T W u is their outer product.
    expected = np.outer(moved["v"], moved["u"]).reshape(kernel.shape)
    np.testing.assert_allclose(jax.grad(value)(kernel), expected, rtol=1e-6)
    gradient = jax.grad(lambda u: spectral.sigma(kernel, u, state["v"]))(state["u"])
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_divided_kernels_have_the_value_and_the_gradient_of_a_division_by_sigma():
    """Of both kernels, where the first one's gradient meets its own sigma, which `power_iterate` knew already."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        params = {"a": {"kernel": jnp.asarray(rng.standard_normal((3, 3, 4, 5)))}, "b": {"scale": jnp.ones(2)}}
        moved = spectral.power_iterate(params, {"a": state_of(params["a"]["kernel"])}, norms=True)
        weights = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), params)

        def known(params: dict) -> jax.Array:
            return optax.tree.vdot(spectral.divided(params, moved), weights)

        def computed(params: dict) -> jax.Array:
            kernel = params["a"]["kernel"]
            kernel = kernel / spectral.sigma(kernel, moved["a"]["u"], moved["a"]["v"])
            return optax.tree.vdot(params | {"a": {"kernel": kernel}}, weights)

        assert_close(known(params), computed(params), rtol=1e-13)
        jax.tree.map(partial(assert_close, rtol=1e-12), jax.grad(known)(params), jax.grad(computed)(params))


CONVOLUTIONS = {
    "conv 3x3": (lambda nn: nn.Conv2d(5, 7, 3, padding=1, bias=False), layers.SpectralConv(features=7, padding=1)),
    "conv 4x4 stride 2": (
        lambda nn: nn.Conv2d(5, 7, 4, 2, 1, bias=False),
        layers.SpectralConv(features=7, kernel_size=4, stride=2, padding=1),
    ),
    "upsampled conv": (
        lambda nn: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(5, 7, 3, padding=1, bias=False)),
        layers.SpectralUpsampleConv(features=7),
    ),
    "upsampled conv by phase": (
        lambda nn: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(5, 7, 3, padding=1, bias=False)),
        layers.SpectralUpsampleConv(features=7, compute=Compute(upsample="phase")),
    ),
    "transposed conv": (
        lambda nn: nn.ConvTranspose2d(5, 7, 4, 1, 0, bias=False),
        layers.SpectralProjection(features=7),
    ),
    "depthwise conv": (
        lambda nn: nn.Conv2d(5, 5, 3, padding=1, groups=5, bias=False),
        layers.SpectralConv(features=5, padding=1, depthwise=True),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_training_calls_equal_pytorch(name, precision):
    """Six training-mode calls, then one in evaluation mode: values, both gradients and the vectors of each."""
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    make, module = CONVOLUTIONS[name]
    torch.manual_seed(0)
    with jax.enable_x64(precision == "float64"):
        network = make(torch.nn).to(getattr(torch, precision))
        conv = network[-1] if isinstance(network, torch.nn.Sequential) else network
        torch.nn.utils.spectral_norm(conv)
        rng = np.random.default_rng(0)
        side = 1 if name == "transposed conv" else 8
        x = rng.standard_normal((2, 5, side, side)).astype(precision)
        variables = jax.tree.map(jnp.asarray, block_variables({"": conv}))
        params, state = variables["params"], variables["spectral"]
        ours = to_nhwc(x)[:, 0, 0] if name == "transposed conv" else to_nhwc(x)
        rtol = TOLERANCES[precision]
        # jit with state as an argument, as in training
        apply = jax.jit(lambda p, s, x: module.apply({"params": p, "spectral": s}, x))
        iterate = jax.jit(spectral.power_iterate)
        errors = []
        for call in range(7):
            training = call < 6
            network.train(training)
            theirs = torch.from_numpy(x).requires_grad_()
            expected = network(theirs)
            cotangent = rng.standard_normal(expected.shape).astype(precision)
            conv.weight_orig.grad = None
            expected.backward(torch.from_numpy(cotangent))

            before = state
            state = iterate(params, state) if training else state
            value, pull_back = jax.vjp(lambda p, x, s=state: apply(p, s, x), params, ours)
            d_params, d_x = pull_back(jnp.asarray(to_nhwc(cotangent)))

            weight = array(conv.weight_orig.grad)
            weight = weight.swapaxes(0, 1) if name == "transposed conv" else weight
            d_x = d_x[:, None, None] if name == "transposed conv" else d_x
            pairs = {
                "value": (to_nchw(value), array(expected)),
                "kernel's gradient": (d_params["kernel"], kernel_of(weight)),
                "input's gradient": (to_nchw(d_x), array(theirs.grad)),
                "u": (state["u"], array(conv.weight_u)),
                "v": (state["v"], vector_of(array(conv.weight_v), weight.shape)),
            }
            errors += [assert_close(*pair, rtol=rtol, what=f"call {call}, {key}") for key, pair in pairs.items()]
            if training:
                # Otherwise the comparison of the vectors could not fail.
                assert np.max(np.abs(np.asarray(before["u"] - state["u"]))) > 100 * rtol
        report(f"spectral norm, {name}, {precision}: value, gradients, u, v over seven calls", max(errors), rtol)
