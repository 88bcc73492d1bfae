"""Equal ways to compute the same thing, and which of them is the fastest where.

Every form gives the plain one's values and gradients, to rounding; tests hold them to that. Which one wins was measured
(docs/performance.md); where nothing was measured, it is the plain one.
"""

from dataclasses import dataclass, fields

# {form: its ways, the plain one first}
WAYS = {
    "upsample": ("repeat", "phase"),  # nearest x2 and 3x3 convolution, see convolution.upsample_convolve
    # 4x4 convolution of stride 2, see convolution.downsample_convolve
    "downsample": ("strided", "space_to_depth", "subpixel_gradient"),
    "kernel_gradient": ("convolution", "products", "by_size"),  # see convolution.convolve
    "spectral": ("kernel", "output"),  # what is divided by the spectral norm, see layers.SpectralModule
    "judge": ("apart", "joint"),  # real and generated pictures in D's update, see judging.py
}
FASTEST = {
    "cpu": {"upsample": "phase", "downsample": "subpixel_gradient", "kernel_gradient": "by_size"},
}


def check_way(form: str, way: str) -> None:
    """Raises ValueError if `way` is none of those of `form`."""
    if way not in WAYS[form]:
        raise ValueError(f"{form} form {way!r} is none of {', '.join(WAYS[form])}")


@dataclass(frozen=True)
class Forms:
    """The way of each form of `WAYS` in which a network computes; the plain ones by default."""

    upsample: str = "repeat"
    downsample: str = "strided"
    kernel_gradient: str = "convolution"
    spectral: str = "kernel"
    judge: str = "apart"

    def __post_init__(self) -> None:
        """Raises ValueError for a way that there is not."""
        for field in fields(self):
            check_way(field.name, getattr(self, field.name))


PLAIN = Forms()


def choose(backend: str, **ways: str) -> Forms:
    """The forms asked for, each way by its name; "auto" is the fastest one on a backend (cpu, gpu, tpu)."""
    fastest = FASTEST.get(backend, {})
    plain = {form: names[0] for form, names in WAYS.items()}
    return Forms(**{form: (plain | fastest)[form] if way == "auto" else way for form, way in ways.items()})
