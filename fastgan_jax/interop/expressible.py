"""Which of our models the reference program can build."""

from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.interop.names import REFERENCE_DECODERS

RESOLUTIONS = (256, 512, 1024)


def check_structure(model: Any) -> None:
    """Checks that a model's tensors are those of the reference, at whatever resolution and width.

    Args:
        model: the group `model` of a configuration.

    Raises:
        UserError: naming the first field that the reference has no counterpart for.
    """
    decoders = {name.strip() for name in model.decoders.split(",") if name.strip()}
    _check(
        model,
        {
            "num_classes": (not model.num_classes, "0"),
            "skip_excitation": (model.skip_excitation, "True"),
            "attention": (not model.attention, "False"),
            "decoders": (decoders == set(REFERENCE_DECODERS), ",".join(REFERENCE_DECODERS)),
            "logits_map": (model.logits_map == 5, "5"),
        },
    )


def check_expressible(model: Any) -> None:
    """Checks that the reference can build the model and computes the same with it; otherwise as `check_structure`."""
    check_structure(model)
    resolution, tanh = model.resolution, model.resolution >= 1024
    # Narrower networks have maps of less than one channel there, which get one channel here.
    least_ngf, least_ndf = resolution // 128, max(256, resolution // 2) // 64
    _check(
        model,
        {
            "resolution": (resolution in RESOLUTIONS, "256, 512 and 1024"),
            "channels": (model.channels == 3, "3"),
            "sle_activation": (model.sle_activation == "swish", "swish"),
            "output_tanh": (model.output_tanh in (None, tanh), f"{tanh} at {resolution}"),
            "ngf": (model.ngf >= least_ngf, f"{least_ngf} and more at {resolution}"),
            "ndf": (model.ndf >= least_ndf, f"{least_ndf} and more at {resolution}"),
        },
    )


def _check(model: Any, rules: dict[str, tuple[bool, str]]) -> None:
    for field, (fits, allowed) in rules.items():
        if not fits:
            raise UserError(f"model.{field}={model[field]}: the reference program has {allowed} only")
