"""Operations that are computed in different, equal ways, and which of them is the fastest where.

Every variant gives the reference's values and gradients, to rounding; tests hold them to that. Which one wins was
measured, or counted by the device's compiler (docs/performance.md); where neither was done, it is the reference.
"""

from dataclasses import dataclass
from typing import Any

# {kind: names of its variants, the reference first}
VARIANTS = {
    "upsample": ("repeat", "phase", "subpixel"),  # nearest x2 and 3x3 convolution, see conv.upsample_convolve
    "downsample": ("strided", "subpixel_gradient"),  # 4x4, stride 2, see conv.downsample_convolve
    "products": ("never", "by_size"),  # matrix products in place of convolutions, see conv.convolve
    "discriminate": ("apart", "joint"),  # real and generated images in D's update, see gan/joint.py
}
FASTEST = {
    "cpu": {"upsample": "phase", "downsample": "subpixel_gradient", "products": "by_size"},
    "gpu": {"upsample": "subpixel", "discriminate": "joint"},
}


@dataclass(frozen=True)
class Compute:
    """How a network computes: the variant of each kind of `VARIANTS`, the reference one by default, and more.

    Attributes:
        dtype: of the computation; None: that of the parameters.
        remat: recompute each block (but the decoders') in the backward pass instead of keeping its activations.
    """

    upsample: str = "repeat"
    downsample: str = "strided"
    products: str = "never"
    discriminate: str = "apart"
    dtype: Any = None
    remat: bool = False


REFERENCE = Compute()


def choose(ops: str, backend: str, **options: Any) -> Compute:
    """The variants that `train.ops` names, on a backend (cpu, gpu, tpu).

    Args:
        ops: auto (the fastest known ones) | reference, then perhaps single variants, for measurements: as in
            "auto,upsample=repeat".
        backend: where they compute.
        **options: the other attributes of `Compute`.

    Raises:
        ValueError: for an unknown name.
    """
    first, *others = ops.split(",")
    if first not in ("auto", "reference"):
        raise ValueError(f"{first} is neither auto nor reference")
    names = FASTEST.get(backend, {}) if first == "auto" else {}
    for other in others:
        kind, _, name = other.partition("=")
        if name not in VARIANTS.get(kind, ()):
            known = ", ".join(f"{kind}={name}" for kind, names in VARIANTS.items() for name in names)
            raise ValueError(f"{other} is none of {known}")
        names = names | {kind: name}
    return Compute(**names, **options)
