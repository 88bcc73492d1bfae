"""The direction of imports (docs/architecture.md): each module may import only what stands above it in LAYERS."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastgan_jax"

# Upward only: a module imports from its own line (if it is a package) and the lines above it.
LAYERS = [
    "errors",
    "variants",
    "tool_support",
    "image_ops",
    "metrics",
    # the device column: jax and flax; no files, no flags, no clock
    "models",
    "augment",
    "losses",
    "perceptual",
    "draws",
    "train_state",
    "method",
    "judging",
    "train_step",
    "accumulation",
    "walk",
    "sampling",
    "latent_search",
    "reconstruction",
    # the host column: knows arrays and pytrees, not models
    "config",
    "run_folder",
    "data",
    "checkpoint",
    "writers",
    "torch_files",
    "signals",
    "video",
    # where both columns meet
    "weights",
    "assemble",
    "program",
    "restore",
    "tool_inputs",
    "device_peaks",
    "operation_counts",
    "benchmark_report",
    "interop",
    "comparison",
    "features",
    "diagnosis",
    "evaluate",
    "evaluation_report",
    "neighbours",
    "probe",
    "projection",
    "charts",
    "page",
    "report_evaluation",
    "report",
    "train",
    "kept_memory",
    "benchmark_phases",
    "benchmark",
    "benchmark_sides",
    "torch_benchmark",
    "export",
    "main",
]
DEVICE = LAYERS[LAYERS.index("models") : LAYERS.index("config")]
HOST = LAYERS[LAYERS.index("config") : LAYERS.index("weights")]
HOST_ONLY_LIBRARIES = {"PIL", "orbax", "tensorflow_datasets", "grain", "tensorboard", "tqdm", "os", "pathlib", "time"}


def imports_of(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, inside functions too, but not for type checking alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", module_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_upward(path):
    layer = layer_of(path)
    assert layer in LAYERS, f"{path.name} has no place in LAYERS: give it one"
    for name in imports_of(path):
        parts = name.split(".")
        assert parts[0] != "configs", f"{path.name} imports {name}: the package never imports configurations"
        if parts[0] != "fastgan_jax" or len(parts) < 2 or parts[1] not in LAYERS:
            continue
        assert LAYERS.index(parts[1]) <= LAYERS.index(layer), f"{path.name} imports {name}, which stands below it"
        assert not (layer in HOST and parts[1] in DEVICE), f"{path.name} of the host column imports {name}"


@pytest.mark.parametrize("path", module_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_device_column_touches_no_files_or_clock(path):
    if layer_of(path) in DEVICE:
        used = {name.split(".")[0] for name in imports_of(path)}
        assert not used & HOST_ONLY_LIBRARIES


def test_every_layer_exists():
    present = {layer_of(path) for path in module_files()}
    assert present == set(LAYERS)


def test_tools_contain_no_model_code():
    for path in (ROOT / "tools").glob("*.py"):
        used = {name.split(".")[0] for name in imports_of(path)}
        assert not used & {"flax", "optax"}, f"{path.name} imports model libraries: tools only parse and call"


def test_configurations_import_nothing_of_the_package():
    for path in (ROOT / "configs").glob("*.py"):
        assert {name.split(".")[0] for name in imports_of(path)} <= {"ml_collections", "configs"}


def test_training_never_imports_tensorflow_or_torch():
    program = (
        "import sys, fastgan_jax.train; print([m for m in ('tensorflow', 'torch', 'tensorboard') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def test_the_page_of_the_architecture_names_every_layer_in_this_order():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## ")[0]
    places = [
        min((page.find(f"`{name}{end}") for end in (".py`", "/") if f"`{name}{end}" in page), default=-1)
        for name in LAYERS
    ]
    assert [name for name, place in zip(LAYERS, places, strict=True) if place < 0] == []
    assert places == sorted(places)
