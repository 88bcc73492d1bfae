"""The peak arithmetic of accelerators, by the names that they go by in JAX and PyTorch."""

import re

# Dense teraflops of devices whose name matches, the first match counting; from the makers' data sheets: NVIDIA's of
# H100, H200, A100, T4 and V100 (halved where they count zeros skipped), NVIDIA's papers on Turing, GA102 and AD102
# (sums in float32), Cloud TPU's documentation. None: the device has no such units, or its maker does not say.
PEAKS: dict[str, dict[str, float | None]] = {
    r"H[12]00 NVL": {"bfloat16": 835, "tfloat32": 417, "float32": 60},
    r"H100 PCIe": {"bfloat16": 756, "tfloat32": 378, "float32": 51},
    r"H[12]00\b": {"bfloat16": 989, "tfloat32": 494, "float32": 67},
    r"A100\b": {"bfloat16": 312, "tfloat32": 156, "float32": 19.5},
    r"\bT4$": {"bfloat16": None, "tfloat32": None, "float32": 8.1},
    r"V100-PCIE": {"bfloat16": None, "tfloat32": None, "float32": 14},
    r"V100-SXM2": {"bfloat16": None, "tfloat32": None, "float32": 15.7},
    r"GTX 1650$": {"bfloat16": None, "tfloat32": None, "float32": 3.0},
    r"RTX 2080 Ti$": {"bfloat16": None, "tfloat32": None, "float32": 13.4},
    r"RTX 3090$": {"bfloat16": 71, "tfloat32": 35.6, "float32": 35.6},
    r"RTX 4090$": {"bfloat16": 165.2, "tfloat32": 82.6, "float32": 82.6},
    r"TPU v4$": {"bfloat16": 275, "tfloat32": None, "float32": None},
    r"TPU v5( lite|e)$": {"bfloat16": 197, "tfloat32": None, "float32": None},
    r"TPU v6( lite|e)$": {"bfloat16": 918, "tfloat32": None, "float32": None},
}


def peak_teraflops(device: str, arithmetic: str) -> float | None:
    """Peak teraflops of a device of this name in float32, tfloat32 or bfloat16; None: not known here."""
    return next((peaks[arithmetic] for name, peaks in PEAKS.items() if re.search(name, device)), None)
