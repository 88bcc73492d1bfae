"""Checkpoints on Orbax: the whole state of training for going on, and the averaged generator alone for sampling.

Each checkpoint `<step>` has four items: "state" (the train state), "sampler" ({"params", "batch_stats", "spectral"} of
the averaged generator), "config" and "data" (JSON); and a fifth, "metrics" (JSON), if it was evaluated. A step's folder
appears by one rename when it is complete, so a process that is killed while saving leaves the earlier checkpoints as
they were.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.registry import BETTER, rank

State = TypeVar("State")
FIRST_STEP = 0

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, written in the background.

    Kept are the newest `keep`, that of step 0, and, of those that were evaluated, the one with the best `best_metric`.
    Use it as a context: leaving it waits for what is being written.
    """

    def __init__(self, directory: str | Path, *, keep: int | None, best_metric: str = "fid"):
        """Opens the folder `checkpoints` of a run, which may be empty.

        Args:
            directory: the folder.
            keep: how many of the newest to keep; None keeps all.
            best_metric: a name of `metrics.names.BETTER`; where an evaluation lacks it, the first that it has counts.
        """
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every file there
        self.directory = Path(directory)
        self._manager = ocp.CheckpointManager(
            os.path.abspath(directory),
            item_names=("state", "sampler", "config", "data"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_preservation(keep, best_metric),
                best_fn=_ranking(best_metric),  # without it, Orbax does not write metrics
                best_mode="min",
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def save(
        self,
        step: int,
        *,
        state: Any,
        sampler: Any,
        config: Mapping[str, Any],
        data: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Starts to write a checkpoint; arrays may be donated at once. A step that is there already is left as it is.

        `metrics` are those of an evaluation at this step, which decide on the best checkpoint.

        Raises:
            UserError: if the previous one could not be written.
        """
        import orbax.checkpoint as ocp

        self.wait()
        if step in self.steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            sampler=ocp.args.StandardSave(sampler),
            config=ocp.args.JsonSave(dict(config)),
            data=ocp.args.JsonSave(dict(data)),
        )
        with self._write_errors():
            self._manager.save(step, args=items, metrics=None if metrics is None else dict(metrics), force=True)

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
            UserError: if it could not be written, for example because the disk is full.
        """
        with self._write_errors():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases the folder."""
        with self._write_errors():
            self._manager.close()

    def steps(self) -> list[int]:
        """The steps on disk, ascending."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest step, or None."""
        return max(self.steps(), default=None)

    def config(self) -> dict[str, Any] | None:
        """The configuration in the newest checkpoint, or None without one."""
        step = self.latest_step()
        return None if step is None else read_json_item(self.directory / str(step), "config")

    def restore(self, target: State) -> tuple[State, dict[str, Any], int]:
        """Restores the newest intact checkpoint onto the default device.

        Args:
            target: a state of the same structure; its values are not used.

        Returns:
            The state, the data item, and the step.

        Raises:
            UserError: if no checkpoint is intact.
        """
        import orbax.checkpoint as ocp

        broken = []
        for step in reversed(self.steps()):
            try:
                items = ocp.args.Composite(
                    state=ocp.args.StandardRestore(_abstract(target)), data=ocp.args.JsonRestore()
                )
                restored = self._manager.restore(step, args=items)
            except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
                log.warning("checkpoint %d in %s cannot be read (%s)", step, self.directory, _first_line(error))
                broken.append(step)
                continue
            self._set_aside(broken, step)
            return restored.state, restored.data, step
        raise UserError(f"no checkpoint in {self.directory} can be read (tried {broken}): choose another --workdir")

    def _set_aside(self, broken: list[int], intact: int) -> None:
        """Renames checkpoints that cannot be read, so that their steps can be saved anew."""
        for step in broken:
            (self.directory / str(step)).rename(self.directory / f"{step}.damaged")
        if broken:
            self._manager.reload()
            log.warning("going on from the older checkpoint %d; the damaged ones are now called *.damaged", intact)

    def _write_errors(self) -> "_WriteErrors":
        return _WriteErrors(self.directory)


class _WriteErrors:
    """Turns an error of writing into one line."""

    def __init__(self, directory: Path):
        self._directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError, RuntimeError)) and not isinstance(error, UserError):
            full = any(text in str(error) for text in ("RESOURCE_EXHAUSTED", "No space left"))
            cause = "the disk is full" if full else _first_line(error)
            raise UserError(
                f"a checkpoint in {self._directory} could not be written ({cause}): free some space; the older "
                "ones are intact"
            ) from error


def find_checkpoint(path: str | Path, step: int | str = "latest") -> Path:
    """The folder of one checkpoint.

    Args:
        path: a run folder, its folder `checkpoints`, or the folder of one checkpoint.
        step: "latest", "best" or a number.

    Raises:
        UserError: if there is none, naming those that are there, or `path` is a checkpoint and `step` names another.
    """
    path = Path(path)
    if path.name.isdecimal() and (path / "sampler").is_dir():
        if step not in ("latest", int(path.name)):
            raise UserError(f"{path} is one checkpoint, not {step}: give the run folder, or leave the step out")
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal()) if folder.is_dir() else []
    if not steps:
        raise UserError(f"{path} holds no checkpoint: give a run folder such as runs/demo")
    if step == "latest":
        return folder / str(steps[-1])
    if step == "best":
        return folder / str(_best_step(path, folder, steps))
    if step not in steps:
        raise UserError(f"{path} has no checkpoint {step}; it has {', '.join(map(str, steps))}")
    return folder / str(step)


