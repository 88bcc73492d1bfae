"""The order of the rooms (docs/architecture.md): imports point upward only, and the algorithm touches no files."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastgan_jax"

# A package imports from itself and from what stands above it.
ORDER = [
    *(
        "errors",
        "configs",
        "utils",
        "metrics",
        "models",
        "pretrained",
        "gan",
        "runs",
        "data",
        "build",
        "inference",
        "evaluation",
    ),
    *("report", "interop", "export", "train", "benchmark", "cli", "main"),
]
ENTRIES = ("__init__", "__main__")  # may import anything
PURE = ("models", "gan")
FILES_AND_CLOCKS = {"os", "io", "pathlib", "shutil", "tempfile", "time", "datetime", "PIL", "orbax", "tqdm", "logging"}


def imports_of(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms() -> dict[str, list[Path]]:
    """The files of each room, a package or a module at the top."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return {name: files for name, files in found.items() if name not in ENTRIES}


def test_imports_point_upward():
    assert set(rooms()) == set(ORDER)
    wrong = []
    for name, files in rooms().items():
        allowed = ORDER[: ORDER.index(name) + 1]
        for path in files:
            targets = {i.split(".")[1] for i in imports_of(path) if i.startswith("fastgan_jax.")}
            wrong += [f"{path.relative_to(ROOT)}: {t}" for t in targets if t in ORDER and t not in allowed]
    assert not wrong


def test_networks_and_algorithm_touch_no_files_and_no_clock():
    used = {
        path.relative_to(ROOT).as_posix(): {name.split(".")[0] for name in imports_of(path)} & FILES_AND_CLOCKS
        for room in PURE
        for path in rooms()[room]
    }
    assert not {path: names for path, names in used.items() if names}


def test_the_page_of_the_architecture_names_every_room_in_this_order():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", page, flags=re.MULTILINE)
    assert rows == ORDER


def test_no_function_is_long_and_no_argument_list_endless():
    """Fewer than 80 lines, and fewer than ten arguments."""
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                count = len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
                if node.end_lineno - node.lineno + 1 >= 80 or count >= 10:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not wrong


def test_training_imports_neither_tensorflow_nor_torch(tmp_path):
    """Nor does its log, where TensorFlow is installed: here as a module that cannot be imported."""
    (tmp_path / "tensorflow.py").write_text("raise AttributeError('broken')")
    program = f"""
import sys, fastgan_jax.train
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import TensorBoard

sys.path.insert(0, {str(tmp_path)!r})
found = [name for name in ("tensorflow", "torch", "tensorboard") if name in sys.modules]
run = RunFolder({str(tmp_path / "run")!r})
run.path.mkdir()
logger = TensorBoard(run, 0)
logger.scalars(1, {{"loss/d": 1.0}})
logger.close()
print(found + ["tensorflow"] * ("tensorflow" in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"
