"""Shared helpers of the tests that compare with PyTorch or with numbers recorded from the reference program."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from flax import traverse_util

FIXTURES = Path(__file__).resolve().parent / "fixtures"


def recipe() -> ModuleType:
    """The module tests/fixtures/recipe.py: weights and inputs of the compact recording."""
    spec = importlib.util.spec_from_file_location("fixture_recipe", FIXTURES / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded(shared_dir: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a recording that is too large for the project; skips where it is absent."""
    path = shared_dir / "fixtures" / name
    if not path.is_file():
        pytest.skip(f"needs the recording ../shared/fixtures/{name}, which is absent")
    with np.load(path) as arrays:
        return dict(arrays)


def section(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The entries whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def to_nhwc(images: np.ndarray) -> np.ndarray:
    """[N, C, H, W] -> [N, H, W, C]."""
    return np.moveaxis(np.asarray(images), 1, 3)


def to_nchw(images: np.ndarray) -> np.ndarray:
    """[N, H, W, C] -> [N, C, H, W]."""
    return np.moveaxis(np.asarray(images), 3, 1)


def logits_rows(flat: np.ndarray, batch: int) -> np.ndarray:
    """The reference's flat logits (big head of all images, then small head of all) as [batch, L]."""
    return np.moveaxis(np.asarray(flat).reshape(2, batch, -1), 1, 0).reshape(batch, -1)


def logits_flat(rows: np.ndarray) -> np.ndarray:
    """The inverse of `logits_rows`."""
    rows = np.asarray(rows)
    return np.moveaxis(rows.reshape(len(rows), 2, -1), 0, 1).ravel()


def kernel_of(weight: np.ndarray) -> np.ndarray:
    """PyTorch's convolution weight [out, in, kh, kw] as [kh, kw, in, out]."""
    return np.transpose(np.asarray(weight), (2, 3, 1, 0))


def vector_of(v: np.ndarray, weight_shape: tuple[int, ...]) -> np.ndarray:
    """PyTorch's right singular vector [in * kh * kw] of a weight [out, in, kh, kw] in the order (kh, kw, in)."""
    _, size_in, height, width = weight_shape
    return np.asarray(v).reshape(size_in, height, width).transpose(1, 2, 0).ravel()


def quick_jit(function, **kwargs):
    """`jax.jit` that spends little on optimizing: for what runs once or twice, compilation is most of the time."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=options, **kwargs)


def optimized_jit(function, **kwargs):
    """`jax.jit` as users have it, where the tests go without most optimizations (see conftest.py)."""
    options = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
        options["xla_cpu_use_fusion_emitters"] = True
    return jax.jit(function, compiler_options=options, **kwargs)


def array(tensor) -> np.ndarray:
    """A PyTorch tensor as a numpy array of its own (PyTorch changes buffers in place)."""
    return tensor.detach().numpy().copy()


def block_variables(modules: dict[str, object]) -> dict:
    """Variables of one of our blocks from the PyTorch modules that hold the same numbers.

    Args:
        modules: {path of our layer, "" or "conv" or "up_0/conv": spectrally normalized Conv2d or ConvTranspose2d,
            BatchNorm2d, or a one-element tensor, the weight of a noise injection}.
    """
    flat = {}
    for path, module in modules.items():
        where = tuple(path.split("/")) if path else ()
        kind = type(module).__name__
        if kind in ("Conv2d", "ConvTranspose2d"):
            # The transposed weight is [in, out, kh, kw]; its matrix too has one row per output channel.
            weight = array(module.weight_orig)
            weight = weight if kind == "Conv2d" else weight.swapaxes(0, 1)
            flat["params", *where, "kernel"] = kernel_of(weight)
            flat["spectral", *where, "u"] = array(module.weight_u)
            flat["spectral", *where, "v"] = vector_of(array(module.weight_v), weight.shape)
        elif kind == "BatchNorm2d":
            flat["params", *where, "scale"], flat["params", *where, "bias"] = array(module.weight), array(module.bias)
            flat["batch_stats", *where, "mean"] = array(module.running_mean)
            flat["batch_stats", *where, "var"] = array(module.running_var)
        else:
            flat["params", *where, "noise_weight"] = array(module)
    return traverse_util.unflatten_dict(flat)


def block_gradients(modules: dict[str, object]) -> dict:
    """The gradients that PyTorch left in `modules`, as a tree like the parameters in `block_variables`."""
    flat = {}
    for path, module in modules.items():
        where = tuple(path.split("/")) if path else ()
        kind = type(module).__name__
        if kind in ("Conv2d", "ConvTranspose2d"):
            gradient = array(module.weight_orig.grad)
            flat[*where, "kernel"] = kernel_of(gradient if kind == "Conv2d" else gradient.swapaxes(0, 1))
        elif kind == "BatchNorm2d":
            flat[*where, "scale"], flat[*where, "bias"] = array(module.weight.grad), array(module.bias.grad)
        else:
            flat[*where, "noise_weight"] = array(module.grad)
    return traverse_util.unflatten_dict(flat)


def assert_trees_close(actual: dict, expected: dict, *, rtol: float, atol: float = 0.0, what: str = "") -> float:
    """Checks that two trees have the same leaves, and that each differs by at most rtol * (its largest value) + atol.

    Returns:
        The largest difference met, as a share of the leaf's largest value.
    """
    actual, expected = traverse_util.flatten_dict(actual), traverse_util.flatten_dict(expected)
    assert actual.keys() == expected.keys(), f"{what}: leaves differ: {sorted(actual.keys() ^ expected.keys())}"
    worst = 0.0
    for path, value in expected.items():
        worst = max(worst, assert_close(actual[path], value, rtol=rtol, atol=atol, what=f"{what} {'/'.join(path)}"))
    return worst


def assert_close(actual, expected, *, rtol: float, atol: float = 0.0, what: str = "") -> float:
    """Checks shape and the largest difference: at most rtol * max|expected| + atol. Returns the relative one."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    scale = float(np.max(np.abs(expected), initial=0.0))
    difference = float(np.max(np.abs(actual.astype(np.float64) - expected), initial=0.0))
    # Written so that a NaN fails too.
    assert difference <= rtol * scale + atol, f"{what}: differs by {difference:.3g} of {scale:.3g}"
    return difference / scale if scale else difference


def report(quantity: str, error: float, tolerance: float) -> None:
    """Prints one measured agreement, for the table in docs/fidelity.md; `pytest -rP` shows the lines."""
    print(f"measured | {quantity} | {error:.1e} | {tolerance:.0e}")
