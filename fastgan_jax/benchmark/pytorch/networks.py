"""The networks in plain PyTorch: a second implementation that ours is tested and timed against.

Written from the description of the method; module and tensor names are those of the reference program, so that
state_dicts go back and forth key for key. Widths and skip connections are those of `models`. Resolutions are 256, 512
and 1024, as the reference's; images are [B, C, H, W] here. Needs the extra `fastgan_jax[torch]`; nothing in training
imports this module.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

from fastgan_jax.interop.names import COMMON_SIDE, DOWN_ORIGIN
from fastgan_jax.models import discriminator as d_sizes
from fastgan_jax.models import generator as g_sizes
from fastgan_jax.models.discriminator import DECODER_WIDTHS, LAST_SIDE, halvings, small_branch_width, trunk_width
from fastgan_jax.models.generator import generator_width, is_composite, stage_sides

SMALL_SIDE = 128  # of the small image


class NoiseInjection(nn.Module):
    """x + weight * noise; noise is drawn anew for each pass unless the attribute `noise` holds a map."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.noise: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        noise = self.noise if self.noise is not None else x.new_empty(len(x), 1, *x.shape[2:]).normal_()
        return x + self.weight * noise


class SkipLayerExcitation(nn.Module):
    """Channels of `high` gated by what a small network sees in `low`."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        layers = _conv(low, high, 4), nn.SiLU(), _conv(high, high, 1), nn.Sigmoid()
        self.main = nn.Sequential(nn.AdaptiveAvgPool2d(4), *layers)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return high * self.main(low)


class Generator(nn.Module):
    """Latents [B, nz] -> (image [B, 3, R, R], small image [B, 3, 128, 128])."""

    def __init__(self, resolution: int = 256, ngf: int = 64, nz: int = 256) -> None:
        super().__init__()
        self.resolution, self.ngf = resolution, ngf
        width, sides = 2 * generator_width(4, ngf), stage_sides(resolution)
        first = _normalized(nn.ConvTranspose2d(nz, width, 4, bias=False))
        self.init = _named("init", first, _batch_norm(width), nn.GLU(1))
        self._add_stages([side for side in sides if side <= COMMON_SIDE])
        self.to_128 = _conv(generator_width(SMALL_SIDE, ngf), 3, 1)
        self.to_big = _conv(generator_width(resolution, ngf), 3, 3, padding=1)
        for side in sides:
            if side > COMMON_SIDE:  # the reference appends what only the larger ones have
                self._add_stages([side])

    def _add_stages(self, sides: list[int]) -> None:
        """The stages that end at these sides, then the excitations of their maps."""
        width = {side: generator_width(side, self.ngf) for side in (4, *stage_sides(self.resolution))}
        for side in sides:
            self.add_module(f"feat_{side}", _up(width[side // 2], width[side], composite=is_composite(side)))
        for side in sides:
            if low := g_sizes.SKIP_PAIRS.get(side):
                self.add_module(f"se_{side}", SkipLayerExcitation(width[low], width[side]))

    def inject_noise(self, maps: list[Tensor] | None) -> None:
        """Uses these maps [B, 1, side, side], in order, in every later pass; None: draws again."""
        sites = [module for module in self.modules() if isinstance(module, NoiseInjection)]
        for site, noise in zip(sites, maps or [None] * len(sites), strict=True):
            site.noise = noise

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        maps = {4: self.init(z[:, :, None, None])}
        for side in stage_sides(self.resolution):
            maps[side] = getattr(self, f"feat_{side}")(maps[side // 2])
            if low := g_sizes.SKIP_PAIRS.get(side):
                maps[side] = getattr(self, f"se_{side}")(maps[low], maps[side])
        images = self.to_big(maps[self.resolution]), self.to_128(maps[SMALL_SIDE])
        return tuple(map(torch.tanh, images)) if self.resolution >= g_sizes.TANH_FROM_RESOLUTION else images


class DownBlockComp(nn.Module):
    """Halves the side: the mean of a convolutional and a pooled path."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_halving(width_in, width), *_layer(width, width, 3, padding=1))
        self.direct = nn.Sequential(nn.AvgPool2d(2), *_layer(width_in, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Discriminator(nn.Module):
    """(image, small image) -> logits: the big head's 25 of every image, then the small head's; and images."""

    def __init__(self, resolution: int = 256, ndf: int = 64) -> None:
        super().__init__()
        trunk, *down_sides = halvings(2 * d_sizes.TRUNK_SIDE, LAST_SIDE)
        width = {side: trunk_width(side, ndf) for side in (2 * trunk, trunk, *down_sides)}
        small = {side: small_branch_width(side, ndf) for side in halvings(SMALL_SIDE, LAST_SIDE)}
        if resolution == trunk:
            stem = [_conv(3, width[trunk], 3, padding=1), nn.LeakyReLU(0.2)]
        else:
            first, *rest = halvings(resolution, trunk)
            stem = [_conv(3, width[first], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            for side in rest:
                stem += _halving(width[2 * side], width[side])
        self.down_from_big = nn.Sequential(*stem)
        for side in down_sides:
            self.add_module(f"down_{DOWN_ORIGIN // side}", DownBlockComp(width[2 * side], width[side]))
        self.rf_big = nn.Sequential(*_layer(width[LAST_SIDE], 16 * ndf, 1), _conv(16 * ndf, 1, 4))
        for side, low in d_sizes.TRUNK_SKIP_PAIRS.items():
            name = f"se_{DOWN_ORIGIN // low}_{DOWN_ORIGIN // side}"
            self.add_module(name, SkipLayerExcitation(width[low], width[side]))
        first, *rest = small
        blocks = [_named("main", *_halving(small[2 * side], small[side])) for side in rest]
        stem = _conv(3, small[first], 4, stride=2, padding=1), nn.LeakyReLU(0.2)
        self.down_from_small = nn.Sequential(*stem, *blocks)
        self.rf_small = _conv(small[LAST_SIDE], 1, 4)
        self.decoder_big = _decoder(width[8])
        self.decoder_part = _decoder(width[16])
        self.decoder_small = _decoder(small[LAST_SIDE])

    def forward(self, full: Tensor, small: Tensor, quadrant: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [50 B] and, with a quadrant 0..3 for the decoder "part", the decoders' images."""
        maps = {d_sizes.TRUNK_SIDE: self.down_from_big(full)}
        for side in halvings(d_sizes.TRUNK_SIDE, LAST_SIDE):
            maps[side] = getattr(self, f"down_{DOWN_ORIGIN // side}")(maps[2 * side])
            if low := d_sizes.TRUNK_SKIP_PAIRS.get(side):
                maps[side] = getattr(self, f"se_{DOWN_ORIGIN // low}_{DOWN_ORIGIN // side}")(maps[low], maps[side])
        small8 = self.down_from_small(small)
        logits = torch.cat([self.rf_big(maps[8]).flatten(), self.rf_small(small8).flatten()])
        if quadrant is None:
            return logits, {}
        part = self.decoder_part(crop_quadrant(maps[16], quadrant))
        return logits, {"big": self.decoder_big(maps[8]), "part": part, "small": self.decoder_small(small8)}


def to_128(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 128, 128] by nearest neighbor."""
    return functional.interpolate(images, size=SMALL_SIDE)


def crop_quadrant(maps: Tensor, quadrant: int) -> Tensor:
    """Quadrant 0..3 (top left, top right, bottom left, bottom right) of [B, C, H, W], its sides even."""
    return maps.chunk(2, dim=2)[quadrant // 2].chunk(2, dim=3)[quadrant % 2]


def _normalized(conv: nn.Module) -> nn.Module:
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return spectral_norm(conv)


def _conv(width_in: int, width: int, size: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    return _normalized(nn.Conv2d(width_in, width, size, stride, padding, bias=False))


def _batch_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def _layer(width_in: int, width: int, size: int, **options: int) -> tuple[nn.Module, ...]:
    return _conv(width_in, width, size, **options), _batch_norm(width), nn.LeakyReLU(0.2)


def _halving(width_in: int, width: int) -> tuple[nn.Module, ...]:
    return _layer(width_in, width, 4, stride=2, padding=1)


def _named(name: str, *layers: nn.Module) -> nn.Sequential:
    """Layers one after the other in a module that calls them by this name."""
    return nn.Sequential(OrderedDict({name: nn.Sequential(*layers)}))


def _up(width_in: int, width: int, *, composite: bool = False) -> nn.Sequential:
    """Doubles the side; a composite stage injects noise and has a second convolution."""

    def half(width_in: int) -> list[nn.Module]:
        noise = [NoiseInjection()] if composite else []
        return [_conv(width_in, 2 * width, 3, padding=1), *noise, _batch_norm(2 * width), nn.GLU(1)]

    return nn.Sequential(nn.Upsample(scale_factor=2), *half(width_in), *(half(width) if composite else []))


def _decoder(width_in: int) -> nn.Sequential:
    """A map -> image [B, 3, 128, 128] in (-1, 1)."""
    widths = (width_in, *DECODER_WIDTHS.values())
    stages = [_up(before, after) for before, after in zip(widths[:-1], widths[1:], strict=True)]
    return _named("main", nn.AdaptiveAvgPool2d(8), *stages, _conv(widths[-1], 3, 3, padding=1), nn.Tanh())
