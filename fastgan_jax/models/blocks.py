"""The blocks of generator and discriminator, named as in the paper (section 3). Feature maps are [B, H, W, C]."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.models.init import initializer
from fastgan_jax.models.layers import (
    BatchNorm,
    NoiseInjection,
    SpectralConv,
    SpectralDownsampleConv,
    SpectralProjection,
    SpectralUpsampleConv,
    adaptive_average_pool,
    glu,
    leaky_relu,
    widened,
)
from fastgan_jax.models.variants import REFERENCE, Compute

SLE_ACTIVATIONS = {"swish": nn.swish, "leaky_relu": leaky_relu}


class InitBlock(nn.Module):
    """Latents [B, nz] -> [B, 4, 4, features]: transposed convolution, batch norm, GLU."""

    features: int
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, z: jax.Array, train: bool) -> jax.Array:
        x = SpectralProjection(features=2 * self.features, compute=self.compute, name="conv")(z)
        return BatchNorm(glu, name="norm")(x, train)


class UpBlock(nn.Module):
    """[B, H, W, in] -> [B, 2H, 2W, features]: nearest x2, 3x3 convolution, batch norm, GLU."""

    features: int
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = SpectralUpsampleConv(features=2 * self.features, compute=self.compute, name="conv")(x)
        return BatchNorm(glu, name="norm")(x, train)


class UpBlockComp(nn.Module):
    """The composite UpBlock: [B, H, W, in] -> [B, 2H, 2W, features], with two convolutions and noise after each."""

    features: int
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, noise: tuple[jax.Array, jax.Array], train: bool) -> jax.Array:
        width = 2 * self.features
        x = SpectralUpsampleConv(features=width, compute=self.compute, name="conv_0")(x)
        x = NoiseInjection(name="noise_0")(x, noise[0])
        x = BatchNorm(glu, name="norm_0")(x, train)
        x = SpectralConv(features=width, padding=1, compute=self.compute, name="conv_1")(x)
        x = NoiseInjection(name="noise_1")(x, noise[1])
        return BatchNorm(glu, name="norm_1")(x, train)


class SkipLayerExcitation(nn.Module):
    """Skip-layer excitation (paper, equation 1): channels of a high-resolution map gated by a low-resolution one.

    low [B, h, w, c] is pooled to 4x4 and turned into one gate in (0, 1) per channel of high [B, H, W, C].
    """

    activation: str = "swish"
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, low: jax.Array, high: jax.Array) -> jax.Array:
        features = high.shape[-1]
        gate = adaptive_average_pool(low, 4)
        gate = SpectralConv(features=features, kernel_size=4, compute=self.compute, name="conv_0")(gate)
        gate = SLE_ACTIVATIONS[self.activation](gate)
        gate = SpectralConv(features=features, kernel_size=1, compute=self.compute, name="conv_1")(gate)
        gate = nn.sigmoid(widened(gate))
        # Cast after the broadcast, so that the gate's gradient, a sum over all pixels, is one of float32.
        return high * jnp.broadcast_to(gate, high.shape).astype(high.dtype)


class EfficientAttention(nn.Module):
    """Linear self-attention (Shen et al. 2021) as a residual: x + softmax_c(Q) (softmax_n(K)^T V), [B, H, W, C]."""

    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, features = x.shape

        def flat(y: jax.Array) -> jax.Array:
            return y.reshape(batch, height * width, features)

        query = flat(SpectralConv(features=features, kernel_size=1, compute=self.compute, name="query")(x))
        key, value = (
            flat(SpectralConv(features=features, padding=1, depthwise=True, compute=self.compute, name=name)(x))
            for name in ("key", "value")
        )
        key, query = (nn.softmax(widened(x), axis).astype(value.dtype) for x, axis in ((key, 1), (query, 2)))
        attended = jnp.einsum("bnk,bkv->bnv", query, jnp.einsum("bnk,bnv->bkv", key, value))
        return x + attended.reshape(x.shape)


class LinearHead(nn.Module):
    """The mean of a map over its positions, then a linear layer: [B, H, W, C] -> [B, features], in float32."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", initializer("kernel"), (x.shape[-1], self.features))
        bias = self.param("bias", initializer("bias"), (self.features,))
        mean = widened(x).mean((1, 2))
        return mean @ kernel + bias[None]


class DownBlock(nn.Module):
    """[B, H, W, in] -> [B, H/2, W/2, features]: 4x4 convolution of stride 2, batch norm, leaky ReLU."""

    features: int
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = SpectralDownsampleConv(features=self.features, compute=self.compute, name="conv")(x)
        return BatchNorm(leaky_relu, name="norm")(x, train)


class DownBlockComp(nn.Module):
    """The composite DownBlock: mean of a convolutional and a pooled path, [B, H, W, in] -> [B, H/2, W/2, features]."""

    features: int
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        main = DownBlock(self.features, self.compute, name="main_0")(x, train)
        main = SpectralConv(features=self.features, padding=1, compute=self.compute, name="main_1_conv")(main)
        main = BatchNorm(leaky_relu, name="main_1_norm")(main, train)
        direct = adaptive_average_pool(x, x.shape[1] // 2)
        direct = SpectralConv(features=self.features, kernel_size=1, compute=self.compute, name="direct_conv")(direct)
        direct = BatchNorm(leaky_relu, name="direct_norm")(direct, train)
        return (main + direct) / 2


class Decoder(nn.Module):
    """Simple decoder (paper, section 3.2): a map [B, h, w, c] -> image [B, side, side, channels] in (-1, 1)."""

    features: tuple[int, ...]  # widths of the stages, each of which doubles the side; the first reads 8x8
    channels: int = 3
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = adaptive_average_pool(x, 8)
        for index, features in enumerate(self.features):
            x = UpBlock(features, self.compute, name=f"up_{index}")(x, train)
        x = SpectralConv(features=self.channels, padding=1, compute=self.compute, name="to_picture")(x)
        return jnp.tanh(widened(x))
