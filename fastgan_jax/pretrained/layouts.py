"""From the arrays of a published file to the parameters of the network here.

Every file becomes a flat dict {"layer/kernel": array, ...}, which is how it is kept in the cache.
"""

from collections.abc import Callable

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics import inception
from fastgan_jax.models import efficientnet
from fastgan_jax.models.lpips import BACKBONES, FIRST_FIRE
from fastgan_jax.pretrained.formats import Arrays

# What LPIPS and torchvision do to RGB images, here for images in [-1, 1].
LPIPS_INPUT = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
# The Caffe models take BGR in [0, 255] minus a mean: (x + 1) * 127.5 - mean of RGB, with the first kernel's inputs
# reversed, is (x - shift) / scale.
CAFFE_INPUT = {"shift": [mean / 127.5 - 1 for mean in (123.68, 116.779, 103.939)], "scale": [1 / 127.5] * 3}

VGG_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of the convolutions in torchvision's `features`
FIRE_INDICES = (3, 4, 6, 7, 9, 10, 11, 12)
EFFICIENTNET_NORMS = {"expand": 0, "depthwise": 1, "project": 2}  # numbers of a block's batch norms in the file
FIRE_PARTS = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}


def convert(name: str, arrays: Arrays) -> Arrays:
    """What to store of the registry's file `name`, from its content or from what was stored of it before.

    Raises:
        UserError: if an array is missing or has another shape.
    """
    if name == "inception":
        return _convert_inception(arrays)
    if name == "efficientnet_lite0":
        return _convert_efficientnet(arrays)
    if name.startswith("lpips_"):
        return _convert_heads(name.removeprefix("lpips_"), arrays)
    return _convert_backbone(name, arrays)


def by_layer(arrays: Arrays) -> dict[str, Arrays]:
    """{"layer/kernel": array, ...} as {"layer": {"kernel": array, ...}}."""
    layers: dict[str, Arrays] = {}
    for name, array in arrays.items():
        layer, _, leaf = name.rpartition("/")
        layers.setdefault(layer, {})[leaf] = array
    return layers


def _convert_inception(arrays: Arrays) -> Arrays:
    """Folds batch norm into kernels and biases, with float64."""
    head = arrays.get("fc.weight")
    if head is not None and head.shape[:1] != (inception.CLASSES,):  # torchvision's classifier fits every other shape
        raise UserError(f"the file's array fc.weight has {len(head)} classes, not {inception.CLASSES}: other weights")
    converted: Arrays = {}
    for name, shape in inception.layer_shapes().items():
        names = (f"{name}.conv.weight", f"{name}.bn")
        converted |= _folded(arrays, name, shape, *names, inception.BATCH_NORM_EPSILON)
    return converted


def _convert_efficientnet(arrays: Arrays) -> Arrays:
    """Folds batch norm into kernels and biases, with float64; in the file, a block's batch norms are numbered."""
    converted: Arrays = {}
    for name, shape in efficientnet.kernel_shapes().items():
        if name == "classifier":
            published = "_fc.weight" in arrays
            kernel, bias = ("_fc.weight", "_fc.bias") if published else (f"{name}/kernel", f"{name}/bias")
            converted[f"{name}/kernel"] = _array(arrays, kernel, shape, _hwio)
            converted[f"{name}/bias"] = _array(arrays, bias, shape[-1:])
            continue
        block, _, layer = name.partition("/")
        if layer:
            prefix = f"_blocks.{block.removeprefix('block')}."
            names = (f"{prefix}_{layer}_conv.weight", f"{prefix}_bn{EFFICIENTNET_NORMS[layer]}")
        else:
            names = (f"_conv_{name}.weight", "_bn0" if name == "stem" else "_bn1")
        converted |= _folded(arrays, name, shape, *names, efficientnet.BATCH_NORM_EPSILON)
    return converted


