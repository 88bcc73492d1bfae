"""The run folder: where each file of a run lies, who may write there, and what was run."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import explained, user_path, write_json

LIBRARIES = ("fastgan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")


class RunFolder:
    """The layout of a run.

    config.json, metrics.jsonl, tensorboard/, samples/, reconstructions/, checkpoints/<step>/; and evaluation.json and
    nearest.png, which other commands add and the report shows.
    """

    def __init__(self, path: str | Path):
        """Names the folder; nothing is created before `lock`."""
        self.path = user_path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.nearest = self.path / "nearest.png"
        self.tensorboard = self.path / "tensorboard"
        self.samples = self.path / "samples"
        self.reconstructions = self.path / "reconstructions"
        self.checkpoints = self.path / "checkpoints"

    def sample_path(self, step: int) -> Path:
        """File of the sample grid after `step` iterations."""
        return self.samples / f"{step:09d}.png"

    def reconstruction_path(self, step: int) -> Path:
        """File of the grid of reconstructions after `step` iterations."""
        return self.reconstructions / f"{step:09d}.png"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Creates the folder and holds it for this process; the lock ends with the process, however that ends.

        Raises:
            UserError: if another process holds it, or it cannot be written.
        """
        import fcntl

        with explained(f"run folder {self.path} cannot be written", "choose another --workdir"):
            for folder in (self.path, self.samples, self.reconstructions, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"run folder {self.path} is in use by process {file.read().strip()}: stop it, or choose another "
                    "--workdir"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def write_config(self, config: dict[str, Any], *, device: str) -> None:
        """Writes config.json: the resolved configuration, versions, the device and the source's commit."""
        record = {"config": config, "device": device, "versions": versions(), "git_commit": git_commit()}
        write_json(self.config, record)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, with "+changes" if it was edited; None outside of git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def run_name(path: str | Path) -> str:
    """The name of a run, from its folder, its checkpoints' folder or that of one checkpoint."""
    path = user_path(path).resolve()
    if path.name.isdecimal() and path.parent.name == "checkpoints":
        path = path.parent
    return path.parent.name if path.name == "checkpoints" else path.name
