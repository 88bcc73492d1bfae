"""The networks in plain PyTorch: a second implementation that ours is tested and timed against.

Written from the description of the method; module and tensor names are those of the reference program, so that
state_dicts go back and forth key for key. Widths and skip connections are those of `models`. Images are [B, C, H, W]
here. Needs the extra `fastgan_jax[torch]`; nothing in training imports this module.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

from fastgan_jax.interop.names import COMMON_SIDE, DOWN_ORIGIN, RESOLUTIONS
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
        self.main = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), _conv(low, high, 4), nn.SiLU(), _conv(high, high, 1), nn.Sigmoid()
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return high * self.main(low)


class InitLayer(nn.Module):
    """Latents [B, nz] -> [B, width, 4, 4]."""

    def __init__(self, nz: int, width: int) -> None:
        super().__init__()
        self.init = nn.Sequential(
            _normalized(nn.ConvTranspose2d(nz, 2 * width, 4, bias=False)), _batch_norm(2 * width), nn.GLU(1)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.init(z[:, :, None, None])


class Generator(nn.Module):
    """Latents [B, nz] -> (image [B, 3, R, R], small image [B, 3, 128, 128])."""

    def __init__(self, resolution: int = 256, ngf: int = 64, nz: int = 256) -> None:
        super().__init__()
        self.resolution, self.ngf = _known(resolution), ngf
        early = [side for side in stage_sides(resolution) if side <= COMMON_SIDE]
        self.init = InitLayer(nz, generator_width(4, ngf))
        for side in early:
            self._add_stage(side)
        for side in early:
            self._add_excitation(side)
        self.to_128 = _conv(generator_width(SMALL_SIDE, ngf), 3, 1)
        self.to_big = _conv(generator_width(resolution, ngf), 3, 3, padding=1)
        for side in stage_sides(resolution)[len(early) :]:  # the reference appends what only the larger ones have
            self._add_stage(side)
            self._add_excitation(side)

    def _add_stage(self, side: int) -> None:
        widths = generator_width(side // 2, self.ngf), generator_width(side, self.ngf)
        self.add_module(f"feat_{side}", _up(*widths, composite=is_composite(side)))

    def _add_excitation(self, side: int) -> None:
        if low := g_sizes.EXCITED_BY.get(side):
            widths = generator_width(low, self.ngf), generator_width(side, self.ngf)
            self.add_module(f"se_{side}", SkipLayerExcitation(*widths))

    def inject_noise(self, maps: list[Tensor] | None) -> None:
        """Uses these maps [B, 1, side, side], in order, in every later pass; None: draws again."""
        sites = [module for module in self.modules() if isinstance(module, NoiseInjection)]
        for site, noise in zip(sites, maps if maps is not None else [None] * len(sites), strict=True):
            site.noise = noise

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        maps = {4: self.init(z)}
        for side in stage_sides(self.resolution):
            maps[side] = getattr(self, f"feat_{side}")(maps[side // 2])
            if side in g_sizes.EXCITED_BY:
                maps[side] = getattr(self, f"se_{side}")(maps[g_sizes.EXCITED_BY[side]], maps[side])
        images = self.to_big(maps[self.resolution]), self.to_128(maps[SMALL_SIDE])
        return tuple(map(torch.tanh, images)) if self.resolution >= g_sizes.TANH_FROM_RESOLUTION else images


class DownBlock(nn.Module):
    """Halves the side: convolution of stride 2, batch norm, leaky ReLU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(*_halving(width_in, width), _leaky_relu())

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class DownBlockComp(nn.Module):
    """Halves the side: the mean of a convolutional and a pooled path."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_halving(width_in, width),
            _leaky_relu(),
            _conv(width, width, 3, padding=1),
            _batch_norm(width),
            _leaky_relu(),
        )
        self.direct = nn.Sequential(nn.AvgPool2d(2), _conv(width_in, width, 1), _batch_norm(width), _leaky_relu())

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Decoder(nn.Module):
    """A map -> image [B, 3, 128, 128] in (-1, 1)."""

    def __init__(self, width_in: int) -> None:
        super().__init__()
        widths = (width_in, *DECODER_WIDTHS.values())
        stages = [_up(before, after) for before, after in zip(widths[:-1], widths[1:], strict=True)]
        self.main = nn.Sequential(nn.AdaptiveAvgPool2d(8), *stages, _conv(widths[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class Discriminator(nn.Module):
    """(image, small image) -> logits: the big head's 25 of every image, then the small head's; and images."""

    def __init__(self, resolution: int = 256, ndf: int = 64) -> None:
        super().__init__()
        self.resolution = _known(resolution)
        trunk, *down_sides = halvings(2 * d_sizes.TRUNK_SIDE, LAST_SIDE)
        width = {side: trunk_width(side, ndf) for side in (2 * trunk, trunk, *down_sides)}
        small = {side: small_branch_width(side, ndf) for side in halvings(SMALL_SIDE, LAST_SIDE)}
        if resolution == trunk:
            stem = [_conv(3, width[trunk], 3, padding=1)]
        else:
            first, *rest = halvings(resolution, trunk)
            stem = [_conv(3, width[first], 4, stride=2, padding=1)]
            for side in rest:
                stem += [_leaky_relu(), *_halving(width[2 * side], width[side])]
        self.down_from_big = nn.Sequential(*stem, _leaky_relu())
        for side in down_sides:
            self.add_module(f"down_{DOWN_ORIGIN // side}", DownBlockComp(width[2 * side], width[side]))
        self.rf_big = nn.Sequential(
            _conv(width[LAST_SIDE], 16 * ndf, 1), _batch_norm(16 * ndf), _leaky_relu(), _conv(16 * ndf, 1, 4)
        )
        for side, low in d_sizes.EXCITED_BY.items():
            name = f"se_{DOWN_ORIGIN // low}_{DOWN_ORIGIN // side}"
            self.add_module(name, SkipLayerExcitation(width[low], width[side]))
        first, *rest = small
        self.down_from_small = nn.Sequential(
            _conv(3, small[first], 4, stride=2, padding=1),
            _leaky_relu(),
            *[DownBlock(small[2 * side], small[side]) for side in rest],
        )
        self.rf_small = _conv(small[LAST_SIDE], 1, 4)
        self.decoder_big = Decoder(width[8])
        self.decoder_part = Decoder(width[16])
        self.decoder_small = Decoder(small[LAST_SIDE])

    def forward(self, full: Tensor, small: Tensor, quadrant: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [50 B] and, with a quadrant 0..3 for the decoder "part", the decoders' images."""
        maps = {d_sizes.TRUNK_SIDE: self.down_from_big(full)}
        for side in halvings(d_sizes.TRUNK_SIDE, LAST_SIDE):
            maps[side] = getattr(self, f"down_{DOWN_ORIGIN // side}")(maps[2 * side])
            if low := d_sizes.EXCITED_BY.get(side):
                maps[side] = getattr(self, f"se_{DOWN_ORIGIN // low}_{DOWN_ORIGIN // side}")(maps[low], maps[side])
        small8 = self.down_from_small(small)
        logits = torch.cat([self.rf_big(maps[8]).flatten(), self.rf_small(small8).flatten()])
        if quadrant is None:
            return logits, {}
        images = {
            "big": self.decoder_big(maps[8]),
            "part": self.decoder_part(crop_quadrant(maps[16], quadrant)),
            "small": self.decoder_small(small8),
        }
        return logits, images


