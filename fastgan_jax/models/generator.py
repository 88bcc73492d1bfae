"""The generator (paper, section 3.1): latents to an image and its small copy, with skip-layer excitation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.models.blocks import EfficientAttention, InitBlock, SkipLayerExcitation, UpBlock, UpBlockComp
from fastgan_jax.models.init import initializer
from fastgan_jax.models.layers import Embedding, SpectralConv, widened
from fastgan_jax.models.variants import REFERENCE, Compute

SKIP_PAIRS = {64: 4, 128: 8, 256: 16, 512: 32}  # side of the excited map: side of the map that excites it
LAST_EARLY_SIDE = 32  # the early half ends here: its maps are all that excitation reads
ATTENTION_SIDES = (4, 8, 16)
STAGES = ("alternating", "composite", "simple")  # which upsampling stages are composite
LATENT_EPSILON = 1e-8
TANH_FROM_RESOLUTION = 1024  # the reference puts tanh on its outputs only from here up


def generator_width(side: int, ngf: int) -> int:
    """Channels of the generator's map of this side: 16, 8, 4, 2 times ngf at 4 to 32, then 2 ngf at 64, halving on."""
    return max(1, ngf * (64 if side <= LAST_EARLY_SIDE else 128) // side)


def small_side(resolution: int) -> int:
    """Side in pixels of the small image that the generator also puts out and the small branch of D sees."""
    return min(128, resolution // 2)


def stage_sides(resolution: int) -> list[int]:
    """Sides of the maps after each upsampling stage: 8, 16, ..., resolution."""
    return [2**k for k in range(3, resolution.bit_length())]


def is_composite(side: int, stages: str = "alternating") -> bool:
    """Whether the stage that ends at this side is a composite one, which also takes noise; `stages` is one of STAGES.

    "alternating" are those of 8, 32, 128, ... pixels (reference).
    """
    return {"alternating": side.bit_length() % 2 == 0, "composite": True, "simple": False}[stages]


def noise_sides(resolution: int, stages: str = "alternating") -> list[int]:
    """Sides of the noise maps [B, side, side, 1], in the order in which the generator takes them."""
    return [side for side in stage_sides(resolution) if is_composite(side, stages) for _ in range(2)]


def unit_mean_square(z: jax.Array) -> jax.Array:
    """Latents [B, nz] scaled to mean square 1 each, that is to length sqrt(nz)."""
    return z * jax.lax.rsqrt(jnp.square(z).mean(1, keepdims=True) + LATENT_EPSILON)


class Generator(nn.Module):
    """z [B, nz] -> (image [B, R, R, channels], small image [B, s, s, channels]), s = min(128, R / 2)."""

    resolution: int
    channels: int = 3
    ngf: int = 64
    num_classes: int = 0
    skip_excitation: bool = True
    attention: bool = False
    sle_activation: str = "swish"
    output_tanh: bool | None = None  # None: as the reference, from 1024 up
    output_bias: bool = False  # added to the full image; the reference has none
    stages: str = "alternating"  # one of STAGES
    normalize_latent: bool = False  # scale latents to mean square 1
    compute: Compute = REFERENCE

    @property
    def noise_sides(self) -> list[int]:
        """Sides of the noise maps that a call takes, in order."""
        return noise_sides(self.resolution, self.stages)

    def call_shapes(self, latent_size: int, batch: int = 2) -> tuple[tuple, dict]:
        """Shapes of a call's arguments: latents, noise maps and labels; none by name."""
        noise = (jax.ShapeDtypeStruct((batch, side, side, 1), jnp.float32) for side in self.noise_sides)
        labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
        return (jax.ShapeDtypeStruct((batch, latent_size), jnp.float32), tuple(noise), labels), {}

    def setup(self) -> None:
        def stage(side: int) -> nn.Module:
            block, static = (UpBlockComp, 3) if is_composite(side, self.stages) else (UpBlock, 2)
            block = nn.remat(block, static_argnums=(static,)) if self.compute.remat else block
            return block(generator_width(side, self.ngf), compute=self.compute)

        sides = stage_sides(self.resolution)
        self.initial = InitBlock(generator_width(4, self.ngf), compute=self.compute)
        self.up = {str(side): stage(side) for side in sides}
        if self.skip_excitation:
            self.sle = {
                str(side): SkipLayerExcitation(self.sle_activation, compute=self.compute)
                for side in SKIP_PAIRS
                if side <= self.resolution
            }
        if self.attention:
            self.attend = {str(side): EfficientAttention(compute=self.compute) for side in ATTENTION_SIDES}
        if self.num_classes:
            self.embed = Embedding(self.num_classes, 4 * self.ngf)
        self.to_small = SpectralConv(features=self.channels, kernel_size=1, compute=self.compute)
        self.to_big = SpectralConv(features=self.channels, padding=1, compute=self.compute)
        if self.output_bias:
            self.bias = self.param("bias", initializer("bias"), (self.channels,))

    def __call__(
        self, z: jax.Array, noise: tuple[jax.Array, ...], labels: jax.Array | None = None, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Both images of each latent.

        Args:
            z: latents [B, nz], standard normal.
            noise: standard normal maps [B, side, side, 1], one for each of `noise_sides`.
            labels: int32 [B], only for a conditional generator.
            train: normalize with the statistics of this batch (and average them) instead of the stored ones.

        Returns:
            Float32 images, nominally in [-1, 1]: [B, R, R, channels] and [B, s, s, channels].
        """
        early = self.early(z, noise, labels, train=train)
        return self.late(early[LAST_EARLY_SIDE], early, noise, train=train)

    def early(
        self, z: jax.Array, noise: tuple[jax.Array, ...], labels: jax.Array | None = None, *, train: bool
    ) -> dict[int, jax.Array]:
        """The maps {side: [B, side, side, C]} of sides 4, 8, 16 and 32; arguments as for the whole."""
        if self.normalize_latent:
            z = unit_mean_square(z)
        if self.num_classes:
            z = jnp.concatenate([z, self.embed(labels).astype(z.dtype)], axis=-1)
        maps = {4: self._attended(self.initial(z, train), 4)}
        for side in stage_sides(LAST_EARLY_SIDE):
            maps[side] = self._attended(self._stage(side, maps[side // 2], noise, train), side)
        return maps

    def late(
        self, x: jax.Array, exciting: dict[int, jax.Array], noise: tuple[jax.Array, ...], *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Both images from the 32x32 map x and the maps that excite the later ones.

        Style mixing (paper, section 4.3) passes x from one latent and (some of) the exciting maps from another.
        """
        for side in stage_sides(self.resolution):
            if side > LAST_EARLY_SIDE:
                x = self._stage(side, x, noise, train)
                if self.skip_excitation and side in SKIP_PAIRS:
                    x = self.sle[str(side)](exciting[SKIP_PAIRS[side]], x)
            if side == small_side(self.resolution):
                small = self.to_small(x)
        bias = self.bias.reshape(1, 1, 1, -1) if self.output_bias else None
        return self._output(self.to_big(x), bias), self._output(small)

    def _stage(self, side: int, x: jax.Array, noise: tuple[jax.Array, ...], train: bool) -> jax.Array:
        block = self.up[str(side)]
        if not is_composite(side, self.stages):
            return block(x, train)
        first = self.noise_sides.index(side)
        return block(x, tuple(noise[first : first + 2]), train)

    def _attended(self, x: jax.Array, side: int) -> jax.Array:
        return self.attend[str(side)](x) if self.attention and side in ATTENTION_SIDES else x

    def _output(self, image: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        tanh = self.resolution >= TANH_FROM_RESOLUTION if self.output_tanh is None else self.output_tanh
        image = widened(image)
        image = image if bias is None else image + bias
        return jnp.tanh(image) if tanh else image
