"""A training iteration of the method in plain PyTorch, around the networks of `networks`.

Images are [B, C, H, W] here. Needs the extra `fastgan_jax[torch]`; nothing in training imports this module.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fastgan_jax.benchmark.pytorch.networks import Discriminator, Generator, crop_quadrant, to_128

EMA_DECAY = 0.999

Distance = Callable[[Tensor, Tensor], Tensor]  # of a batch of reconstructions from their targets, as one number


class Twin:
    """Both networks, already on their device and in their dtype, with what trains them."""

    def __init__(self, generator: Generator, discriminator: Discriminator, learning_rate: float = 2e-4) -> None:
        """The state before the first iteration."""
        options = {"lr": learning_rate, "betas": (0.5, 0.999)}
        self.generator, self.discriminator = generator, discriminator
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), **options)
        self.discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), **options)
        self.ema = [parameter.detach().clone() for parameter in generator.parameters()]  # their averages, in order


@dataclass
class Draws:
    """The random numbers of an iteration; `draw` makes them."""

    z: Tensor  # [B, nz]
    quadrant: int
    real_margins: Tensor  # [50 B] in the order of the logits, uniform in [0, 1)
    fake_margins: Tensor
    noise: list[Tensor] | None = None  # None: drawn in the pass


def draw(batch: int, nz: int, device: torch.device | str = "cpu") -> Draws:
    """The random numbers of an iteration from PyTorch's generators."""
    margins = (torch.rand(50 * batch, device=device) for _ in range(2))
    return Draws(torch.randn(batch, nz, device=device), int(torch.randint(0, 4, ())), *margins)


def train_iteration(
    twin: Twin, real: Tensor, draws: Draws, distance: Distance, augment: Callable[[Tensor], Tensor] = lambda x: x
) -> dict[str, Tensor]:
    """One iteration on images [B, 3, R, R] in [-1, 1], in place: D on real and generated images, G, moving average.

    The distance of each decoder's reconstructions is added to D's loss. Returns scalars d_real (with them), d_fake, g.
    """
    g, d = twin.generator, twin.discriminator
    real = augment(real)
    g.inject_noise(draws.noise)
    fakes = [augment(image) for image in g(draws.z)]

    d.zero_grad()
    logits, images = d(real, to_128(real), draws.quadrant)
    targets = {"big": to_128(real), "small": to_128(real), "part": to_128(crop_quadrant(real, draws.quadrant))}
    d_real = functional.relu(0.8 + 0.2 * draws.real_margins - logits).mean()  # margins of the hinge from 0.8 to 1
    d_real = d_real + sum(distance(image, targets[name]) for name, image in images.items())
    d_real.backward()
    logits, _ = d(*[image.detach() for image in fakes])
    d_fake = functional.relu(0.8 + 0.2 * draws.fake_margins + logits).mean()
    d_fake.backward()
    twin.discriminator_optimizer.step()

    g.zero_grad()
    loss_g = -d(*fakes)[0].mean()
    loss_g.backward()
    twin.generator_optimizer.step()
    with torch.no_grad():
        for average, parameter in zip(twin.ema, g.parameters(), strict=True):
            average.mul_(EMA_DECAY).add_(parameter, alpha=1 - EMA_DECAY)
    return {"d_real": d_real.detach(), "d_fake": d_fake.detach(), "g": loss_g.detach()}


def diff_augment(x: Tensor) -> Tensor:
    """DiffAugment's default policy, color and translation, with draws of its own for each image."""
    batch, _, height, width = x.shape

    def uniform() -> Tensor:
        return torch.rand(batch, 1, 1, 1, dtype=x.dtype, device=x.device)

    x = x + (uniform() - 0.5)
    mean = x.mean(1, keepdim=True)
    x = (x - mean) * (2 * uniform()) + mean
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (uniform() + 0.5) + mean
    reach = [int(side * 0.125 + 0.5) for side in (height, width)]
    rows, columns = (torch.randint(-r, r + 1, (batch, 1), device=x.device) for r in reach)
    # A frame of zeros as wide as the reach: every index, clamped into it, reads a pixel or a zero.
    rows = (rows + torch.arange(height, device=x.device)).clamp(-1, height) + 1
    columns = (columns + torch.arange(width, device=x.device)).clamp(-1, width) + 1
    framed = functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    index = torch.arange(batch, device=x.device)[:, None, None]
    return framed[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
