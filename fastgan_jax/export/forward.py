"""What every exported generator computes, as one JAX function.

The noise of an image normally belongs to its latent by a hash, which a graph cannot compute. Exported generators
therefore use one fixed noise for all images, that of `Sampler.generate(z, noise_seed=...)`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.inference.sampler import Sampler, draw_noise, noise_keys
from fastgan_jax.models.generator import LAST_EARLY_SIDE, SKIP_PAIRS, Generator


def example_inputs(sampler: Sampler, style_mix: bool, count: int) -> dict[str, np.ndarray]:
    """Inputs of `count` images by name: the latents of seed 0, and for a conditional generator the classes in turn.

    They are z, or z_content and z_style, each float32 [N, nz], and labels, int32 [N].

    Raises:
        UserError: if the generator has nothing that a style could excite.
    """
    if style_mix and not sampler.style_resolutions:
        raise UserError(
            "--style-mix needs skip-layer excitation, and this generator was trained without it "
            "(model.skip_excitation=False): leave --style-mix out"
        )
    latents = sampler.latents(2 * count if style_mix else count)
    inputs = {"z_content": latents[:count], "z_style": latents[count:]} if style_mix else {"z": latents}
    if sampler.generator.num_classes:
        inputs["labels"] = np.arange(count, dtype=np.int32) % sampler.generator.num_classes
    return inputs


def fixed_noise(generator: Generator, noise_seed: int) -> list[np.ndarray]:
    """The noise maps of `Sampler.generate(z, noise_seed=...)`: float32 [1, side, side, 1] for each noise site."""
    keys = noise_keys(np.zeros((1, 1), np.float32), noise_seed)
    return [np.asarray(noise) for noise in jax.jit(draw_noise, static_argnums=0)(generator, keys)]


def noise_names(generator: Generator) -> list[str]:
    """A name for each noise map, in the generator's order: noise_8_0, noise_8_1, noise_32_0, ..."""
    return [f"noise_{side}_{index % 2}" for index, side in enumerate(generator.noise_sides)]


def image_function(
    generator: Generator, variables: dict, noise: list[np.ndarray], style_mix: bool
) -> Callable[..., jax.Array]:
    """The function from inputs, in the order of `example_inputs`, to images.

    Args:
        generator: the module.
        variables: {"params", "batch_stats", "spectral"}.
        noise: maps [1 or N, side, side, 1] for each noise site.
        style_mix: the variant with two latents, which takes all excitations from the style (paper, section 4.3).

    Returns:
        A function whose result is float32 [N, H, W, C], nominally in [-1, 1], not clipped.
    """
    maps = tuple(map(jnp.asarray, noise))

    def apply(*args: Any, **kwargs: Any) -> Any:
        return generator.apply(variables, *args, train=False, **kwargs)

    def image(z: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        return apply(z, maps, labels)[0]

    def mixed(content: jax.Array, style: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        own, other = (apply(z, maps, labels, method=Generator.early) for z in (content, style))
        exciting = {side: other[side] for side in SKIP_PAIRS.values()}
        return apply(own[LAST_EARLY_SIDE], exciting, maps, method=Generator.late)[0]

    return mixed if style_mix else image
