"""FastGAN in JAX: few-shot high-resolution image synthesis in one compiled training step.

To begin, train on a folder of images from the command line (`fastgan --help` lists all commands):

    fastgan train /my/images --workdir runs/mine

and generate images with the result:

    import fastgan_jax

    g = fastgan_jax.load("runs/mine")
    images = g.sample(16, seed=0)  # uint8 [16, H, W, C]

`help(fastgan_jax.Sampler)` describes what else `g` does: latents, interpolation, style mixing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler

__all__ = ["Sampler", "__version__", "load"]
__version__ = "0.3.0"


def load(path: str, step: int | str = "latest", *, statistics: str = "standing") -> "Sampler":
    """Restores the averaged generator of a run.

    Args:
        path: a run folder, its checkpoints folder, or the folder of one checkpoint.
        step: "latest", "best", or the iteration of a checkpoint that was kept.
        statistics: of batch norm: "standing" or "running"; see `fastgan_jax.inference.restore.load`.

    Returns:
        A `Sampler`.

    Raises:
        fastgan_jax.errors.UserError: if there is no such run or checkpoint.
    """
    from fastgan_jax.inference.restore import load as restore  # here, so that importing the package stays fast

    return restore(path, step, statistics=statistics)


def __getattr__(name: str) -> Any:
    if name == "Sampler":
        from fastgan_jax.inference.sampler import Sampler

        return Sampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "Sampler"]
