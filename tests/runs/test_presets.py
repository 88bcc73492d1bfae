"""Which preset a device and a set of images get."""

from pathlib import Path

import pytest

from fastgan_jax.configs import preset_names
from fastgan_jax.runs import presets
from fastgan_jax.runs.presets import LARGE_SET, TABLE, choose_preset
from fastgan_jax.utils.devices import Device, this_device

CPU = Device("cpu", "cpu", None)
LARGE, MEDIUM, SMALL = (3000, 2000), (800, 500), (256, 256)


def gpu(gigabytes: float) -> Device:
    return Device("gpu", "NVIDIA Test", int(gigabytes * 1e9))


@pytest.mark.parametrize(
    ("device", "count", "size", "preset"),
    [
        (CPU, 20, SMALL, "cpu128"),
        (CPU, 5000, LARGE, "cpu128"),
        (gpu(60), 100, LARGE, "fewshot256"),
        (gpu(60), LARGE_SET - 1, LARGE, "fewshot256"),
        (gpu(60), LARGE_SET, LARGE, "art1024"),
        (gpu(60), 1000, MEDIUM, "art512"),
        (gpu(60), 1000, SMALL, "fewshot256"),
        (gpu(6), 1000, LARGE, "lowmem8gb"),
        (gpu(3), 1000, LARGE, "lowmem4gb"),
        (gpu(6), 1000, MEDIUM, "art512"),
        (gpu(3), 1000, MEDIUM, "fewshot256"),
        (gpu(2), 1000, LARGE, "fewshot256"),
        (Device("tpu", "TPU v5 lite", 16 * 2**30), 1000, LARGE, "art1024"),
        (Device("gpu", "without numbers", None), 1000, LARGE, "fewshot256"),
    ],
)
def test_device_and_images_decide(device, count, size, preset, monkeypatch):
    monkeypatch.setattr(presets, "local_path", lambda name: None)
    name, reason = choose_preset(device, count, [size, size[::-1], (1, 1), (9999, 9999)], flat=0.1)
    assert name == preset
    assert reason.startswith(f"preset {preset} for ") and f"{count} images" in reason and "--preset" in reason


def test_the_reason_is_true_on_small_cards():
    for device, known in ((gpu(3), "3 GB for JAX"), (Device("gpu", "without numbers", None), "memory not known")):
        reason = choose_preset(device, 1000, [MEDIUM], flat=0.1)[1]
        assert known in reason and "need more memory than is known to be here" in reason
    assert "few or small images" in choose_preset(gpu(3), 20, [MEDIUM], flat=0.1)[1]


def test_the_table_names_presets_and_its_last_row_takes_all_other_devices():
    assert {row.preset for row in TABLE} <= set(preset_names())
    assert TABLE[-1][2:] == (False, 0, 0, 0, 0, "")


def test_a_cpu_with_the_weights_gets_the_projected_preset(monkeypatch):
    for here, preset in ((Path("weights.npz"), "projected_cpu"), (None, "cpu128")):
        monkeypatch.setattr(presets, "local_path", lambda name, here=here: here)
        assert choose_preset(CPU, 100, [SMALL], flat=0.1)[0] == preset


def test_a_cpu_with_the_weights_gets_another_preset_for_drawings(monkeypatch):
    monkeypatch.setattr(presets, "local_path", lambda name: Path("weights.npz"))
    preset, reason = choose_preset(CPU, 100, [SMALL], flat=0.5)
    assert preset == "cpu128" and "flat color" in reason
    assert choose_preset(gpu(60), 100, [SMALL], flat=0.5)[0] == "fewshot256"


def test_this_device_is_described():
    device = this_device()
    assert device.kind in ("cpu", "gpu", "tpu") and device.name
    assert device.memory is None or device.memory > 2**28
