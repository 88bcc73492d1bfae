"""Inception-v3 in the form that the Fréchet inception distance is defined with: images to 2048 features.

The network (Szegedy et al., "Rethinking the Inception Architecture", 2016, figures 5 to 7 and 10) as TensorFlow
published its weights on 2015-12-05. It departs from common Inception-v3 programs in two places: average pooling counts
only pixels inside the map, and the pooling branch of the last block takes the maximum.

Every convolution is bias-free and followed by batch norm (epsilon 1e-3) and ReLU; the stored statistics are folded into
kernel and bias when weights are converted, so parameters are `{name: {"kernel": [kh, kw, in, out], "bias": [out]}}`
with a name such as `Mixed_5b.branch1x1`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.inception_shapes import layer_shapes

SIDE = 299  # height and width of the images that the network expects
FEATURES = 2048
BATCH_NORM_EPSILON = 1e-3
CLASSES = 1008  # of the classifier head, which features do not need; another count tells of other weights

Params = dict[str, dict[str, jax.Array | np.ndarray]]
Unit = Callable[..., jax.Array]


def features(params: Params, images: jax.Array) -> jax.Array:
    """The features of images: the mean over the last map ("pool3").

    Products are true float32 on every device, as digits of FID depend on them. Compile it with `jax.jit`.

    Args:
        params: what `params_from_torch` returns.
        images: floating point [B, 299, 299, 3], in [-1, 1]; see `resizing.resize_for_network`.

    Returns:
        float32 [B, 2048], each at least 0.

    Raises:
        UserError: if the images have another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (SIDE, SIDE, 3):
        raise UserError(f"Inception takes images [B, {SIDE}, {SIDE}, 3], not {tuple(images.shape)}: resize them first")

    def unit(name: str, x: jax.Array, stride: int = 1, padding: str = "SAME") -> jax.Array:
        return _convolve(params[name], x, stride, padding)

    x = images.astype(jnp.float32)
    x = unit("Conv2d_1a_3x3", x, 2, "VALID")
    x = unit("Conv2d_2a_3x3", x, 1, "VALID")
    x = unit("Conv2d_2b_3x3", x)
    x = _max_pool(x, 2, "VALID")
    x = unit("Conv2d_3b_1x1", x)
    x = unit("Conv2d_4a_3x3", x, 1, "VALID")
    x = _max_pool(x, 2, "VALID")  # [B, 35, 35, 192]
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = _block_a(unit, name, x)
    x = _reduce_b(unit, "Mixed_6a", x)  # [B, 17, 17, 768]
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = _block_c(unit, name, x)
    x = _reduce_d(unit, "Mixed_7a", x)  # [B, 8, 8, 1280]
    x = _block_e(unit, "Mixed_7b", x, _average_pool)
    x = _block_e(unit, "Mixed_7c", x, _max_pool)
    return x.mean((1, 2))


