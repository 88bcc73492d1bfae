"""LPIPS: equal to the PyTorch package on equal weights, and what a distance must be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import perceptual_params
from torch_packages import import_or_skip

from fastgan_jax.models import lpips
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.layouts import by_layer, convert
from fastgan_jax.pretrained.networks import load_perceptual

SIDES = {"vgg": (36, 34), "squeeze": (66, 64)}  # not multiples of the poolings, so that their edges are tested too


def distance_of(network: str, params: dict, first, second, dtype=None) -> jax.Array:
    """LPIPS between images [B, H, W, 3] in [-1, 1]: [B]."""
    return lpips.compare(params, *(lpips.embed(network, params, images, dtype) for images in (first, second)))


def images(seed: int, height: int = 32, width: int = 32, count: int = 2) -> np.ndarray:
    return np.float32(np.random.RandomState(seed).uniform(-1, 1, (count, height, width, 3)))


@pytest.fixture(scope="module", params=["vgg", "squeeze"])
def package(request):
    """The PyTorch package with random weights, and the same weights here, by way of its state dict."""
    package, torch = import_or_skip("lpips"), pytest.importorskip("torch")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # torchvision's, about how the package calls it
        model = package.LPIPS(net=request.param, pnet_rand=True, verbose=False).eval()
    published = {}
    for name, tensor in model.net.state_dict().items():
        _, _, rest = name.partition(".")  # "slice3.5.weight" is what torchvision calls "features.5.weight"
        published[f"features.{rest}"] = tensor.numpy()
    heads = {name: tensor.numpy() for name, tensor in model.state_dict().items() if name.startswith("lin")}
    heads = {name: array for name, array in heads.items() if not name.startswith("lins")}
    backbone = by_layer(convert({"vgg": "vgg16", "squeeze": "squeezenet1_1"}[request.param], published))
    params = {"input": backbone.pop("input"), "backbone": backbone, "heads": convert(f"lpips_{request.param}", heads)}
    return request.param, model, params


@pytest.mark.slow
def test_values_and_gradients_equal_those_of_the_pytorch_package(package):
    torch = pytest.importorskip("torch")
    network, model, params = package
    first, second = (images(seed, *SIDES[network]) for seed in (0, 1))
    first[:, :20] = 1.0  # white, as in photographs: of equal values in a window, the first one gets the gradient
    as_torch = [torch.tensor(x.transpose(0, 3, 1, 2)) for x in (first, second)]
    as_torch[0].requires_grad_(True)
    expected = model(*as_torch)
    expected.sum().backward()

    def total(first):
        values = distance_of(network, params, first, second)
        return values.sum(), values

    gradient, values = jax.jit(jax.grad(total, has_aux=True))(first)
    np.testing.assert_allclose(values, expected.detach().numpy().ravel(), rtol=2e-6)
    wanted = as_torch[0].grad.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(gradient, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.fixture(scope="module")
def squeeze():
    params = perceptual_params("squeeze")
    return params, jax.jit(lambda first, second: distance_of("squeeze", params, first, second))


def test_it_is_a_distance(squeeze):
    _, distance = squeeze
    first, second = images(0), images(1)
    np.testing.assert_array_equal(distance(first, first), 0)
    np.testing.assert_allclose(distance(first, second), distance(second, first), rtol=1e-6)
    assert (np.asarray(distance(first, second)) > 0).all()


def test_each_image_has_its_own_value(squeeze):
    params, distance = squeeze
    first, second = images(0), images(1)
    swapped = distance(first[::-1], second[::-1])
    np.testing.assert_allclose(distance(first, second), swapped[::-1], rtol=1e-6)


def test_bfloat16_agrees_to_its_precision_and_gives_float32(squeeze):
    params, distance = squeeze
    first, second = images(0), images(1)
    coarse = jax.jit(lambda: distance_of("squeeze", params, first, second, jnp.bfloat16))()
    assert coarse.dtype == jnp.float32
    np.testing.assert_allclose(coarse, distance(first, second), rtol=0.03)


def test_the_gradient_is_finite_where_all_features_are_zero():
    params = perceptual_params("squeeze")
    params["backbone"]["conv1"]["bias"] -= 1e3
    gradient = jax.jit(jax.grad(lambda x: distance_of("squeeze", params, x, jnp.asarray(images(1))).sum()))
    assert np.isfinite(gradient(jnp.asarray(images(0)))).all()


@pytest.mark.parametrize("side", [5, 6, 7, 8, 9])
@pytest.mark.parametrize(("window", "beyond_edge"), [(2, False), (3, False), (3, True)])
def test_max_pool_equals_pytorch(side, window, beyond_edge):
    torch = pytest.importorskip("torch", reason="needs PyTorch as an oracle")
    x = np.abs(images(0, side, side))
    expected = torch.nn.functional.max_pool2d(torch.tensor(x.transpose(0, 3, 1, 2)), window, 2, ceil_mode=beyond_edge)
    pooled = lpips.max_pool(jnp.asarray(x), window, beyond_edge=beyond_edge)
    np.testing.assert_array_equal(pooled, expected.numpy().transpose(0, 2, 3, 1))


@pytest.mark.slow
def test_without_heads_the_distance_is_one_minus_the_cosine(shared_dir):
    params = load_perceptual("squeeze_caffe", shared_dir / "weights" / "squeezenet_v1.1_features.npz")
    first, second = images(0), images(1)
    embedded = [lpips.embed("squeeze", params, jnp.asarray(x)) for x in (first, second)]
    cosines = [np.einsum("bhwc,bhwc->bhw", embedded[0][depth], embedded[1][depth]) for depth in embedded[0]]
    expected = np.mean([1 - cosine.mean((1, 2)) for cosine in cosines], axis=0)
    np.testing.assert_allclose(lpips.compare(params, *embedded), expected, rtol=1e-4)


def test_the_caffe_network_sees_bgr_minus_its_mean(shared_dir):
    path = shared_dir / "weights" / "squeezenet_v1.1_features.npz"
    published = np.load(path)
    layers = by_layer(store.find("squeezenet_caffe", path))
    x = images(0)
    caffe_input = (x[..., ::-1] + 1) * 127.5 - np.array([103.939, 116.779, 123.68])
    expected = jax.lax.conv_general_dilated(
        jnp.float32(caffe_input), published["conv1/kernel"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = jax.nn.relu(expected + published["conv1/bias"].reshape(1, 1, 1, -1))
    _, first = next(lpips.BACKBONES["squeeze"].maps(layers, lpips._network_input(layers, jnp.asarray(x))))
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-2)
