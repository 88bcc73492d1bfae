"""What tools read: the generator of a run, and latents of seeds or of a file. Quick to import, for --help."""

import argparse
from typing import TYPE_CHECKING

from fastgan_jax.cli.arguments import read_step
from fastgan_jax.utils.console import announced

if TYPE_CHECKING:
    from fastgan_jax.inference.sampler import Sampler


def load_generator(arguments: argparse.Namespace) -> "Sampler":
    """The generator that --run and --step name.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    import fastgan_jax

    step = read_step(arguments.step)
    with announced(f"loading {arguments.run}"):
        return fastgan_jax.load(arguments.run, step)