def to_128(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 128, 128] by nearest neighbor."""
    return functional.interpolate(images, size=SMALL_SIDE)


def crop_quadrant(maps: Tensor, quadrant: int) -> Tensor:
    """Quadrant 0..3 (top left, top right, bottom left, bottom right) of [B, C, H, W]."""
    half_height, half_width = maps.shape[2] // 2, maps.shape[3] // 2
    top, left = quadrant // 2 * half_height, quadrant % 2 * half_width
    return maps[:, :, top : top + half_height, left : left + half_width]


def _known(resolution: int) -> int:
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution {resolution}: the twin, as the reference, is made for {RESOLUTIONS}")
    return resolution


def _normalized(conv: nn.Module) -> nn.Module:
    nn.init.normal_(conv.weight, 0.0, 0.02)
    return spectral_norm(conv)


def _conv(width_in: int, width: int, size: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    return _normalized(nn.Conv2d(width_in, width, size, stride, padding, bias=False))


def _batch_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def _leaky_relu() -> nn.LeakyReLU:
    return nn.LeakyReLU(0.2)


def _halving(width_in: int, width: int) -> tuple[nn.Module, nn.Module]:
    return _conv(width_in, width, 4, stride=2, padding=1), _batch_norm(width)


def _up(width_in: int, width: int, *, composite: bool = False) -> nn.Sequential:
    """Doubles the side; a composite stage injects noise and has a second convolution."""

    def half(width_in: int) -> list[nn.Module]:
        noise = [NoiseInjection()] if composite else []
        return [_conv(width_in, 2 * width, 3, padding=1), *noise, _batch_norm(2 * width), nn.GLU(1)]

    return nn.Sequential(nn.Upsample(scale_factor=2), *half(width_in), *(half(width) if composite else []))
