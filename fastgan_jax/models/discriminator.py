"""The discriminator (paper, section 3.2): an encoder with two heads, and decoders that make it an auto-encoder."""

import itertools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fastgan_jax.models.blocks import (
    Decoder,
    DownBlock,
    DownBlockComp,
    EfficientAttention,
    LinearHead,
    SkipLayerExcitation,
)
from fastgan_jax.models.generator import small_side
from fastgan_jax.models.layers import BatchNorm, Embedding, SpectralConv, leaky_relu, widened
from fastgan_jax.models.variants import REFERENCE, Compute
from fastgan_jax.utils.images import crop_cell

TRUNK_SIDE = 256  # the trunk starts from a map of this side, or of the image's where that is smaller
LAST_SIDE = 8  # both branches end here
TRUNK_SKIP_PAIRS = {32: 256, 16: 128, 8: 64}  # side of the excited trunk map: side of the map that excites it
ATTENTION_SIDES = (16, 8)  # of the trunk's maps that attend to themselves, where D has attention
DECODER_SIDE = 128  # decoders put out images of this side, or of the resolution where that is smaller
DECODER_WIDTHS = {16: 128, 32: 64, 64: 64, 128: 32}  # side of a decoder's map: its channels, whatever ndf
DECODER_PREFIX = "decoder_"  # of the decoders' names among the variables
DECODERS = ("big", "part", "small", "mid")  # of the maps: trunk 8x8, cell of trunk 16x16, small branch, trunk 32x32
PART_DIVISIONS = {"quadrant": 2, "eighth": 8}  # of each axis of the map, of which "part" reconstructs a cell


