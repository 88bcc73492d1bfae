"""Networks from the group `model` of a configuration, and the forms in which they compute from the group `train`."""

from typing import Any

import jax
import jax.numpy as jnp

from fastgan_jax.forms import PLAIN, WAYS, Forms, choose
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator

PRECISIONS = {"float32": None, "bfloat16": jnp.bfloat16}  # train.precision: dtype of the computation, None: parameters'


def forms_from_config(train: Any, backend: str | None = None) -> Forms:
    """The forms that `train` asks for on a backend (None: the default one); "auto" if `train` lacks a field."""
    ways = {form: train.get(f"{form}_form", "auto") for form in WAYS}
    return choose(backend or jax.default_backend(), **ways)


def build_generator(model: Any, precision: str = "float32", remat: bool = False, forms: Forms = PLAIN) -> Generator:
    """The generator that `model` (resolution, channels, ngf, ...) describes, computing in `precision`."""
    return Generator(
        resolution=model.resolution,
        channels=model.channels,
        ngf=model.ngf,
        num_classes=model.num_classes,
        skip_excitation=model.skip_excitation,
        attention=model.attention,
        sle_activation=model.sle_activation,
        output_tanh=model.output_tanh,
        forms=forms,
        remat=remat,
        dtype=PRECISIONS[precision],
    )


def build_discriminator(
    model: Any, precision: str = "float32", remat: bool = False, forms: Forms = PLAIN
) -> Discriminator:
    """The discriminator that `model` (resolution, channels, ndf, ...) describes, computing in `precision`."""
    return Discriminator(
        resolution=model.resolution,
        channels=model.channels,
        ndf=model.ndf,
        num_classes=model.num_classes,
        decoders=tuple(name.strip() for name in model.decoders.split(",") if name.strip()),
        sle_activation=model.sle_activation,
        logits_map=model.logits_map,
        forms=forms,
        remat=remat,
        dtype=PRECISIONS[precision],
    )
