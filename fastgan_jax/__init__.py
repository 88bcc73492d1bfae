"""FastGAN in JAX: few-shot high-resolution image synthesis in one compiled training step.

To begin, train on a folder of images from the command line (`fastgan --help` lists all commands):

    fastgan train /my/images --workdir runs/mine

and generate images with the result:

    import fastgan_jax

    g = fastgan_jax.load("runs/mine")
    images = g.sample(16, seed=0)  # uint8 [16, H, W, C]

`help(fastgan_jax.Sampler)` describes what else `g` does: latents, interpolation, style mixing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgan_jax.inference.restore import load
    from fastgan_jax.inference.sampler import Sampler

__all__ = ["Sampler", "__version__", "load"]
__version__ = "0.3.0"
_HOMES = {"Sampler": "sampler", "load": "restore"}  # imported when they are used: the package itself imports quickly


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"fastgan_jax.inference.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
