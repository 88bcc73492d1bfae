"""The run folder: where each file of a run lies, who may write there, and what was run."""

import contextlib
import errno
import importlib.metadata
import itertools
import json
import logging
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import explained, user_path, write_json

LIBRARIES = ("fastgan_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of flock, on file systems that have none

log = logging.getLogger(__name__)


class RunFolder:
    """Where the files of a run lie; nothing is created before `lock`."""

    def __init__(self, path: str | Path):
        self.path = user_path(path)
        self.config = self.path / "config.json"
        self.data, self.reals = self.path / "data.json", self.path / "reals.png"
        self.metrics = self.path / "metrics.jsonl"
        # Of other commands:
        self.evaluation, self.nearest = self.path / "evaluation.json", self.path / "nearest.png"
        self.coverage = self.path / "coverage.png"
        self.tensorboard, self.checkpoints = self.path / "tensorboard", self.path / "checkpoints"
        self.samples, self.reconstructions = self.path / "samples", self.path / "reconstructions"

    def sample_path(self, step: int) -> Path:
        """File of the sample grid after `step` iterations."""
        return self.samples / f"{step:09d}.png"

    def reconstruction_path(self, step: int) -> Path:
        """File of the grid of reconstructions after `step` iterations."""
        return self.reconstructions / f"{step:09d}.png"

    def folder_of_own_images(self, path: str | Path) -> Path | None:
        """The folder in which the run writes images, if `path` is that one or lies in it."""
        own = (self.samples, self.reconstructions)
        return next((folder for folder in own if Path(path).resolve().is_relative_to(folder.resolve())), None)

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None without one."""
        try:
            names = os.listdir(self.checkpoints)  # unlike glob, which may take a share that fails for an empty folder
        except (FileNotFoundError, NotADirectoryError):
            return None
        return max((int(name) for name in names if name.isdecimal()), default=None)

    def source(self) -> str | None:
        """What the run was last trained on, as `describe_source` says it; None if that cannot be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            return describe_source(json.loads(self.config.read_text(encoding="utf-8"))["config"]["data"])
        return None

    def restore_config(self) -> None:
        """Writes config.json anew, from the newest checkpoint, if a run has lost it, or it is damaged."""
        if (step := self.latest_step()) is None or self.source() is not None:
            return
        with contextlib.suppress(OSError, ValueError):  # reading the checkpoint says what is damaged there
            saved = (self.checkpoints / str(step) / "config" / "metadata").read_text(encoding="utf-8")
            write_json(self.config, {"config": json.loads(saved)})
            log.warning("%s was missing or damaged: it is written anew, from checkpoint %d", self.config, step)

    def image_names(self) -> set[str] | None:
        """The image files that the run was last trained on, readable or not; None if that is not known."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(self.data.read_text(encoding="utf-8"))
            return {file["file"] for file in (*record["read"], *record["skipped"])}
        return None

    def class_names(self) -> list[str]:
        """The classes that the run was last trained on, in the order of their numbers; [] if that is not known."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            classes = json.loads(self.data.read_text(encoding="utf-8"))["classes"]
            return sorted(classes, key=classes.get)
        return []

    def leftovers(self) -> list[Path]:
        """What a run, and the commands about it, left beside the checkpoints and the configuration."""
        names = ("data.json", "reals.png", "samples", "reconstructions", "tensorboard", "metrics.csv", "wandb")
        made = ("evaluation.json", "evaluation.png", "nearest.png", "nearest.json", "coverage.png", "report.html")
        paths = [self.path / name for name in (*names, *made, self.metrics.name)]
        return [path for path in paths if path.exists()]

    def set_former_aside(self) -> None:
        """Moves what a run left that has no checkpoint any more into a folder `former1`, and the log says so.

        Raises:
            UserError: if it cannot be moved.
        """
        if self.latest_step() is not None or not (self.metrics.exists() and self.metrics.stat().st_size):
            return
        folder = next(path for i in itertools.count(1) if not (path := self.path / f"former{i}").exists())
        log.warning(
            "%s has no checkpoint any more, so a new run begins; what the old one left is in %s", self.path, folder
        )
        with explained(f"{self.path} cannot be changed", "choose another --workdir"):
            folder.mkdir()
            for path in filter(Path.exists, (self.config, *self.leftovers())):  # the one asked for above comes last
                path.rename(folder / path.name)
            for own in (self.samples, self.reconstructions):
                own.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def of_other_process(self) -> Iterator["RunFolder"]:
        """A folder for what a process writes beside the first one of its run: temporary but for the checkpoints."""
        with tempfile.TemporaryDirectory(prefix="fastgan-jax-process-") as path:
            folder = RunFolder(path)
            for own in (folder.samples, folder.reconstructions):
                own.mkdir()
            folder.checkpoints = self.checkpoints
            yield folder

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Creates the folder and holds it for this process; the lock ends with the process, however that ends.

        Raises:
            UserError: if another process holds it, or it cannot be written or locked. Where the file system has no
                locks, the log says so.
        """
        import fcntl

        folders = (self.path, self.samples, self.reconstructions, self.checkpoints)
        for folder in folders:
            if folder.is_symlink() and not folder.exists():
                problem = f"{folder} is a link to {os.readlink(folder)}, which is not there"
                raise UserError(f"{problem}: mount its disk, or choose another --workdir")
        with explained(f"run folder {self.path} cannot be written", "choose another --workdir"):
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                problem = f"run folder {self.path} is in use by process {file.read().strip()}"
                raise UserError(f"{problem}: stop it, or choose another --workdir") from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    problem = f"run folder {self.path} cannot be locked ({error.strerror})"
                    raise UserError(f"{problem}: try again, or choose another --workdir") from None
                log.warning("%s cannot be locked (%s): let only one process write there", self.path, error.strerror)
            with explained(f"run folder {self.path} cannot be written", "free some space"):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            yield

    def write_config(self, config: dict[str, Any], *, device: str) -> None:
        """Writes config.json: the resolved configuration, versions, the device and the source's commit."""
        versions = {"python": platform.python_version()}
        for name in LIBRARIES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        record = {"config": config, "device": device, "versions": versions, "git_commit": git_commit()}
        write_json(self.config, record)


def describe_source(data: dict[str, Any]) -> str:
    """The source of images of the group `data` of a configuration: a path, or the name of a set; "" for none."""
    if data.get("path"):
        return str(user_path(data["path"]).resolve())
    if data.get("hf"):
        name = data["hf"].removeprefix("hf://").removeprefix("datasets/")
        return f"hf={user_path(name).resolve() if user_path(name).exists() else name}"
    named = f"tfds={data['tfds']}" if data.get("tfds") else ""
    return named or ("the demo images" if data.get("demo_images") else "")


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, with "+changes" if it was edited; None outside of git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+changes"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def run_name(path: str | Path) -> str:
    """The name of a run, from its folder, its checkpoints' folder or that of one checkpoint.

    Of a run that was downloaded, USER/NAME on the hub.
    """
    folder = run_of(path).path
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):  # in the cache of huggingface_hub
        return repository.removeprefix("models--").replace("--", "/")
    return folder.name


def run_of(path: str | Path) -> RunFolder:
    """The run folder that holds these checkpoints: `path` itself, or its checkpoints' folder or that of one of them."""
    path = user_path(path).resolve()
    if path.name.isdecimal() and path.parent.name == "checkpoints":
        path = path.parent
    return RunFolder(path.parent if path.name == "checkpoints" else path)
