"""Compute that compute the same thing in different ways, and which of them is the fastest where.

Every variant gives the reference's values and gradients, to rounding; tests hold them to that. Which one wins was
measured (docs/performance.md); where nothing was measured, it is the reference.
"""

from dataclasses import dataclass
from typing import Any

# {kind: names of its variants, the reference first}
VARIANTS = {
    "upsample": ("repeat", "phase"),  # nearest x2 and 3x3 convolution, see conv.upsample_convolve
    "downsample": ("strided", "space_to_depth", "subpixel_gradient"),  # 4x4, stride 2, see conv.downsample_convolve
    "kernel_gradient": ("convolution", "products", "by_size"),  # see conv.convolve
    "spectral": ("kernel", "output"),  # what is divided by the spectral norm, see layers.SpectralModule
    "discriminate": ("apart", "joint"),  # real and generated images in D's update, see gan/joint.py
}
# {kind: the field of the group `train` that chooses}
FIELDS = {kind: f"{kind}_form" for kind in VARIANTS} | {"discriminate": "judge_form"}
FASTEST = {
    "cpu": {"upsample": "phase", "downsample": "subpixel_gradient", "kernel_gradient": "by_size"},
}


@dataclass(frozen=True)
class Compute:
    """How a network computes: the variant of each kind of `VARIANTS`, the reference one by default, and more.

    Attributes:
        dtype: of the computation; None: that of the parameters.
        remat: recompute each block in the backward pass instead of keeping its activations.
    """

    upsample: str = "repeat"
    downsample: str = "strided"
    kernel_gradient: str = "convolution"
    spectral: str = "kernel"
    discriminate: str = "apart"
    dtype: Any = None
    remat: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown variant."""
        for kind in VARIANTS:
            if (name := getattr(self, kind)) not in VARIANTS[kind]:
                raise ValueError(f"{kind} variant {name!r} must be one of {', '.join(VARIANTS[kind])}")


REFERENCE = Compute()


def choose(backend: str, names: dict[str, str], **options: Any) -> Compute:
    """The variants asked for, each by its name; "auto" is the fastest one on a backend (cpu, gpu, tpu)."""
    default = {kind: names[0] for kind, names in VARIANTS.items()} | FASTEST.get(backend, {})
    return Compute(**{kind: default[kind] if name == "auto" else name for kind, name in names.items()}, **options)
