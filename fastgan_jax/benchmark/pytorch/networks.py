"""The networks in plain PyTorch: a second implementation to test ours against and to measure its speed beside.

Written from the description of the method; module and tensor names are those of the reference program, so state_dicts
go back and forth key for key. Images are [B, C, H, W] here. Needs the extra `fastgan_jax[torch]`; nothing in training
imports this module.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import spectral_norm

RESOLUTIONS = (256, 512, 1024)  # that the reference can build
# Channels by side of the map, as multiples of ngf or ndf.
GENERATOR_WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
TRUNK_WIDTHS = {512: 0.125, 256: 0.25, 128: 0.5, 64: 1, 32: 2, 16: 4, 8: 8}
SMALL_WIDTHS = {64: 0.5, 32: 1, 16: 2, 8: 4}
DECODER_WIDTHS = (128, 64, 64, 32)
COMPOSITE_SIDES = (8, 32, 128, 512)


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
        self.resolution = _known(resolution)
        width = {side: int(share * ngf) for side, share in GENERATOR_WIDTHS.items()}
        self.init = InitLayer(nz, width[4])
        sides = [side for side in GENERATOR_WIDTHS if 4 < side <= resolution]
        early, late = [s for s in sides if s <= 256], [s for s in sides if s > 256]
        self.stages = tuple(sides)
        self._add_stages(early, width)
        self._add_excitation((64, 128, 256), width)
        self.to_128 = _conv(width[128], 3, 1)
        self.to_big = _conv(width[resolution], 3, 3, padding=1)
        for side in late:  # the reference appends what only the larger resolutions have
            self._add_stages([side], width)
            self._add_excitation([s for s in (512,) if s == side], width)

    def _add_stages(self, sides: list[int], width: dict[int, int]) -> None:
        for side in sides:
            self.add_module(f"feat_{side}", _up(width[side // 2], width[side], composite=side in COMPOSITE_SIDES))

    def _add_excitation(self, sides: Iterable[int], width: dict[int, int]) -> None:
        for side in sides:
            self.add_module(f"se_{side}", SkipLayerExcitation(width[side // 16], width[side]))

    def inject_noise(self, maps: list[Tensor] | None) -> None:
        """Uses these maps [B, 1, side, side], in order, in every later pass; None: draws again."""
        sites = [module for module in self.modules() if isinstance(module, NoiseInjection)]
        for site, noise in zip(sites, maps if maps is not None else [None] * len(sites), strict=True):
            site.noise = noise

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        maps = {4: self.init(z)}
        for side in self.stages:
            maps[side] = getattr(self, f"feat_{side}")(maps[side // 2])
            if hasattr(self, f"se_{side}"):
                maps[side] = getattr(self, f"se_{side}")(maps[side // 16], maps[side])
        images = self.to_big(maps[self.resolution]), self.to_128(maps[128])
        return tuple(map(torch.tanh, images)) if self.resolution == 1024 else images


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
        widths = (width_in, *DECODER_WIDTHS)
        stages = [_up(before, after) for before, after in zip(widths[:-1], widths[1:], strict=True)]
        self.main = nn.Sequential(nn.AdaptiveAvgPool2d(8), *stages, _conv(widths[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class Discriminator(nn.Module):
    """(image, small image) -> logits: the big head's 25 of every image, then the small head's; and images."""

    def __init__(self, resolution: int = 256, ndf: int = 64) -> None:
        super().__init__()
        self.resolution = _known(resolution)
        width = {side: int(share * ndf) for side, share in TRUNK_WIDTHS.items()}
        small = {side: int(share * ndf) for side, share in SMALL_WIDTHS.items()}
        first = {256: _conv(3, width[256], 3, padding=1), 512: _conv(3, width[256], 4, stride=2, padding=1)}
        if resolution == 1024:
            stem = [_conv(3, width[512], 4, stride=2, padding=1), _leaky_relu(), *_halving(width[512], width[256])]
        else:
            stem = [first[resolution]]
        self.down_from_big = nn.Sequential(*stem, _leaky_relu())
        for side in (128, 64, 32, 16, 8):
            self.add_module(f"down_{512 // side}", DownBlockComp(width[2 * side], width[side]))
        self.rf_big = nn.Sequential(
            _conv(width[8], 16 * ndf, 1), _batch_norm(16 * ndf), _leaky_relu(), _conv(16 * ndf, 1, 4)
        )
        self.se_2_16 = SkipLayerExcitation(width[256], width[32])
        self.se_4_32 = SkipLayerExcitation(width[128], width[16])
        self.se_8_64 = SkipLayerExcitation(width[64], width[8])
        self.down_from_small = nn.Sequential(
            _conv(3, small[64], 4, stride=2, padding=1),
            _leaky_relu(),
            *[DownBlock(small[2 * side], small[side]) for side in (32, 16, 8)],
        )
        self.rf_small = _conv(small[8], 1, 4)
        self.decoder_big = Decoder(width[8])
        self.decoder_part = Decoder(width[16])
        self.decoder_small = Decoder(small[8])

    def forward(self, full: Tensor, small: Tensor, quadrant: int | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [50 B] and, with a quadrant 0..3 for the decoder "part", the decoders' images."""
        f256 = self.down_from_big(full)
        f128 = self.down_4(f256)
        f64 = self.down_8(f128)
        f32 = self.se_2_16(f256, self.down_16(f64))
        f16 = self.se_4_32(f128, self.down_32(f32))
        f8 = self.se_8_64(f64, self.down_64(f16))
        small8 = self.down_from_small(small)
        logits = torch.cat([self.rf_big(f8).flatten(), self.rf_small(small8).flatten()])
        if quadrant is None:
            return logits, {}
        images = {
            "big": self.decoder_big(f8),
            "part": self.decoder_part(crop_quadrant(f16, quadrant)),
            "small": self.decoder_small(small8),
        }
        return logits, images


def to_128(images: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 128, 128] by nearest neighbor."""
    return functional.interpolate(images, size=128)


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
