"""The layers both networks are made of. Feature maps are [B, H, W, C]; every convolution is bias-free."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.models import spectral_norm as spectral
from fastgan_jax.models.conv import convolve, downsample_convolve, upsample_convolve
from fastgan_jax.models.init import initializer
from fastgan_jax.models.variants import REFERENCE, Compute

LEAKY_SLOPE = 0.2
BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # share of the old running average that is kept; 0.1 in PyTorch's convention


def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.2 x), the discriminator's activation."""
    return nn.leaky_relu(x, LEAKY_SLOPE)


def glu(x: jax.Array) -> jax.Array:
    """Gated linear unit: [..., 2C] = (a, b) -> a * sigmoid(b), [..., C]."""
    a, b = jnp.split(x, 2, axis=-1)
    return a * nn.sigmoid(b)


def adaptive_average_pool(x: jax.Array, side: int) -> jax.Array:
    """Mean over equal blocks: [B, H, W, C] -> [B, side, side, C]; a map of exactly that side passes unchanged."""
    batch, height, width, channels = x.shape
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

        The function is linear in the kernel and gives [B, H, W, out]. With the variant "output", or with groups, it is
        applied to the kernel as it is, and its result is divided.
        """
        kernel = self.param("kernel", initializer("kernel"), shape)
        u = _state(self, "spectral", "u", shape[-1]).value
        v = _state(self, "spectral", "v", kernel.size // shape[-1]).value
        dtype = self.compute.dtype or kernel.dtype
        if u.ndim == 1 and self.compute.spectral == "kernel":
            return function(x.astype(dtype), (kernel / spectral.sigma(kernel, u, v)).astype(dtype))
        u, v = jnp.atleast_2d(u), jnp.atleast_2d(v)
        sigmas = jax.vmap(spectral.sigma, (None, 0, 0))(kernel, u, v)
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
        groups = x.shape[-1] if self.depthwise else 1
        options = {"stride": self.stride, "padding": self.padding, "groups": groups}
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // groups, self.features)
        return self.normalized(x, shape, partial(convolve, kernel_gradient=self.compute.kernel_gradient, **options))


class SpectralDownsampleConv(SpectralModule):
    """Spectrally normalized 4x4 convolution of stride 2: [B, H, W, in] -> [B, H/2, W/2, features]."""

    features: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        variants = {"variant": self.compute.downsample, "kernel_gradient": self.compute.kernel_gradient}
        return self.normalized(x, (4, 4, x.shape[-1], self.features), partial(downsample_convolve, **variants))


class SpectralUpsampleConv(SpectralModule):
    """Nearest-neighbor x2, then a spectrally normalized 3x3 convolution: [B, H, W, in] -> [B, 2H, 2W, features]."""

    features: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        variants = {"variant": self.compute.upsample, "kernel_gradient": self.compute.kernel_gradient}
        return self.normalized(x, (3, 3, x.shape[-1], self.features), partial(upsample_convolve, **variants))


class SpectralProjection(SpectralModule):
    """Spectrally normalized transposed convolution of a 1x1 map: latents [B, nz] -> [B, side, side, features]."""

    features: int = 1
    side: int = 4

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        return self.normalized(
            z, (self.side, self.side, z.shape[-1], self.features), partial(jnp.einsum, "bn,hwnc->bhwc")
        )


class BatchNorm(nn.Module):
    """Batch normalization over [B, H, W] with statistics in float32.

    As in PyTorch, the batch is normalized with its biased variance and the running average takes the unbiased one.
    The running averages may have a leading axis of groups, [G, C]: then the batch consists of G groups of equal size,
    each is normalized by itself, and each moves its own averages.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", initializer("scale"), (channels,))
        bias = self.param("bias", initializer("bias"), (channels,))
        running_mean = _state(self, "batch_stats", "mean", channels)
        running_var = _state(self, "batch_stats", "var", channels)

        def normalize(x: jax.Array, *running: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            return _normalize(x, scale, bias, *running, train=train)

        if running_mean.value.ndim == 1:
            result, mean, var = normalize(x, running_mean.value, running_var.value)
        else:
            groups = x.reshape(len(running_mean.value), -1, *x.shape[1:])
            result, mean, var = jax.vmap(normalize)(groups, running_mean.value, running_var.value)
        if train and not self.is_initializing():
            running_mean.value, running_var.value = mean, var
        return result.reshape(x.shape)


def _normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, running_mean: jax.Array, running_var: jax.Array, *, train: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalization of [B, H, W, C]: the result, and the running averages [C] after it (or as they are)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, var = running_mean, running_var
    if train:
        mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
        count = x.size // x.shape[-1]
        running_mean = _average(running_mean, mean)
        running_var = _average(running_var, var * (count / max(count - 1, 1)))
    factor = scale * jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
    row = (1, 1, 1, -1)
    result = (wide - mean.reshape(row)) * factor.reshape(row) + bias.reshape(row)
    return result.astype(x.dtype), running_mean, running_var


def _average(running: jax.Array, batch: jax.Array) -> jax.Array:
    batch = jax.lax.stop_gradient(batch)
    return BATCH_NORM_MOMENTUM * running + (1 - BATCH_NORM_MOMENTUM) * batch


class NoiseInjection(nn.Module):
    """Adds one learned scalar times a noise map: x [B, H, W, C] + weight * noise [B, H, W, 1]."""

    @nn.compact
    def __call__(self, x: jax.Array, noise: jax.Array) -> jax.Array:
        weight = self.param("noise_weight", initializer("noise_weight"), (1,))
        return x + (weight.reshape(1, 1, 1, 1) * noise).astype(x.dtype)


class Embedding(nn.Module):
    """A learned vector per class: labels int32 [B] -> [B, features]."""

    classes: int
    features: int

    @nn.compact
    def __call__(self, labels: jax.Array) -> jax.Array:
        return self.param("embedding", initializer("embedding"), (self.classes, self.features))[labels]
