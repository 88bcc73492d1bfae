"""Statistics, tables and ratios of results; peaks of devices."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgan_jax.benchmark import results


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
def test_spread_is_ordered(values):
    found = results.spread(values)
    ordered = [found[name] for name in ("min", "quartile_1", "median", "quartile_3", "max")]
    assert np.all(np.diff(ordered) >= -1e-9 * max(values)) and ordered[0] == min(values)
    assert found["blocks"] == values


@pytest.mark.parametrize(
    ("device", "arithmetic", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA H100 PCIe", "tfloat32", 378),
        ("NVIDIA H200", "float32", 67),
        ("NVIDIA A100-SXM4-40GB", "tfloat32", 156),
        ("Tesla T4", "bfloat16", None),
        ("NVIDIA T400", "float32", None),
        ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bfloat16", None),
        ("TPU v5 lite", "bfloat16", 197),
        ("cpu", "float32", None),
    ],
)
def test_peaks_are_those_of_the_very_device(device, arithmetic, expected):
    assert results.peak_teraflops(device, arithmetic) == expected


def test_known_peaks_give_shares(result):
    known = result | {"device": "NVIDIA H100 80GB HBM3", "arithmetic": "tfloat32"}
    found = results.complete(known, [0.5, 0.5], 10)
    assert found["peak_teraflops"] == 494
    assert found["share_of_peak"]["counted"] == pytest.approx(found["flops_per_iteration"]["counted"] / 0.05 / 494e12)


def test_a_table_has_a_cell_for_each_column(result):
    cells = results.cells(result)
    header, rule, row = results.markdown([cells]).splitlines()
    assert header.count("|") == rule.count("|") == row.count("|") == len(cells) + 1
    assert (cells["resolution"], cells["loss"], cells["remat"]) == (64, "l1", "none")
    assert "cores" in cells["device"] and "compiled" in cells["memory GB"] and cells["share of peak"] == "-"
    unknown = result | {"memory": {"allocator_peak": None, "program": None}, "remat": None, "backend": "gpu"}
    assert (results.cells(unknown)["memory GB"], results.cells(unknown)["device"]) == ("-", "cpu")
    measured = result | {"memory": {"allocator_peak": 3_210_000_000, "program": None}}
    assert results.cells(measured)["memory GB"] == "3.21"


def test_compare_says_what_is_not_the_same(changed):
    text = results.comparison(changed(1), changed(1, batch_size=16))
    assert "not the same batch_size: 4 and 16" in text


def test_sides_that_are_not_of_the_same_thing_say_so(changed):
    both = {"one": changed(1), "two": changed(1, batch_size=16)}
    lines = results.ratio_lines({"results": both, "ratios": {"two": results.spread([2.0])}})
    assert lines[0].startswith("time of two / time of one: median 2.000") and lines[1:] == [
        "  not the same batch_size: 4 and 16"
    ]


def test_results_of_older_versions_are_read(result, tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(result | {"phases": {"G forward": results.spread([1.0])}}))
    assert results.read_json(str(tmp_path / "old.json"))["resolution"] == 64
