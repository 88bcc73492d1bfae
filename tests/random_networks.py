"""Random weights of pretrained networks, in the forms that tests need them."""

import numpy as np

from fastgan_jax.metrics.inception import layer_shapes
from fastgan_jax.models.efficientnet import feature_kernel_shapes
from fastgan_jax.models.lpips import BACKBONES
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import write_arrays
from fastgan_jax.pretrained.layouts import LPIPS_INPUT


def perceptual_params(network: str, seed: int = 0) -> dict:
    """Random parameters of the right scale, as `lpips.embed` takes them."""
    random = np.random.RandomState(seed)
    kernels = BACKBONES[network].kernels

    def layer(shape):
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
        return {"kernel": np.float32(kernel), "bias": np.float32(random.normal(0, 0.1, shape[-1]))}

    channels = BACKBONES[network].channels.items()
    return {
        "input": {name: np.float32(values) for name, values in LPIPS_INPUT.items()},
        "backbone": {name: layer(shape) for name, shape in kernels.items()},
        "heads": {depth: np.float32(random.uniform(0, 0.1, size)) for depth, size in channels},
    }


def cache_random_squeezenet() -> None:
    """Puts a random SqueezeNet into the cache folder as the weights of squeeze_caffe."""
    params = perceptual_params("squeeze")
    arrays = {f"input/{name}": array for name, array in params["input"].items()}
    for layer, leaves in params["backbone"].items():
        arrays |= {f"{layer}/{leaf}": array for leaf, array in leaves.items()}
    write_arrays(store.cached_path("squeezenet_caffe"), arrays)


def inception_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Inception's tensors as a PyTorch file holds them, scaled so that activations neither vanish nor grow."""
    random = np.random.default_rng(seed)
    state = {}
    for name, (height, width, channels, outputs) in layer_shapes().items():
        scale = np.sqrt(2 / (height * width * channels))
        state[f"{name}.conv.weight"] = random.normal(0, scale, (outputs, channels, height, width)).astype(np.float32)
        state[f"{name}.bn.weight"] = random.uniform(0.8, 1.2, outputs).astype(np.float32)
        state[f"{name}.bn.bias"] = random.normal(0, 0.1, outputs).astype(np.float32)
        state[f"{name}.bn.running_mean"] = random.normal(0, 0.1, outputs).astype(np.float32)
        state[f"{name}.bn.running_var"] = random.uniform(0.5, 1.5, outputs).astype(np.float32)
    return state


def feature_layers(seed: int = 0) -> dict:
    """Random parameters of the feature network of projected discriminators, as `efficientnet.feature_maps` takes them.

    Kernels keep the size of features, so that all four maps depend on the image.
    """
    random = np.random.RandomState(seed)
    layers = {}
    for name, shape in feature_kernel_shapes().items():
        kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape)
        layers[name] = {"kernel": np.float32(kernel), "bias": np.float32(random.normal(0, 0.1, shape[-1]))}
    return layers
