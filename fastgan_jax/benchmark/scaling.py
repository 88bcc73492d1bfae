"""What devices that share each batch tell each other in an iteration, and the scaling that this predicts.

The collectives are those of the compiled program (`hlo.Kernel`). Of gradients and of batch norm they are all-reduces,
whose number and size do not depend on the number of devices, so that one compiled program predicts others.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from fastgan_jax.benchmark.hlo import COLLECTIVES, Kernel

SIZES = (8, 64, 256)  # numbers of devices that are predicted


def collectives(kernels: Sequence[Kernel], per_call: int) -> dict[str, dict[str, int]]:
    """{kind: number and bytes of the collectives of one iteration on one device}."""
    found: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for kernel in kernels:
        if kernel.kind in COLLECTIVES:
            share, _ = COLLECTIVES[kernel.kind]
            found[kernel.kind].update(number=kernel.times, bytes=round(kernel.times * kernel.bytes * share))
    return {kind: {name: round(value / per_call) for name, value in each.items()} for kind, each in found.items()}


def predict(
    device: Mapping[str, Any], found: Mapping[str, Mapping[str, int]], local_ms: float, per_device: float
) -> list[dict[str, float]]:
    """Milliseconds of an iteration on SIZES of devices, each with as many images as in the compiled program.

    Args:
        device: a description; its `links` are a list of {"devices": up to which number, "bandwidth": bytes a second
            that each device sends, "microseconds": of a collective besides}.
        found: see `collectives`.
        local_ms: of all other kernels.
        per_device: images of each device in an iteration.
    """
    rows = []
    for size in SIZES:
        link = next((link for link in device["links"] if size <= link["devices"]), None)
        if link is None:
            continue
        number = sum(each["number"] for each in found.values())
        sent = sum(COLLECTIVES[kind][1] * each["bytes"] for kind, each in found.items()) * (size - 1) / size
        waiting, sending = number * link["microseconds"] / 1e3, sent / link["bandwidth"] * 1e3
        total = local_ms + waiting + sending
        rows.append(
            {
                "devices": size,
                "images": size * per_device,
                "sending_ms": sending,
                "waiting_ms": waiting,
                "iteration_ms": total,
                "efficiency": local_ms / total,
            }
        )
    return rows


def assumptions(device: Mapping[str, Any]) -> list[str]:
    """What `predict` takes for granted, in words."""
    links = (
        f"{link['bandwidth'] / 1e9:g} GB/s and {link['microseconds']:g} microseconds up to {link['devices']} devices"
        for link in device["links"]
    )
    return [
        f"each device sends, and receives as much, at {'; '.join(links)} ({'; '.join(device['links_sources'])})",
        "of an all-reduce of S bytes, each of n devices sends 2 S (n - 1) / n, of an other collective half of that",
        "a collective waits for all devices, and nothing is computed meanwhile",
        "every device has as many images as in the compiled program; efficiency is against one that shares nothing",
    ]


def tables(found: Mapping[str, Mapping[str, int]], predicted: Sequence[Mapping[str, float]]) -> list[list[dict]]:
    """Rows for people, of `collectives` and of what `predict` says of them."""
    names = {"sending_ms": "sending, ms", "waiting_ms": "waiting, ms", "iteration_ms": "iteration, ms"}
    return [
        [
            {"collectives": kind, "number": each["number"], "MB": f"{each['bytes'] / 1e6:.1f}"}
            for kind, each in found.items()
        ],
        [
            {"devices": row["devices"], "images": f"{row['images']:g}"}
            | {name: f"{row[key]:.2f}" for key, name in names.items()}
            | {"images/s": f"{row['images'] / row['iteration_ms'] * 1e3:.0f}", "efficiency": f"{row['efficiency']:.0%}"}
            for row in predicted
        ],
    ]
