"""Times the iteration of `step`, the counterpart of `fastgan_jax.benchmark.workload`.

Two variants: "eager", in float32 as PyTorch does it by default (convolutions in TF32 where the device has it), and
"compiled", torch.compile with bfloat16 autocast and the channels_last layout. Needs the extra `fastgan_jax[torch]`.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastgan_jax.benchmark import results
from fastgan_jax.benchmark.pytorch.networks import Discriminator, Generator
from fastgan_jax.benchmark.pytorch.step import Distance, Twin, diff_augment, draw, train_iteration
from fastgan_jax.benchmark.workload import counted_flops
from fastgan_jax.data.memory import cpu_threads
from fastgan_jax.errors import UserError
from fastgan_jax.interop.names import check_expressible
from fastgan_jax.models.lpips import SMALLEST_NORM, VGG_BLOCKS

NUM_IMAGES = 64  # of the synthetic set
# Fields, by group, in which the twin is fixed beside those that `check_expressible` looks at.
FIXED_FIELDS = {
    "augment": {"policy": "color,translation", "probability": 1.0, "shared": False, "target": None},
    "loss": {
        "adversarial": "hinge",
        "reconstruction_weight": None,
        "lecam": 0.0,
        "r1": 0.0,
        "r2": 0.0,
        "smoothing": 0.2,
    },
    "train": {"generator_every": 1, "accumulate": 1},
    "model": {"resize": "nearest"},
    "optim": {"ema_decay": 0.999, "beta1": 0.5, "beta2": 0.999},
}


class PerceptualVgg(nn.Module):
    """LPIPS's computation on VGG-16 with random weights: a stand-in for timing, whose values mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        width, self.blocks, self.heads = 3, nn.ModuleList(), nn.ParameterList()
        for convolutions, channels in VGG_BLOCKS:
            layers = [nn.MaxPool2d(2)] if self.blocks else []
            for _ in range(convolutions):
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
                width = channels
            self.blocks.append(nn.Sequential(*layers))
            self.heads.append(torch.ones(channels, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Distance of each image [B, 3, H, W] in [-1, 1] from its target, summed over the batch."""
        total = images.new_zeros(())
        for block, head in zip(self.blocks, self.heads, strict=True):
            images, targets = block(images), block(targets)
            first, second = (functional.normalize(features, eps=SMALLEST_NORM) for features in (images, targets))
            total = total + ((first - second).square() * head).sum(1).mean((1, 2)).sum()
        return total


def check_config(config: Any) -> None:
    """Raises UserError, naming the field, if PyTorch's side cannot run a configuration."""
    check_expressible(config.model)
    for group, fields in FIXED_FIELDS.items():
        for field, value in fields.items():
            if config[group][field] != value:
                raise UserError(f"{group}.{field}={config[group][field]}: the PyTorch side has {value} only")
    if config.loss.reconstruction == "lpips" and config.loss.perceptual_net != "vgg":
        raise UserError(f"loss.perceptual_net={config.loss.perceptual_net}: the PyTorch side has vgg only")


class Runner:
    """The twin, warm, timed block by block."""

    def __init__(self, config: Any, variant: str):
        """Builds networks and a synthetic set on the GPU if PyTorch sees one, else on the CPU, and warms up.

        `config` is one that `check_config` accepts; its precision, remat and scan have no counterpart. `variant` is
        "eager" or "compiled".
        """
        torch.manual_seed(config.train.seed)
        torch.set_num_threads(cpu_threads())
        torch.backends.cudnn.benchmark = True  # shapes never change: the fastest algorithms are worth a search
        self.config, self.variant, model = config, variant, config.model
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        generator = Generator(model.resolution, model.ngf, model.nz).to(self.device)
        discriminator = Discriminator(model.resolution, model.ndf).to(self.device)
        self.distance = _distance(config.loss.reconstruction, self.device)
        for module in (generator, discriminator, self.distance):
            if variant == "compiled" and isinstance(module, nn.Module):  # a plain distance is none
                _speed_up(module, self.device)
        self.twin = Twin(generator, discriminator, config.optim.learning_rate)
        shape = (NUM_IMAGES, 3, model.resolution, model.resolution)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)
        self.warm_up_seconds = self._time(range(4))  # each is a program of its own where iterations are compiled

    def time_block(self, iterations: int) -> float:
        """Seconds of so many iterations."""
        return self._time([None] * iterations)

    def _time(self, quadrants: Iterable[int | None]) -> float:
        """Seconds of an iteration for each quadrant that D is to reconstruct; None: a random one."""
        start = time.perf_counter()
        for quadrant in quadrants:
            draws = draw(self.config.train.batch_size, self.config.model.nz, self.device)
            if quadrant is not None:
                draws.quadrant = quadrant
            train_iteration(self.twin, self._batch(), draws, self.distance, diff_augment)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _batch(self) -> Tensor:
        batch = self.config.train.batch_size
        real = self.images[torch.randint(0, NUM_IMAGES, (batch,), device=self.device)].float() / 127.5 - 1
        if self.config.data.flip:
            mirrored = torch.rand(batch, 1, 1, 1, device=self.device) < 0.5
            real = torch.where(mirrored, real.flip(3), real)
        return real.contiguous(memory_format=torch.channels_last) if self.variant == "compiled" else real

    def result(self, seconds: Sequence[float], iterations: int) -> results.Result:
        """The result of blocks of so many iterations, see `results.RESULT_KEYS`."""
        jax.config.update("jax_platforms", "cpu")  # JAX counts operations, and must not touch the GPU that PyTorch uses
        networks = {"generator": self.twin.generator, "discriminator": self.twin.discriminator}
        on_gpu, compiled = self.device.type == "cuda", self.variant == "compiled"
        on_tensor_cores = on_gpu and torch.cuda.get_device_capability() >= (8, 0) and torch.backends.cudnn.allow_tf32
        facts = results.config_facts(self.config) | {
            "program": f"pytorch {self.variant}",
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "backend": "gpu" if on_gpu else "cpu",
            "versions": results.versions("torch", "numpy"),
            "precision": "bfloat16" if compiled else "float32",
            "arithmetic": "bfloat16" if compiled else "tfloat32" if on_tensor_cores else "float32",
            "remat": None,
            "compile_seconds": {"cold": self.warm_up_seconds if compiled else None, "cached": None},
            "memory": {"allocator_peak": torch.cuda.max_memory_allocated() if on_gpu else None, "program": None},
            "flops_per_iteration": counted_flops(self.config) | {"executed": None},
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()},
            "notes": f"{torch.get_num_threads()} threads; torch.backends.cudnn.benchmark; compile seconds are those of "
            "four iterations, compilation included; random perceptual parameters, if any",
        }
        return results.complete(facts, seconds, iterations)


def _distance(reconstruction: str, device: torch.device) -> Distance:
    """The reconstruction's distance, summed over the batch."""
    if reconstruction == "lpips":
        return PerceptualVgg().to(device)
    function = {"l1": functional.l1_loss, "l2": functional.mse_loss}[reconstruction]
    return lambda images, targets: len(images) * function(images, targets)


def _speed_up(module: nn.Module, device: torch.device) -> None:
    """torch.compile, bfloat16 autocast and channels_last, in place."""
    module.to(memory_format=torch.channels_last)
    module.forward = torch.autocast(device.type, torch.bfloat16)(module.forward)
    module.compile()
