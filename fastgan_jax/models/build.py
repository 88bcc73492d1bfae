"""Networks from the group `model` of a configuration."""

from typing import Any

import jax
import jax.numpy as jnp

from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator

# Equal forms of the same convolution, see `models/convolution.py`: the fastest by measurement (docs/performance.md).
# Where nothing was measured, it is the plain form.
FASTEST_UPSAMPLE = {"cpu": "phase", "others": "repeat"}
FASTEST_DOWNSAMPLE = {"cpu": "strided", "others": "strided"}
PRECISIONS = {"float32": None, "bfloat16": jnp.bfloat16}  # train.precision: dtype of the computation, None: parameters'


def build_generator(
    model: Any, precision: str = "float32", remat: bool = False, *, upsample_form: str = "auto"
) -> Generator:
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
        upsample_form=_chosen(upsample_form, FASTEST_UPSAMPLE),
        remat=remat,
        dtype=PRECISIONS[precision],
    )


def build_discriminator(
    model: Any,
    precision: str = "float32",
    remat: bool = False,
    *,
    upsample_form: str = "auto",
    downsample_form: str = "auto",
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
        upsample_form=_chosen(upsample_form, FASTEST_UPSAMPLE),
        downsample_form=_chosen(downsample_form, FASTEST_DOWNSAMPLE),
        remat=remat,
        dtype=PRECISIONS[precision],
    )


def _chosen(form: str, fastest: dict[str, str]) -> str:
    """The form of a convolution; of "auto", that which was measured to be the fastest on the default backend."""
    return fastest.get(jax.default_backend(), fastest["others"]) if form == "auto" else form
