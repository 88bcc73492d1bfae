"""A training iteration of the method in plain PyTorch, around the networks of `networks`.

Images are [B, C, H, W] here. Needs the extra `fastgan_jax[torch]`; nothing in training imports this module.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fastgan_jax.benchmark.pytorch.networks import Discriminator, Generator, crop_quadrant, to_128

EMA_DECAY = 0.999

Distance = Callable[[Tensor, Tensor], Tensor]  # of a batch of reconstructions from their targets, as one number


@dataclass
class Twin:
    """Both networks with what trains them."""

    generator: Generator
    discriminator: Discriminator
    generator_optimizer: torch.optim.Adam
    discriminator_optimizer: torch.optim.Adam
    ema: list[Tensor]  # averages of the generator's parameters, in their order

    def checkpoint(self) -> dict[str, Any]:
        """What the reference saves."""
        return {
            "g": self.generator.state_dict(),
            "d": self.discriminator.state_dict(),
            "g_ema": self.ema,
            "opt_g": self.generator_optimizer.state_dict(),
            "opt_d": self.discriminator_optimizer.state_dict(),
        }


def create_twin(generator: Generator, discriminator: Discriminator, learning_rate: float = 2e-4) -> Twin:
    """The state before the first iteration of networks that already are on their device, in their dtype."""
    optimizers = (
        torch.optim.Adam(net.parameters(), lr=learning_rate, betas=(0.5, 0.999)) for net in (generator, discriminator)
    )
    ema = [copy.deepcopy(parameter.detach()) for parameter in generator.parameters()]
    return Twin(generator, discriminator, *optimizers, ema)


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
    return Draws(
        z=torch.randn(batch, nz, device=device),
        quadrant=int(torch.randint(0, 4, ())),
        real_margins=torch.rand(50 * batch, device=device),
        fake_margins=torch.rand(50 * batch, device=device),
    )


def train_iteration(
    twin: Twin, real: Tensor, draws: Draws, distance: Distance, augment: Callable[[Tensor], Tensor] | None = None
) -> dict[str, Tensor]:
    """One iteration, in place: D on real and generated images, G, moving average.

    Args:
        twin: networks and optimizers.
        real: images [B, 3, R, R] in [-1, 1].
        draws: from `draw`.
        distance: of reconstructions from targets, summed over the decoders and added to D's loss.
        augment: such as `diff_augment`; None for no augmentation.

    Returns:
        Scalars d_real (with the reconstructions), d_fake and g.
    """
    g, d = twin.generator, twin.discriminator
    augment = augment or (lambda x: x)
    real = augment(real)
    g.inject_noise(draws.noise)
    fakes = [augment(image) for image in g(draws.z)]

    d.zero_grad()
    logits, images = d(real, to_128(real), draws.quadrant)
    targets = {"big": to_128(real), "small": to_128(real), "part": to_128(crop_quadrant(real, draws.quadrant))}
    d_real = functional.relu(margins(draws.real_margins) - logits).mean()
    d_real = d_real + sum(distance(image, targets[name]) for name, image in images.items())
    d_real.backward()
    logits, _ = d(*[image.detach() for image in fakes])
    d_fake = functional.relu(margins(draws.fake_margins) + logits).mean()
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


def margins(uniforms: Tensor) -> Tensor:
    """Margins of the hinge, uniform in [0.8, 1), from numbers uniform in [0, 1)."""
    return 0.8 + 0.2 * uniforms


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
