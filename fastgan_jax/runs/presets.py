"""Which preset suits a device and a set of images: the first row of TABLE that both satisfy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fastgan_jax.pretrained.registry import PROJECTED_WEIGHTS
from fastgan_jax.pretrained.store import local_path

if TYPE_CHECKING:
    from fastgan_jax.utils.devices import Device

LARGE_SET = 300  # images: from here on the paper trains at 512 and 1024, below it at 256 ("few-shot")


class Row(NamedTuple):
    """A preset and what it is for; numbers are the least that it needs."""

    preset: str
    reason: str  # completes "preset X for a CPU and 20 images: "
    on_cpu: bool = False
    memory: float = 0  # GB that JAX may take, which is three quarters of a GPU's unless set otherwise
    images: int = 0
    side: int = 0  # median shorter side of the images, pixels
    flat: float = 0  # share of flat pixels, see data/survey.py
    weights: str = ""  # a pretrained file that must be here


TABLE = (
    Row("cpu128", "much of them is flat color, as in drawings, which projected_cpu fails on", on_cpu=True, flat=0.3),
    Row("projected_cpu", "photographs", on_cpu=True, weights=PROJECTED_WEIGHTS),
    Row("cpu128", "for photographs at 256x256 in 25 to 70 minutes: pip install 'fastgan_jax[projected]'", on_cpu=True),
    Row("art1024", "large images", memory=10, images=LARGE_SET, side=768),
    Row("lowmem8gb", "large images, little memory", memory=4, images=LARGE_SET, side=768),
    Row("lowmem4gb", "large images, very little memory", memory=2.5, images=LARGE_SET, side=768),
    Row("art512", "many images", memory=5, images=LARGE_SET, side=384),
    Row("fewshot256", "larger ones need more memory than is known to be here", images=LARGE_SET, side=384),
    Row("fewshot256", "few or small images, which the paper trains on at 256x256"),
)


def choose_preset(device: "Device", count: int, sizes: Sequence[tuple[int, int]], flat: float) -> tuple[str, str]:
    """The preset for `count` images, and a line that says why; from a survey of them (data/survey.py)."""
    sides = sorted(min(size) for size in sizes)
    side = sides[len(sides) // 2] if sides else 0
    memory = (device.memory or 0) / 1e9
    has = {"memory": memory, "images": count, "side": side, "flat": flat}
    row = next(row for row in TABLE if _suits(row, device.kind == "cpu", has))
    known = f"{memory:.0f} GB for JAX" if device.memory else "memory not known"
    place = "a CPU" if device.kind == "cpu" else f"{device.name} ({known})"
    some = f"{count} images (shorter side about {side} pixels)"
    return row.preset, f"preset {row.preset} for {place} and {some}: {row.reason}; --preset chooses another"


def _suits(row: Row, on_cpu: bool, has: dict[str, float]) -> bool:
    fits = row.on_cpu == on_cpu and all(value >= getattr(row, name) for name, value in has.items())
    return fits and (not row.weights or local_path(row.weights) is not None)
