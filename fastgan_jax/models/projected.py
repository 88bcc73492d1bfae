"""The projected discriminator (Sauer et al. 2021): images are judged by their features in a frozen network.

Four maps of a pretrained EfficientNet-Lite0 are mixed, across channels and then across scales, by random 1x1
convolutions that are never trained (section 3.2 of that paper). A small discriminator judges each of the four mixed
maps. A pass has two halves: `project` makes the maps, `ProjectedDiscriminator` judges them, so that a gradient with
respect to D's parameters enters neither the feature network nor the random matrices.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.models import efficientnet
from fastgan_jax.models.blocks import DownBlock
from fastgan_jax.models.discriminator import LAST_SIDE, CallShapes, Discriminator, DiscriminatorOutput, halvings
from fastgan_jax.models.init import initializer
from fastgan_jax.models.layers import SpectralConv, widened
from fastgan_jax.models.variants import REFERENCE, Compute
from fastgan_jax.utils.images import resize_antialias, rgb_of_units

KINDS = ("fastgan", "projected", "both")  # model.discriminator
SMALLEST_INPUT = 224  # smaller images are enlarged to this side before the feature network
MIXED_CHANNELS = (64, 128, 256, 512)  # of the maps of strides 4, 8, 16, 32 after mixing across channels
MAP_CHANNELS = (64, 64, 128, 256)  # of the maps that are judged, of strides 2, 4, 8, 16
MAP_STRIDES = (2, 4, 8, 16)
WIDTHS = {512: 16, 256: 32, 128: 64, 64: 64, 32: 128, 16: 256, 8: 512}  # channels of a discriminator's map of this side
HEAD_SIZE = 4  # side of the last convolution's kernel
CLASS_CHANNELS = 64  # of the last map and of the class vector that it is multiplied with


def projected_input_side(resolution: int) -> int:
    """Side in pixels of the images that the feature network sees."""
    return max(resolution, SMALLEST_INPUT)


def map_sides(resolution: int) -> tuple[int, ...]:
    """Sides of the maps that are judged, such as (128, 64, 32, 16) at 256."""
    return tuple(projected_input_side(resolution) // stride for stride in MAP_STRIDES)


def mixing_shapes() -> dict[str, tuple[int, int]]:
    """Shapes of the random matrices [in + 1, out], whose last row is a bias: across channels, then across scales."""
    channels = zip(efficientnet.TAPS.values(), MIXED_CHANNELS, strict=True)
    scales = zip(MIXED_CHANNELS, MAP_CHANNELS, strict=True)
    return {f"mixing_channels_{level}": (size + 1, out) for level, (size, out) in enumerate(channels)} | {
        f"mixing_scales_{level}": (size + 1, out) for level, (size, out) in enumerate(scales)
    }


@jax.named_scope("project")
def project(
    layers: efficientnet.Layers, mixing: dict[str, jax.Array], images: jax.Array, dtype: jnp.dtype | None = None
) -> tuple[jax.Array, ...]:
    """The maps that are judged, of strides 2, 4, 8 and 16: [B, side, side, 64 | 64 | 128 | 256].

    A 1x1 convolution commutes with upsampling, whose weights sum to one: it comes first here, on the smaller map.

    Args:
        layers: parameters of the feature network, see `models/efficientnet.py`.
        mixing: the matrices of `mixing_shapes`; a trained discriminator's parameters hold them.
        images: [B, R, R, C] nominally in [-1, 1], as they come from augmentation; C = 1 is repeated.
        dtype: of the computation; None: that of the parameters.
    """
    if images.shape[1] < SMALLEST_INPUT:
        images = resize_antialias(images, SMALLEST_INPUT)
    maps = efficientnet.feature_maps(layers, rgb_of_units(images), dtype)
    maps = [_mix(mixing[f"mixing_channels_{level}"], x) for level, x in enumerate(maps)]
    projected, coarser = [], None
    for level in reversed(range(len(maps))):
        x = maps[level] if coarser is None else maps[level] + coarser
        coarser = upsample_aligned(_mix(mixing[f"mixing_scales_{level}"], x))
        projected.append(coarser)
    return tuple(reversed(projected))


def _mix(matrix: jax.Array, x: jax.Array) -> jax.Array:
    matrix = matrix.astype(x.dtype)
    return x @ matrix[:-1] + matrix[-1].reshape(1, 1, 1, -1)


def upsample_aligned(x: jax.Array) -> jax.Array:
    """Bilinear x2 of [B, H, H, C] with the corners of both grids aligned: [B, 2H, 2H, C]."""
    weights = jnp.asarray(_aligned_weights(x.shape[1]), x.dtype)
    return jnp.einsum("oh,bhwc->bowc", weights, jnp.einsum("pw,bhwc->bhpc", weights, x))


def _aligned_weights(side: int) -> np.ndarray:
    """Weights [2 side, side] of `upsample_aligned` along one axis."""
    places = np.arange(2 * side) * (side - 1) / (2 * side - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(side)))


class MapDiscriminator(nn.Module):
    """Judges one map [B, side, side, C]: blocks of stride 2 down to 8x8 (7x7), then a valid 4x4 convolution: [B, L].

    The convolutions of the authors' blocks have a bias, which batch norm takes away again; here they have none.
    """

    num_classes: int = 0
    compute: Compute = REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        block = nn.remat(DownBlock, static_argnums=(2,)) if self.compute.remat else DownBlock
        for side in halvings(_power_of_two(x.shape[1]), LAST_SIDE):
            x = block(WIDTHS[side], self.compute, name=f"down_{side}")(x, train)
        features = CLASS_CHANNELS if self.num_classes else 1
        x = SpectralConv(features=features, kernel_size=HEAD_SIZE, compute=self.compute, name="head")(x)
        if self.num_classes:
            shape = (self.num_classes, CLASS_CHANNELS)
            weights = self.param("class_weights", initializer("class_weights"), shape)[labels]
            x = (widened(x) * weights[:, None, None]).sum(-1) / math.sqrt(CLASS_CHANNELS)
        return x.reshape(len(x), -1)


def _power_of_two(side: int) -> int:
    """The nearest one in ratio: 112 -> 128, 56 -> 64."""
    return 2 ** round(math.log2(side))


class ProjectedDiscriminator(nn.Module):
    """The maps of `project`, and with `image` the images before them, to logits.

    Attributes:
        image: FastGAN's discriminator, which judges the images beside the maps ("both"); None: the maps alone.
    """

    resolution: int
    channels: int = 3
    num_classes: int = 0
    image: Discriminator | None = None
    compute: Compute = REFERENCE

    def setup(self) -> None:
        if self.image is not None:
            nn.share_scope(self, self.image)  # its variables are named as in a run with it alone
        self.mixing = {name: self.param(name, initializer(name), shape) for name, shape in mixing_shapes().items()}
        self.of_map = [MapDiscriminator(self.num_classes, self.compute, name=f"map_{stride}") for stride in MAP_STRIDES]

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the reconstruction decoders."""
        return () if self.image is None else self.image.decoders

    @property
    def part_divisions(self) -> int:
        """As of `Discriminator`; without `image` nothing is reconstructed."""
        return 2 if self.image is None else self.image.part_divisions

    @property
    def heads(self) -> tuple[tuple[str, int], ...]:
        """Names and numbers of outputs of the self-supervision heads."""
        return () if self.image is None else self.image.heads

    @property
    def num_logits(self) -> int:
        """Logits per image, of all heads together."""
        return sum(self.logit_groups)

    @property
    def logit_groups(self) -> tuple[int, ...]:
        """Logits per image of each group: of `image`, if there is one, and of all maps."""
        sides = (round(side / _power_of_two(side) * LAST_SIDE) + 1 - HEAD_SIZE for side in map_sides(self.resolution))
        of_maps = sum(side**2 for side in sides)
        return (of_maps,) if self.image is None else (self.image.num_logits, of_maps)

    @nn.nowrap
    def inputs(
        self, params: dict, features: efficientnet.Layers, images: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, ...]:
        """What a call takes of full and small images: the maps of the full ones, after both if there is `image`.

        `params` are those of this network, of which the random matrices count, and `features` those of EfficientNet.
        """
        mixing = {name: params[name] for name in mixing_shapes()}
        maps = project(features, mixing, images[0], self.compute.dtype)
        return maps if self.image is None else (*images, *maps)

    @nn.nowrap
    def call_shapes(self, batch: int = 2) -> CallShapes:
        """Shapes of a call's arguments: its inputs; cell and labels by name."""
        image = Discriminator(self.resolution, self.channels) if self.image is None else self.image
        images, named = image.call_shapes(batch)
        maps = zip(map_sides(self.resolution), MAP_CHANNELS, strict=True)
        shapes = tuple(jax.ShapeDtypeStruct((batch, side, side, channels), jnp.float32) for side, channels in maps)
        return (shapes if self.image is None else (*images, *shapes)), named

    def __call__(
        self,
        *inputs: jax.Array,
        cell: jax.Array | None = None,
        labels: jax.Array | None = None,
        train: bool,
        num_reconstructed: int | None = None,
    ) -> DiscriminatorOutput:
        """The output for a batch; the state may have groups, as for `Discriminator`.

        Args:
            *inputs: with `image` its full and small images first; then the four maps of `project`.
            cell: as for `Discriminator`.
            labels: int32 [B], only for a conditional discriminator.
            train: as for `Discriminator`.
            num_reconstructed: as for `Discriminator`.

        Returns:
            Logits [B, L], those of `image` first, then those of the maps of strides 2, 4, 8, 16; what `image` gives
            besides, or nothing.
        """
        *images, x0, x1, x2, x3 = inputs
        logits, of_image = [], DiscriminatorOutput(jnp.zeros(0), {}, ())
        if self.image is not None:
            options = {"train": train, "num_reconstructed": num_reconstructed}
            of_image = self.image(*images, cell, labels, **options)
            logits = [of_image.logits]
        for discriminator, x in zip(self.of_map, (x0, x1, x2, x3), strict=True):
            found = discriminator(x, labels, train)
            logits.append(widened(found))
        return of_image._replace(logits=jnp.concatenate(logits, axis=1))