def params_from_torch(state: Mapping[str, np.ndarray]) -> Params:
    """Parameters from the tensors of the PyTorch file `pt_inception-2015-12-05`.

    Args:
        state: tensors by name, such as `Conv2d_1a_3x3.conv.weight` [out, in, kh, kw] and `Conv2d_1a_3x3.bn.weight`
            [out]. Tensors that the features do not need (the heads, `num_batches_tracked`) may be there or not.

    Returns:
        float32 arrays on the host; batch norm is folded in with float64.

    Raises:
        UserError: naming the tensor that is missing or has another shape, or if the head has a number of classes that
            tells of other weights (those of torchvision's classifier fit every other shape).
    """
    head = state.get("fc.weight")
    if head is not None and np.shape(head)[:1] != (CLASSES,):
        raise UserError(
            f"Inception tensor fc.weight has shape {np.shape(head)}, not {CLASSES} classes: these are another "
            "classifier's weights; give the file pt_inception-2015-12-05"
        )
    params = {}
    for name, (height, width, channels, outputs) in layer_shapes().items():
        kernel = _tensor(state, f"{name}.conv.weight", (outputs, channels, height, width))
        scale, shift, mean, variance = (
            _tensor(state, f"{name}.bn.{part}", (outputs,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
        params[name] = {
            "kernel": (kernel.transpose(2, 3, 1, 0) * factor).astype(np.float32),
            "bias": (shift - mean * factor).astype(np.float32),
        }
    return params


def unflatten(arrays: Mapping[str, np.ndarray]) -> Params:
    """Parameters from the flat form in which converted ones are stored.

    Args:
        arrays: the leaves of what `params_from_torch` returned, by path, such as `Mixed_5b.branch1x1/kernel`.

    Raises:
        UserError: naming the array that is missing or has another shape.
    """
    return {
        name: {
            "kernel": _tensor(arrays, f"{name}/kernel", shape).astype(np.float32),
            "bias": _tensor(arrays, f"{name}/bias", shape[-1:]).astype(np.float32),
        }
        for name, shape in layer_shapes().items()
    }


def _tensor(state: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor in float64, checked."""
    if name not in state:
        raise UserError(f"Inception weights lack the tensor {name}: give the file pt_inception-2015-12-05")
    found = tuple(np.shape(state[name]))
    if found != shape:
        raise UserError(
            f"Inception tensor {name} has shape {found}, not {shape}: give the file pt_inception-2015-12-05"
        )
    return np.asarray(state[name], np.float64)


def _convolve(layer: dict[str, jax.Array], x: jax.Array, stride: int, padding: str) -> jax.Array:
    """Convolution with folded batch norm, then ReLU."""
    x = lax.conv_general_dilated(
        x,
        layer["kernel"],
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return jax.nn.relu(x + layer["bias"][None, None, None])


def _max_pool(x: jax.Array, stride: int = 1, padding: str = "SAME") -> jax.Array:
    """Maximum over 3x3 windows; padding never wins."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def _average_pool(x: jax.Array) -> jax.Array:
    """Mean over those pixels of each 3x3 window that lie inside the map."""
    window, strides = (1, 3, 3, 1), (1, 1, 1, 1)
    total = lax.reduce_window(x, 0.0, lax.add, window, strides, "SAME")
    count = lax.reduce_window(jnp.ones((1, *x.shape[1:3], 1), x.dtype), 0.0, lax.add, window, strides, "SAME")
    return total / count


def _chain(unit: Unit, names: str, x: jax.Array) -> jax.Array:
    """Applies the stride-1 layers `names`, separated by spaces, one after the other."""
    for name in names.split():
        x = unit(name, x)
    return x


def _block_a(unit: Unit, n: str, x: jax.Array) -> jax.Array:
    """Branches of 1x1, 5x5, two 3x3, and pooling, on maps of 35x35."""
    return jnp.concatenate(
        [
            unit(f"{n}.branch1x1", x),
            _chain(unit, f"{n}.branch5x5_1 {n}.branch5x5_2", x),
            _chain(unit, f"{n}.branch3x3dbl_1 {n}.branch3x3dbl_2 {n}.branch3x3dbl_3", x),
            unit(f"{n}.branch_pool", _average_pool(x)),
        ],
        -1,
    )


def _reduce_b(unit: Unit, n: str, x: jax.Array) -> jax.Array:
    """35x35 to 17x17: strided 3x3, two 3x3 of which the last strides, and pooling."""
    double = _chain(unit, f"{n}.branch3x3dbl_1 {n}.branch3x3dbl_2", x)
    return jnp.concatenate(
        [
            unit(f"{n}.branch3x3", x, 2, "VALID"),
            unit(f"{n}.branch3x3dbl_3", double, 2, "VALID"),
            _max_pool(x, 2, "VALID"),
        ],
        -1,
    )


def _block_c(unit: Unit, n: str, x: jax.Array) -> jax.Array:
    """Branches of 1x1, one 7x7, two 7x7 (each as 1x7 and 7x1), and pooling, on maps of 17x17."""
    double = " ".join(f"{n}.branch7x7dbl_{i}" for i in range(1, 6))
    return jnp.concatenate(
        [
            unit(f"{n}.branch1x1", x),
            _chain(unit, f"{n}.branch7x7_1 {n}.branch7x7_2 {n}.branch7x7_3", x),
            _chain(unit, double, x),
            unit(f"{n}.branch_pool", _average_pool(x)),
        ],
        -1,
    )


def _reduce_d(unit: Unit, n: str, x: jax.Array) -> jax.Array:
    """17x17 to 8x8: strided 3x3, 7x7 followed by a strided 3x3, and pooling."""
    seven = _chain(unit, f"{n}.branch7x7x3_1 {n}.branch7x7x3_2 {n}.branch7x7x3_3", x)
    return jnp.concatenate(
        [
            unit(f"{n}.branch3x3_2", unit(f"{n}.branch3x3_1", x), 2, "VALID"),
            unit(f"{n}.branch7x7x3_4", seven, 2, "VALID"),
            _max_pool(x, 2, "VALID"),
        ],
        -1,
    )


def _block_e(unit: Unit, n: str, x: jax.Array, pool: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Branches of 1x1, 3x3 and two 3x3 (the last of each as 1x3 beside 3x1), and pooling, on maps of 8x8."""
    single = unit(f"{n}.branch3x3_1", x)
    double = _chain(unit, f"{n}.branch3x3dbl_1 {n}.branch3x3dbl_2", x)
    return jnp.concatenate(
        [
            unit(f"{n}.branch1x1", x),
            unit(f"{n}.branch3x3_2a", single),
            unit(f"{n}.branch3x3_2b", single),
            unit(f"{n}.branch3x3dbl_3a", double),
            unit(f"{n}.branch3x3dbl_3b", double),
            unit(f"{n}.branch_pool", pool(x)),
        ],
        -1,
    )