def _folded(arrays: Arrays, name: str, shape: tuple[int, ...], weight: str, norm: str, epsilon: float) -> Arrays:
    """Kernel and bias of the layer `name`: as they are stored, or from PyTorch's arrays of convolution and norm."""
    if any("/" in stored for stored in arrays):
        kernel, bias = _array(arrays, f"{name}/kernel", shape), _array(arrays, f"{name}/bias", shape[-1:])
    else:
        kernel = _array(arrays, weight, shape, _hwio).astype(np.float64)
        scale, shift, mean, variance = (
            _array(arrays, f"{norm}.{part}", shape[-1:]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + epsilon)
        kernel, bias = kernel * factor, shift - mean * factor
    return {f"{name}/kernel": np.float32(kernel), f"{name}/bias": np.float32(bias)}


def _convert_heads(network: str, arrays: Arrays) -> Arrays:
    heads = {}
    for index, (depth, channels) in enumerate(BACKBONES[network].channels.items()):
        found = depth if depth in arrays else f"lin{index}.model.1.weight"
        heads[depth] = _array(arrays, found, (channels,), np.ravel)
    return heads


def _convert_backbone(name: str, arrays: Arrays) -> Arrays:
    network, caffe = ("vgg" if name == "vgg16" else "squeeze"), name == "squeezenet_caffe"
    stored = "input/shift" in arrays
    torch_layout = any(key.endswith(".weight") for key in arrays)
    if not stored and torch_layout == caffe:
        cure = "squeezenet1_1 or vgg16" if caffe else "squeezenet_caffe"
        raise UserError(f"the file is laid out as one of {cure}, not of {name}: choose that name")
    converted = {
        f"input/{part}": np.float32(values) for part, values in (CAFFE_INPUT if caffe else LPIPS_INPUT).items()
    }
    torch_names = _torch_names(network) if torch_layout else {}
    for layer, shape in BACKBONES[network].kernels.items():
        if torch_layout:
            kernel = _array(arrays, f"{torch_names[layer]}.weight", shape, _hwio)
            bias = _array(arrays, f"{torch_names[layer]}.bias", shape[-1:])
        else:
            kernel = _array(arrays, _ending(arrays, f"{layer}/kernel"), shape)
            bias = _array(arrays, _ending(arrays, f"{layer}/bias"), shape[-1:])
        if caffe and not stored and shape[2] == 3:
            kernel = kernel[:, :, ::-1]
        converted |= {f"{layer}/kernel": kernel, f"{layer}/bias": bias}
    return converted


def _torch_names(network: str) -> dict[str, str]:
    """Each layer's name in torchvision's state dict."""
    if network == "vgg":
        return {layer: f"features.{i}" for layer, i in zip(BACKBONES["vgg"].kernels, VGG_INDICES, strict=True)}
    names = {"conv1": "features.0"}
    for number, index in enumerate(FIRE_INDICES, start=FIRST_FIRE):
        names |= {f"fire{number}/{part}": f"features.{index}.{torch}" for part, torch in FIRE_PARTS.items()}
    return names


def _ending(arrays: Arrays, name: str) -> str:
    """The array's name in a file whose groups repeat the layer's name, as Keras writes them."""
    return next((found for found in arrays if f"/{found}".endswith(f"/{name}")), name)


def _hwio(kernel: np.ndarray) -> np.ndarray:
    """PyTorch's kernel [out, in, kh, kw] as [kh, kw, in, out], a matrix [out, in] as [1, 1, in, out]."""
    if kernel.ndim == 2:
        kernel = kernel[:, :, None, None]
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel


def _array(arrays: Arrays, name: str, shape: tuple[int, ...], change: Callable = np.asarray) -> np.ndarray:
    if name not in arrays:
        raise UserError(f"the file lacks the array {name}; it has {', '.join(sorted(arrays)[:4]) or 'none'}, ...")
    changed = change(arrays[name])
    if changed.shape != shape:
        found = list(arrays[name].shape)
        raise UserError(f"the file's array {name} has shape {found}, which does not give {list(shape)}")
    return np.ascontiguousarray(changed, np.float32)