def checkpoint_steps(path: str | Path) -> list[int]:
    """The steps of the checkpoints of a run folder, ascending.

    Raises:
        UserError: if there is none.
    """
    newest = find_checkpoint(path)
    return sorted(int(p.name) for p in newest.parent.iterdir() if p.name.isdecimal())


def _best_step(path: Path, folder: Path, steps: list[int]) -> int:
    """The step whose metric, the one that its run was told to judge by, is best."""
    ranks = {}
    for step in steps:
        metrics = folder / str(step) / "metrics" / "metrics"
        if metrics.is_file():
            name = read_json_item(folder / str(step), "config")["eval"]["best_metric"]
            ranks[step] = rank(name, json.loads(metrics.read_text(encoding="utf-8")).get(name))
    if not ranks:
        raise UserError(f"{path} has no best checkpoint, since nothing was evaluated; use latest or one of {steps}")
    return min(ranks, key=lambda step: (ranks[step], step))


def load_sampler(path: str | Path, step: int | str = "latest") -> tuple[dict, dict[str, Any], int]:
    """Reads the averaged generator alone, onto the default device, whatever device wrote it.

    Args:
        path: see `find_checkpoint`.
        step: see `find_checkpoint`.

    Returns:
        Variables {"params", "batch_stats", "spectral"}, the configuration, and the step.

    Raises:
        UserError: if there is no such checkpoint, or it is damaged.
    """
    folder = find_checkpoint(path, step)
    return _load_item(folder, "sampler"), read_json_item(folder, "config"), int(folder.name)


def load_state(path: str | Path, step: int | str = "latest") -> tuple[dict, dict[str, Any], int]:
    """Reads the whole train state as nested dicts, the configuration, and the step; otherwise as `load_sampler`."""
    folder = find_checkpoint(path, step)
    return _load_item(folder, "state"), read_json_item(folder, "config"), int(folder.name)


def read_json_item(folder: Path, name: str) -> dict[str, Any]:
    """A JSON item of a checkpoint's folder.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return json.loads((folder / name / "metadata").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(folder, name, error) from None


def _load_item(folder: Path, name: str) -> dict:
    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            path = (folder / name).absolute()
            return checkpointer.restore(path, _abstract(checkpointer.metadata(path).item_metadata.tree))
    except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
        raise _unreadable(folder, name, error) from None


def _unreadable(folder: Path, name: str, error: Exception) -> UserError:
    return UserError(f"checkpoint {folder} cannot be read ({name}: {_first_line(error)}): choose another step")


def _abstract(tree: Any) -> Any:
    """Shapes and types of a tree, to be put on the default device: a checkpoint may come from another one."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree)


def _preservation(keep: int | None, best_metric: str) -> Any:
    from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

    if keep is None:
        return policies.PreserveAll()
    best = policies.BestN(
        get_metric_fn=_ranking(best_metric),
        reverse=True,  # Orbax keeps the last of the sorted; a low rank is good
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return policies.AnyPreservationPolicy([policies.LatestN(keep), policies.CustomSteps([FIRST_STEP]), best])


def _ranking(name: str) -> Callable[[Mapping[str, float]], float]:
    def ranked(metrics: Mapping[str, float]) -> float:
        known = next((other for other in (name, *metrics) if other in metrics and other in BETTER), name)
        return rank(known, metrics.get(known))

    return ranked


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
