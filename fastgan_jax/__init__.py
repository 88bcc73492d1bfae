"""FastGAN in JAX: few-shot high-resolution image synthesis in one compiled training step.

`fastgan_jax.load("runs/demo")` restores a trained generator; see `fastgan_jax.sampling.Sampler` for what it does.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

__version__ = "0.2.0"


def load(path: str, step: int | str = "latest", *, statistics: str = "standing") -> "Sampler":
    """Restores the averaged generator of a run folder: see `fastgan_jax.restore.load`."""
    from fastgan_jax.inference.restore import load as restore  # here, so that importing the package stays fast

    return restore(path, step, statistics=statistics)
