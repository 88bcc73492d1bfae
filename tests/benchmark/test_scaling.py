"""What devices tell each other: counted from kernels, and how long it would take."""

import pytest

from fastgan_jax.benchmark import scaling, target
from fastgan_jax.benchmark.hlo import HloProgram, Kernel
from fastgan_jax.errors import UserError

TEXT = """HloModule jit_program, num_partitions=8

ENTRY %main (gradient: f32[1000], part: f32[2,64]) -> f32[1000] {
  %gradient = f32[1000]{0} parameter(0)
  %part = f32[2,64]{1,0} parameter(1)
  %sum = f32[1000]{0} all-reduce(%gradient), channel_id=1, to_apply=%add
  %start = f32[1000]{0:S(1)} all-reduce-start(%sum), channel_id=2, to_apply=%add
  %done = f32[1000]{0:S(1)} all-reduce-done(%start)
  ROOT %shifted = f32[2,64]{1,0} collective-permute(%part), channel_id=3
}
"""


def test_collectives_are_counted_once_with_what_crosses_the_links():
    found = scaling.collectives(list(HloProgram(TEXT).kernels()), per_call=1)
    assert found == {"all-reduce": {"number": 2, "bytes": 8000}, "collective-permute": {"number": 1, "bytes": 512}}
    kernels = [Kernel("all-reduce", 20, bytes=800, flops=0, source=""), Kernel("fusion", 5, 10**9, 0, "")]
    assert scaling.collectives(kernels, per_call=10) == {"all-reduce": {"number": 2, "bytes": 800}}


def test_the_prediction_is_a_ring_and_a_wait_for_each_collective():
    links = [
        {"devices": 8, "bandwidth": 1e9, "microseconds": 10},
        {"devices": 64, "bandwidth": 1e8, "microseconds": 50},
    ]
    found = {"all-reduce": {"number": 100, "bytes": 10**7}}
    eight, many = scaling.predict({"links": links}, found, local_ms=20, per_device=4)
    assert (eight["devices"], many["devices"]) == (8, 64), "256 are beyond the links"
    assert eight["sending_ms"] == pytest.approx(2 * 10 * 7 / 8) and eight["waiting_ms"] == pytest.approx(1)
    assert eight["iteration_ms"] == pytest.approx(20 + 17.5 + 1) and eight["images"] == 32
    assert many["sending_ms"] == pytest.approx(2 * 100 * 63 / 64) and many["efficiency"] == pytest.approx(20 / 221.875)
    collectives, scale = scaling.tables(found, [eight])
    assert collectives == [{"collectives": "all-reduce", "number": 100, "MB": "10.0"}]
    assert scale[0]["images/s"] == "831" and scale[0]["efficiency"] == "52%"


@pytest.mark.parametrize("name", ["h100", "a100", "v5e", "v6e"])
def test_links_are_described_with_their_sources(name):
    device = target.read_device(name)
    assert device["links"][-1]["devices"] == scaling.SIZES[-1]
    assert any("assumed" in source for source in device["links_sources"])
    assert device["links_sources"][0] in scaling.assumptions(device)[0]


@pytest.mark.parametrize(
    ("name", "count", "batch", "message"),
    [
        ("v5e", 6, 12, "--devices 6: must be a power of two, at most 256 of TPU v5 lite"),
        ("h100", 512, 512, "--devices 512: must be at most 256 of NVIDIA H100"),
        ("h100", 12, 12, "must be a multiple of 8, the GPUs of a host, or fewer"),
        ("h100", 8, 12, "cannot share a .micro-.batch of 12 images equally: set .* to a multiple of 8"),
        ("rtx4090", 2, 8, "the description of rtx4090 has no 'links': see .*h100.json"),
    ],
)
def test_devices_that_cannot_share_a_batch_are_refused(name, count, batch, message):
    from configs import base

    train = base.get_config().train
    train.batch_size = batch
    target.check_devices(target.read_device(name), train, 1)
    with pytest.raises(UserError, match=message):
        target.check_devices(target.read_device(name), train, count)
