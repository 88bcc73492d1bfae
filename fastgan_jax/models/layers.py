"""The layers both networks are made of. Feature maps are [B, H, W, C]; every convolution is bias-free."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.models import spectral_norm as spectral
from fastgan_jax.models.conv import convolve, depthwise_convolve, downsample_convolve, upsample_convolve
from fastgan_jax.models.init import initializer
from fastgan_jax.models.variants import REFERENCE, Compute

LEAKY_SLOPE = 0.2
BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # share of the old running average that is kept; 0.1 in PyTorch's convention


def linear(x: jax.Array) -> jax.Array:
    """x, where there is no activation."""
    return x


def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.2 x), the discriminator's activation."""
    return nn.leaky_relu(x, LEAKY_SLOPE)


@jax.custom_vjp
def glu(x: jax.Array) -> jax.Array:
    """Gated linear unit: [..., 2C] = (a, b) -> a * sigmoid(b), [..., C]."""
    return _glu(x)


def _glu(x: jax.Array) -> jax.Array:
    a, b = jnp.split(x, 2, axis=-1)
    return a * nn.sigmoid(b)


def _glu_backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    """As JAX differentiates; on GPUs by one formula for all elements, since joining two halves takes a pass there."""

    def joined(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(_glu, x)[1](gradient)[0]

    return (jax.lax.platform_dependent(x, gradient, cuda=glu_gradient, default=joined),)


def glu_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient [..., 2C] of what a GLU saw, x, from that of its result [..., C], element by element."""
    halves = x.reshape(*x.shape[:-1], 2, -1)
    other = jnp.flip(halves, -2)
    first = jax.lax.broadcasted_iota(jnp.int32, halves.shape, halves.ndim - 2) == 0
    gate = nn.sigmoid(jnp.where(first, other, halves))
    slope = jnp.where(first, gate, other * gate * (1 - gate))
    return (jnp.expand_dims(gradient, -2) * slope).reshape(x.shape)


glu.defvjp(lambda x: (glu(x), x), _glu_backward)


def adaptive_average_pool(x: jax.Array, side: int) -> jax.Array:
    """Mean over equal blocks: [B, H, W, C] -> [B, side, side, C]; a map of exactly that side passes unchanged.

    Of a smaller map, each value is repeated, as adaptive pooling in PyTorch does.
    """
    batch, height, width, channels = x.shape
    if height < side:
        return x.repeat(side // height, 1).repeat(side // width, 2)
    blocks = x.reshape(batch, side, height // side, side, width // side, channels)
    return blocks.mean((2, 4))


class SpectralModule(nn.Module):
    """Base of the layers with a spectrally normalized kernel: see `models/spectral_norm.py`.

    The state may have a leading axis of groups, u [G, out] and v [G, ...]: then the batch consists of G groups of equal
    size, and each is treated with its own spectral norm.
    """

    compute: Compute = REFERENCE

    def normalized(self, x: jax.Array, shape: tuple[int, ...], function: Callable[..., jax.Array]) -> jax.Array:
        """Declares a kernel of this shape [..., out], u and v, and returns function(x, kernel / its spectral norm).

        The function is linear in the kernel and gives [B, H, W, out]. With groups it is applied to the kernel as it is,
        and its result is divided. Without the collection "spectral" the kernel counts as divided already.
        """
        kernel = self.param("kernel", initializer("kernel"), shape)
        dtype = self.compute.dtype or kernel.dtype
        if not (self.has_variable("spectral", "u") or self.is_initializing()):
            return function(x.astype(dtype), kernel.astype(dtype))
        u = _state(self, "spectral", "u", shape[-1]).value
        v = _state(self, "spectral", "v", kernel.size // shape[-1]).value
        norm = self.get_variable("spectral", "sigma")  # known after a power iteration
        known = () if norm is None else (norm,)
        sigma = spectral.known_sigma if known else spectral.sigma
        if u.ndim == 1:
            return function(x.astype(dtype), (kernel / sigma(kernel, u, v, *known)).astype(dtype))
        sigmas = jnp.stack([sigma(kernel, *of_group) for of_group in zip(u, v, *known, strict=True)])
        result = function(x.astype(dtype), kernel.astype(dtype))
        divisors = jnp.repeat(sigmas, result.shape[0] // len(sigmas)).reshape(-1, 1, 1, 1)
        return (result / divisors).astype(result.dtype)


def _state(module: nn.Module, collection: str, name: str, size: int) -> nn.Variable:
    """Declares a state vector [size] of `module`."""
    return module.variable(collection, name, lambda: initializer(name)(module.make_rng("params"), (size,)))


class SpectralConv(SpectralModule):
    """Spectrally normalized convolution [B, H, W, in] -> [B, H', W', features]."""

    features: int = 1
    kernel_size: int = 3
    stride: int = 1
    padding: int = 0
    depthwise: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, 1 if self.depthwise else x.shape[-1], self.features)
        options = {"stride": self.stride, "padding": self.padding}
        if self.depthwise:
            return self.normalized(x, shape, partial(depthwise_convolve, **options))
        return self.normalized(x, shape, partial(convolve, products=self.compute.products, **options))


class SpectralDownsampleConv(SpectralModule):
    """Spectrally normalized 4x4 convolution of stride 2: [B, H, W, in] -> [B, H/2, W/2, features]."""

    features: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        variants = {"variant": self.compute.downsample, "products": self.compute.products}
        return self.normalized(x, (4, 4, x.shape[-1], self.features), partial(downsample_convolve, **variants))


class SpectralUpsampleConv(SpectralModule):
    """Nearest-neighbor x2, then a spectrally normalized 3x3 convolution: [B, H, W, in] -> [B, 2H, 2W, features]."""

    features: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        variants = {"variant": self.compute.upsample, "products": self.compute.products}
        return self.normalized(x, (3, 3, x.shape[-1], self.features), partial(upsample_convolve, **variants))


class SpectralProjection(SpectralModule):
    """Spectrally normalized transposed convolution of a 1x1 map: latents [B, nz] -> [B, 4, 4, features]."""

    features: int = 1

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        return self.normalized(z, (4, 4, z.shape[-1], self.features), partial(jnp.einsum, "bn,hwnc->bhwc"))


class BatchNorm(nn.Module):
    """Batch normalization over [B, H, W] with statistics in float32, and the activation after it.

    As in PyTorch, the batch is normalized with its biased variance and the running average takes the unbiased one.
    The running averages may have a leading axis of groups, [G, C]: then the batch consists of G groups of equal size,
    each is normalized by itself, and each moves its own averages.

    Attributes:
        activation: elementwise but for channels, whose number it may halve.
    """

    activation: Callable[[jax.Array], jax.Array] = linear

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", initializer("scale"), (channels,))
        bias = self.param("bias", initializer("bias"), (channels,))
        running_mean = _state(self, "batch_stats", "mean", channels)
        running_var = _state(self, "batch_stats", "var", channels)
        # Running averages [G, C] or [C], and x as G groups or as one: [G, B / G, H, W, C].
        averages = [jnp.atleast_2d(running_mean.value), jnp.atleast_2d(running_var.value)]
        groups = x.reshape(len(averages[0]), -1, *x.shape[1:])
        if not train:
            result = _activated(self.activation, groups, scale, bias, *averages)
        else:
            result, *batch = normalize_batch(self.activation, groups, scale, bias)
            count = groups.size // batch[0].size
            unbiased = (batch[0], batch[1] * (count / max(count - 1, 1)))
            if not self.is_initializing():
                for running, own in zip((running_mean, running_var), unbiased, strict=True):
                    running.value = _average(running.value, own.reshape(running.value.shape))
        return result.reshape(x.shape[0], *result.shape[2:])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def normalize_batch(
    activation: Callable[[jax.Array], jax.Array], x: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalization of each group in [G, B, H, W, C] by its own mean and variance, and an activation.

    The backward pass keeps x alone, makes the result again from it, and needs two sums per channel, read in one pass.
    The returned mean and variance have no gradient of their own.

    Args:
        activation: elementwise but for channels, whose number it may halve.
        x: G groups.
        scale: [C], of the normalized x.
        bias: [C], added to it.

    Returns:
        The result, and the mean and the biased variance, both [G, C] in float32.
    """
    return _normalize_forward(activation, x, scale, bias)[0]


def _normalize_forward(activation: Callable, x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[tuple, tuple]:
    wide = widened(x)
    about = wide[:, 0, 0, 0]  # the first pixel: about it, no digits cancel in the variance
    centered, count = wide - _row(about), x[0].size // x.shape[-1]
    mean, square = (total / count for total in channel_sums(centered, jnp.square(centered)))
    mean, var = mean + about, jnp.maximum(square - jnp.square(mean), 0)
    return (_activated(activation, x, scale, bias, mean, var), mean, var), (x, scale, bias, mean, var)


def _normalize_backward(
    activation: Callable, residuals: tuple, gradients: tuple
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, scale, bias, mean, var = residuals
    factor = jax.lax.rsqrt(var + BATCH_NORM_EPSILON)

    def again(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The normalized x, and the gradient of what the activation saw."""
        normal = (widened(x) - _row(mean)) * _row(factor)
        _, vjp_fn = jax.vjp(activation, normal * _row(scale[None]) + _row(bias[None]))
        return normal, *vjp_fn(widened(gradient))

    def once_more(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Not kept for the time of the sums, for which a GPU would write both down, in float32."""
        return again(*jax.lax.optimization_barrier(arrays)[:2])

    normal, gradient = again(x, gradients[0])
    sums = of_scale, of_bias = channel_sums(gradient * normal, gradient)
    normal, gradient = jax.lax.platform_dependent(
        x, gradients[0], *sums, cuda=once_more, default=lambda *_: (normal, gradient)
    )
    common = (_row(of_bias) + normal * _row(of_scale)) / (x[0].size // x.shape[-1])
    x_gradient = (gradient - common) * _row(scale[None] * factor)
    return x_gradient.astype(x.dtype), sum(of_scale), sum(of_bias)


normalize_batch.defvjp(_normalize_forward, _normalize_backward)


def _activated(
    activation: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mean: jax.Array,
    var: jax.Array,
) -> jax.Array:
    """The activation of x [G, B, H, W, C], normalized with mean and variance [G, C], scaled and shifted."""
    factor = scale[None] * jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
    return activation((widened(x) - _row(mean)) * _row(factor) + _row(bias[None])).astype(x.dtype)


@jax.custom_vjp
def channel_sums(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums [G, C] of two arrays [G, B, H, W, C]; by one reduction where that takes half as many kernels, on GPUs."""
    return jax.lax.platform_dependent(first, second, cuda=_sums_at_once, default=_sums_apart)


def _sums_apart(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(array.sum((1, 2, 3)) for array in arrays)


def _sums_at_once(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    zeros = tuple(jnp.zeros((), array.dtype) for array in arrays)
    return jax.lax.reduce(arrays, zeros, lambda a, b: tuple(map(jnp.add, a, b)), (1, 2, 3))


def _sums_forward(first: jax.Array, second: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[int, ...]]:
    return channel_sums(first, second), first.shape


def _sums_backward(shape: tuple[int, ...], gradients: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return tuple(jnp.broadcast_to(_row(gradient), shape) for gradient in gradients)


channel_sums.defvjp(_sums_forward, _sums_backward)


def widened(x: jax.Array) -> jax.Array:
    """x in float32 at least: sums of bfloat16 stand still at 256."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _row(per_channel: jax.Array) -> jax.Array:
    """[G, C] as [G, 1, 1, 1, C]."""
    return per_channel[:, None, None, None]


def _average(running: jax.Array, batch: jax.Array) -> jax.Array:
    batch = jax.lax.stop_gradient(batch)
    return BATCH_NORM_MOMENTUM * running + (1 - BATCH_NORM_MOMENTUM) * batch


class NoiseInjection(nn.Module):
    """Adds one learned scalar times a noise map: x [B, H, W, C] + weight * noise [B, H, W, 1]."""

    @nn.compact
    def __call__(self, x: jax.Array, noise: jax.Array) -> jax.Array:
        weight = self.param("noise_weight", initializer("noise_weight"), (1,))
        scaled = weight.reshape(1, 1, 1, 1) * noise
        # Cast after the broadcast, so that the weight's gradient, a sum over all channels, is one of float32.
        return x + jnp.broadcast_to(scaled, x.shape).astype(x.dtype)


class Embedding(nn.Module):
    """A learned vector per class: labels int32 [B] -> [B, features].

    They begin small, so that training begins nearly without classes: with few images, classes from the start make all
    samples of a class alike (Shahbazi et al., ICLR 2022).
    """

    classes: int
    features: int

    @nn.compact
    def __call__(self, labels: jax.Array) -> jax.Array:
        return self.param("embedding", initializer("embedding"), (self.classes, self.features))[labels]