def trunk_width(side: int, ndf: int) -> int:
    """Channels of the encoder's map of this side: 8 ndf at 8, halved with each doubling (ndf / 4 at 256)."""
    return max(1, ndf * 64 // side)


def small_branch_width(side: int, ndf: int) -> int:
    """Channels of the small branch's map of this side: 4 ndf at 8, halved with each doubling."""
    return max(1, ndf * 32 // side)


def halvings(first: int, last: int) -> list[int]:
    """Sides below `first` down to `last`: halvings(64, 8) == [32, 16, 8]."""
    return [2**k for k in range(first.bit_length() - 2, last.bit_length() - 2, -1)]


def decoder_side(resolution: int) -> int:
    """Side in pixels of the reconstructions."""
    return min(DECODER_SIDE, resolution)


def layers_from_image(resolution: int, skip_excitation: bool = True, attention: bool = False) -> list[tuple[str, ...]]:
    """Names among D's variables of the trunk's and the small branch's layers, in pairs, the nearest to the image first.

    The excitation and the attention of a trunk map, where D has them, go with it. Heads and decoders are in none.
    """
    start = min(resolution, TRUNK_SIDE)
    trunk = [(f"from_big_{index}",) for index in range(max(1, len(halvings(resolution, TRUNK_SIDE))))]
    for side in halvings(start, LAST_SIDE):
        excited = skip_excitation and TRUNK_SKIP_PAIRS.get(side, resolution + 1) <= start
        attended = attention and side in ATTENTION_SIDES
        trunk.append((f"down_{side}", *[f"sle_{side}"] * excited, *[f"attend_{side}"] * attended))
    small = [(f"small_down_{side}",) for side in halvings(small_side(resolution) // 2, LAST_SIDE)]
    pairs = itertools.zip_longest(trunk, [("from_small",), *small], fillvalue=())
    return [deep + shallow for deep, shallow in pairs]


def without_decoders(variables: dict) -> dict:
    """The part of one collection of D's variables that every pass uses: all but the decoders."""
    return {name: tree for name, tree in variables.items() if not name.startswith(DECODER_PREFIX)}


class DiscriminatorOutput(NamedTuple):
    """The discriminator's output for a batch."""

    logits: jax.Array  # float32 [B, L]: the big head's map, row by row, then the small head's
    reconstructions: dict[str, jax.Array]  # of each decoder: [B, side, side, channels] in (-1, 1); may be empty
    # The trunk's 16x16 and 8x8 maps, f1 and f2 of the paper.
    features: tuple[jax.Array, jax.Array]
    predictions: dict[str, jax.Array] = {}  # of each self-supervision head: float32 [B, outputs]; may be empty


CallShapes = tuple[tuple[jax.ShapeDtypeStruct, ...], dict[str, jax.ShapeDtypeStruct]]


class Discriminator(nn.Module):
    """(image [B, R, R, C], small image [B, s, s, C]) -> logits and, on request, reconstructions."""

    resolution: int
    channels: int = 3
    ndf: int = 64
    num_classes: int = 0
    decoders: tuple[str, ...] = ("big", "part", "small")
    part: str = "quadrant"  # one of PART_DIVISIONS
    skip_excitation: bool = True
    attention: bool = False
    heads: tuple[tuple[str, int], ...] = ()  # names and numbers of outputs of linear heads on the last map
    sle_activation: str = "swish"
    logits_map: int = 5
    compute: Compute = REFERENCE

    @property
    def num_logits(self) -> int:
        """Logits per image, of both heads together."""
        return 2 * self.logits_map**2

    @property
    def logit_groups(self) -> tuple[int, ...]:
        """Logits per image of each group, of which every loss takes the mean by itself."""
        return (self.num_logits,)

    @property
    def part_divisions(self) -> int:
        """Divisions on each axis of the map and the image whose cell the decoder "part" reconstructs."""
        return PART_DIVISIONS[self.part]

    @nn.nowrap
    def inputs(self, params: dict, features: Any, images: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        """What a call takes of full and small images: themselves."""
        return images

    @nn.nowrap
    def call_shapes(self, batch: int = 2) -> CallShapes:
        """Shapes of a call's arguments: full and small images; cell and labels by name."""
        sides = (self.resolution, small_side(self.resolution))
        images = (jax.ShapeDtypeStruct((batch, side, side, self.channels), jnp.float32) for side in sides)
        named = {"cell": (), "labels": (batch,)}
        return tuple(images), {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in named.items()}

    @nn.compact
    def __call__(
        self,
        full: jax.Array,
        small: jax.Array,
        cell: jax.Array | None = None,
        labels: jax.Array | None = None,
        *,
        train: bool,
        num_reconstructed: int | None = None,
    ) -> DiscriminatorOutput:
        """The output for a batch.

        The state of all but the decoders may have a leading axis of groups: then the batch consists of groups that are
        normalized each by itself (see `layers.SpectralModule`, `layers.BatchNorm`).

        Args:
            full: images [B, R, R, C], nominally in [-1, 1].
            small: their small copies [B, s, s, C], s = min(128, R / 2).
            cell: int32 scalar, which cell of `part_divisions`^2 the decoder "part" reconstructs, for the whole batch
                (as the reference draws it); None: no reconstructions.
            labels: int32 [B], only for a conditional discriminator.
            train: normalize with the statistics of this batch (and average them) instead of the stored ones.
            num_reconstructed: how many images of the batch, from the first, are reconstructed; None: all.

        Returns:
            Logits, reconstructions (empty without `cell`), the trunk's last two maps and what the heads predict.
        """
        maps = self._trunk(full, train)
        small_map = self._small_branch(small, train)
        big_logits = self._big_head(maps[LAST_SIDE], train) + self._class_score(maps[LAST_SIDE], labels, "big")
        small_logits = self._last_conv(small_map, "head_small") + self._class_score(small_map, labels, "small")
        logits = jnp.concatenate([big_logits, small_logits], axis=1)
        reconstructions = {}
        if cell is not None:
            sources = {"big": maps[8], "small": small_map, "mid": maps[32]}
            sources["part"] = crop_cell(maps[16], cell, self.part_divisions)
            reconstructions = {
                name: self._decoder(name)(sources[name][:num_reconstructed], train) for name in self.decoders
            }
        predictions = {name: LinearHead(outputs, name=f"head_{name}")(maps[8]) for name, outputs in self.heads}
        logits = widened(logits)
        return DiscriminatorOutput(logits, reconstructions, (maps[16], maps[8]), predictions)

    def _trunk(self, x: jax.Array, train: bool) -> dict[int, jax.Array]:
        """The maps {side: [B, side, side, C]} from 256 (or the resolution, if smaller) down to 8."""
        if self.resolution <= TRUNK_SIDE:
            x = leaky_relu(self._conv(trunk_width(self.resolution, self.ndf), 3, 1, "from_big_0")(x))
        for index, side in enumerate(halvings(self.resolution, TRUNK_SIDE)):
            if index == 0:
                x = leaky_relu(self._conv(trunk_width(side, self.ndf), 4, 2, "from_big_0")(x))
            else:
                x = self._block(DownBlock)(trunk_width(side, self.ndf), compute=self.compute, name=f"from_big_{index}")(
                    x, train
                )
        maps = {x.shape[1]: x}
        for side in halvings(x.shape[1], LAST_SIDE):
            block = self._block(DownBlockComp)(trunk_width(side, self.ndf), compute=self.compute, name=f"down_{side}")
            maps[side] = block(maps[2 * side], train)
            if self.skip_excitation and TRUNK_SKIP_PAIRS.get(side) in maps:
                sle = SkipLayerExcitation(self.sle_activation, compute=self.compute, name=f"sle_{side}")
                maps[side] = sle(maps[TRUNK_SKIP_PAIRS[side]], maps[side])
            if self.attention and side in ATTENTION_SIDES:
                maps[side] = EfficientAttention(compute=self.compute, name=f"attend_{side}")(maps[side])
        return maps

    def _small_branch(self, x: jax.Array, train: bool) -> jax.Array:
        """The small branch's map [B, 8, 8, 4 ndf]."""
        first, *rest = halvings(small_side(self.resolution), LAST_SIDE)
        x = leaky_relu(self._conv(small_branch_width(first, self.ndf), 4, 2, "from_small")(x))
        for side in rest:
            width = small_branch_width(side, self.ndf)
            x = self._block(DownBlock)(width, compute=self.compute, name=f"small_down_{side}")(x, train)
        return x

    def _big_head(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits [B, logits_map^2] of the trunk's last map."""
        x = SpectralConv(features=16 * self.ndf, kernel_size=1, compute=self.compute, name="head_big_0")(x)
        x = BatchNorm(leaky_relu, name="head_big_norm")(x, train)
        return self._last_conv(x, "head_big_1")

    def _last_conv(self, x: jax.Array, name: str) -> jax.Array:
        """Valid convolution from 8x8 to the map of logits, as rows [B, logits_map^2]."""
        size = LAST_SIDE + 1 - self.logits_map
        return SpectralConv(features=1, kernel_size=size, compute=self.compute, name=name)(x).reshape(x.shape[0], -1)

    def _class_score(self, x: jax.Array, labels: jax.Array | None, name: str) -> jax.Array | float:
        """Projection term [B, 1] (Miyato & Koyama 2018): class vector times the mean of the branch's last map.

        Over the root of the number of channels, with which vectors of unit values would make it as large as logits are.
        """
        if not self.num_classes:
            return 0.0
        vector = Embedding(self.num_classes, x.shape[-1], name=f"embed_{name}")(labels)
        return (vector * x.mean((1, 2))).sum(-1, keepdims=True) / math.sqrt(x.shape[-1])

    def _decoder(self, name: str) -> Decoder:
        widths = tuple(width for side, width in DECODER_WIDTHS.items() if side <= decoder_side(self.resolution))
        return Decoder(widths, self.channels, compute=self.compute, name=f"{DECODER_PREFIX}{name}")

    def _conv(self, features: int, kernel: int, stride: int, name: str) -> SpectralConv:
        options = {"kernel_size": kernel, "stride": stride, "padding": 1}
        return SpectralConv(features=features, compute=self.compute, name=name, **options)

    def _block(self, block: type[nn.Module]) -> type[nn.Module]:
        return nn.remat(block, static_argnums=(2,)) if self.compute.remat else block
