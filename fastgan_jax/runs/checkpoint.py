"""Checkpoints on Orbax: the whole training state for resuming, and the averaged generator alone for sampling.

Each checkpoint `<step>` has four items: "state" (the train state), "sampler" ({"params", "batch_stats", "spectral"} of
the averaged generator), "config" and "data" (JSON); and a fifth, "metrics" (JSON), if it was evaluated. A step's folder
appears by one rename when it is complete, so a process that is killed while saving leaves the earlier checkpoints as
they were.

Checksums of both trees lie in the item "data", since what Orbax writes has none: a changed byte would be a changed
weight. A checkpoint that is damaged is set aside, and the one before it is used. An error that may pass, such as that
of a network share, is not damage: reading is tried again, and then refused.
"""

import contextlib
import errno
import functools
import json
import logging
import re
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from fastgan_jax.errors import UserError, gist
from fastgan_jax.metrics.registry import rank, ranked_by
from fastgan_jax.runs.config import upgrade
from fastgan_jax.utils.devices import check_device
from fastgan_jax.utils.files import as_unicode, explained, user_path
from fastgan_jax.utils.hosts import agreed

State, Found = TypeVar("State"), TypeVar("Found")
MISREAD = "*?[\\"  # characters that Orbax takes for patterns, or TensorStore for a slash
LINKED = f"one of {' '.join(MISREAD)} or a byte that is not UTF-8"  # what Orbax does not take in a path
RETRY_SECONDS = (1, 5, 15)  # between attempts to read where an error may pass
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # what the system says of files that were deleted or replaced
PASSING = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")  # in messages of TensorStore and of the device
REASONS = {  # parts of messages of Orbax and TensorStore, and what they mean
    "structures do not match": "its state has other parts, as of another version or other settings",
    **dict.fromkeys(("DATA_LOSS", "OUT_OF_RANGE", "error while reading array"), "its arrays are damaged"),
    "has no attribute 'tree'": "files of it are missing or empty, as of an incomplete copy",
}

log = logging.getLogger(__name__)


class StorageError(UserError):
    """A checkpoint cannot be read now, which says nothing of what it holds."""


class Checkpoints:
    """The checkpoints of one run, written in the background.

    It keeps the newest `keep`, that of step 0, and, of those that were evaluated, the one with the best `best_metric`.
    Use it as a context: leaving it waits for what is being written.
    """

    def __init__(self, directory: str | Path, *, keep: int | None, best_metric: str = "fid"):
        """Opens the folder `checkpoints` of a run, which may be empty.

        `keep` None keeps all. Where an evaluation lacks `best_metric`, the first number that it has counts.
        """
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs every file there, and tracebacks
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            _set_damaged_metrics_aside(self.directory)
        # Orbax would do this in a thread that fails when the process ends before it.
        for unfinished in self.directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*") if jax.process_index() == 0 else ():
            shutil.rmtree(unfinished, ignore_errors=True)
        self._keep, self._cannot_delete = keep, set()
        # Without best_fn, Orbax does not write metrics. It is not to delete anything: a folder that cannot be deleted
        # would be a checkpoint that could not be written.
        options = ocp.CheckpointManagerOptions(best_fn=_ranking(best_metric), best_mode="min")
        self._link = contextlib.ExitStack()
        path = self._link.enter_context(plain_path(self.directory))
        names = ("state", "sampler", "config", "data")
        self._manager = ocp.CheckpointManager(path, item_names=names, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        with self._link, self._write_errors():
            self._manager.close()
            self._delete_outdated()

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
        checksums = {"state": checksum(state), "sampler": checksum(sampler)}
        texts = {"config": config, "data": data} | ({"metrics": metrics} if metrics else {})
        checksums |= {name: _text_checksum(text) for name, text in texts.items()}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            sampler=ocp.args.StandardSave(sampler),
            config=ocp.args.JsonSave(dict(config)),
            data=ocp.args.JsonSave({**data, "checksums": checksums}),
        )
        with self._write_errors():
            self._manager.save(step, args=items, metrics=metrics and dict(metrics), force=True)

    def wait(self) -> None:
        """Waits until everything is on disk, and deletes what is not kept.

        Raises:
            UserError: if it could not be written, say because the disk is full.
        """
        with self._write_errors():
            self._manager.wait_until_finished()
        if self._delete_outdated():
            _wait_for_all_processes("outdated checkpoints")
            self._manager.reload()

    def _delete_outdated(self) -> bool:
        """Deletes the checkpoints that are not kept, if there are any; the log names those that cannot be deleted."""
        steps = self.steps()
        kept = steps if self._keep is None else {0, *steps[-self._keep :], self._manager.best_step()}
        outdated = sorted(set(steps) - set(kept))
        for step in outdated if jax.process_index() == 0 else ():
            folder = self.directory / str(step)
            try:
                shutil.rmtree(folder)
            except OSError as error:
                if folder.exists() and step not in self._cannot_delete:
                    self._cannot_delete.add(step)
                    log.warning("the old checkpoint %s cannot be deleted (%s): delete it yourself", folder, gist(error))
        return bool(outdated)

    def steps(self) -> list[int]:
        """The steps on disk, ascending."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest step, or None."""
        return max(self.steps(), default=None)

    def verify(self, target: Any) -> None:
        """Reads the newest checkpoint back, of a state of the structure of `target`: not every folder can hold one.

        Raises:
            UserError: if it cannot be written, or is not what was written; then it is set aside.
        """
        self.wait()
        step = self.latest_step()
        try:
            if step is None:
                raise FileNotFoundError("it is not there")
            self._read(step, target)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
            if step is not None and jax.process_index() == 0:
                _set_aside(self.directory / str(step))
            problem = f"the first checkpoint in {self.directory} cannot be read back ({_reason(error)})"
            raise UserError(f"{problem}: choose another --workdir, on a disk that keeps what is written") from None

    def restore(self, target: State) -> tuple[State, dict[str, Any], int]:
        """The newest intact checkpoint, like `target` and on its devices: a state, the data item and the step.

        Checkpoints that are damaged are renamed, so that their steps can be saved anew.

        Raises:
            StorageError: if one cannot be read for now; nothing is renamed.
            UserError: if no checkpoint is intact.
        """
        broken = {}  # {step: why}
        for step in reversed(self.steps()):
            try:
                restored = self._read(step, target)
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
                broken[step] = _reason(error)
                log.warning("checkpoint %d in %s cannot be read (%s)", step, self.directory, broken[step])
                continue
            if broken:
                self.set_aside(broken)
                log.warning("going on from the older checkpoint %d; the damaged ones are now called *.damaged", step)
            return restored.state, restored.data, step
        tried = "; ".join(f"{step}: {reason}" for step, reason in broken.items())
        raise UserError(f"no checkpoint in {self.directory} can be read ({tried}): choose another --workdir")

    def set_aside(self, steps: Iterable[int]) -> None:
        """Renames the checkpoints of these steps, so that they can be saved anew; all processes must call it."""
        for step in steps if jax.process_index() == 0 else ():
            _set_aside(self.directory / str(step))
        _wait_for_all_processes("damaged checkpoints")
        self._manager.reload()

    def _read(self, step: int, target: Any) -> Any:
        """The items "state" and "data" of a checkpoint, which is checked; errors that may pass are waited for.

        Raises:
            StorageError: if such an error stays.
            Exception: if the checkpoint is damaged.
        """
        import orbax.checkpoint as ocp

        items = ocp.args.Composite(state=ocp.args.StandardRestore(_abstract(target)), data=ocp.args.JsonRestore())

        def read() -> Any:
            restored = self._manager.restore(step, args=items)
            _config_in(self.directory / str(step))
            checksums = restored.data.pop("checksums", {})
            _check("state", checksum(restored.state), checksums)
            _check("data", _text_checksum(restored.data), checksums)
            return restored

        cure = f"the same command later, or without the folder {step}, goes on; nothing was changed"
        return _patiently(read, self.directory / str(step), cure)

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Turns an error of writing, for which Orbax has no common type, into one line."""
        try:
            yield
        except jax.errors.JaxRuntimeError:  # the device's, or that of a run of several processes
            raise
        except (ValueError, OSError, RuntimeError) as error:
            full = any(text in str(error) for text in ("RESOURCE_EXHAUSTED", "No space left"))
            cause = "the disk is full" if full else gist(error)
            problem = f"a checkpoint in {self.directory} could not be written ({cause})"
            raise UserError(f"{problem}: free some space; the older ones are intact") from error


def _patiently(read: Callable[[], Found], checkpoint: Path, cure: str) -> Found:
    """What `read` finds in a checkpoint; errors that may pass are waited for.

    Raises:
        StorageError: if such an error stays; the line ends with `cure`.
        Exception: if the checkpoint is damaged.
    """
    _quiet_unfinished_reads()
    pauses = iter(RETRY_SECONDS)
    while True:
        try:
            return read()
        except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
            if not _may_pass(error):
                raise
            problem = f"checkpoint {checkpoint.name} in {checkpoint.parent} cannot be read for now ({_reason(error)})"
            seconds = next(pauses, None)
            if seconds is None:
                raise StorageError(f"{problem}: {cure}") from None
            log.warning("%s: trying again in %d s", problem, seconds)
            time.sleep(seconds)


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """The absolute path of a folder for Orbax: through a temporary link if the path itself has LINKED.

    Raises:
        UserError: if there is no place for the link.
    """
    folder = folder.absolute()
    if _is_plain(folder):
        yield folder
        return
    problem = f"{folder} has {LINKED} in its path, which needs a temporary link"
    with contextlib.ExitStack() as stack:
        with explained(problem, "rename the folder, or set TMPDIR to a writable folder without them"):
            link = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastgan-jax-"))) / "link"
            link.symlink_to(folder, target_is_directory=True)
            if not _is_plain(link):
                raise OSError(f"TMPDIR is {link.parent.parent}")
        yield link


def _is_plain(path: Path) -> bool:
    return set(MISREAD).isdisjoint(str(path)) and as_unicode(path) == str(path)


def find_checkpoint(path: str | Path, step: int | str = "latest") -> Path:
    """The folder of one checkpoint: "latest", "best" or a number.

    `path` is a run folder, its folder `checkpoints`, or the folder of one checkpoint.

    Raises:
        UserError: if there is none, naming those that are there, or `path` is a checkpoint and `step` names another.
    """
    path = user_path(path)
    if isinstance(step, str) and step.isdecimal() or isinstance(step, float) and step.is_integer():
        step = int(step)
    if path.name.isdecimal() and (path / "sampler").is_dir():
        if step not in ("latest", int(path.name)):
            raise UserError(f"{path} is one checkpoint, not {step}: give the run folder, or leave the step out")
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = _steps_in(folder) if folder.is_dir() else []
    if not steps:
        raise UserError(f"{path} holds no checkpoint: give a run folder such as runs/demo")
    if step == "latest":
        step = steps[-1]
    elif step == "best":
        ranks = _ranks(folder, steps)
        if not ranks:
            raise UserError(f"{path} has no best checkpoint, since nothing was evaluated; use latest or one of {steps}")
        step = min(reversed(ranks), key=ranks.get)  # of equal ones the newest, which is the one that is kept
    elif step not in steps:
        raise UserError(f"{path} has no checkpoint {step}; it has {', '.join(map(str, steps))}")
    return folder / str(step)


def checkpoint_steps(path: str | Path) -> list[int]:
    """The steps of a run folder's checkpoints, ascending; of one checkpoint's folder, its own. UserError if none is."""
    found = find_checkpoint(path)
    return [int(found.name)] if found == user_path(path) else _steps_in(found.parent)


def _steps_in(folder: Path) -> list[int]:
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal())


def _ranks(folder: Path, steps: list[int]) -> dict[int, float]:
    """{step: rank by the configuration's metric, see `_ranking`} of those evaluated, in the order of `steps`."""
    ranks = {}
    for step in steps:
        metrics = folder / str(step) / "metrics" / "metrics"
        if metrics.is_file():
            config = read_config(folder / str(step))
            try:
                ranks[step] = _ranking(config["eval"]["best_metric"])(_read_metrics(metrics))
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise _unreadable(folder / str(step), "metrics", error) from None
    return ranks


def _read_metrics(path: Path) -> dict[str, float]:
    """The numbers of an evaluation; ValueError if they are damaged."""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(metrics, dict) or not all(isinstance(value, int | float) for value in metrics.values()):
        raise ValueError("not a dict of numbers")
    checksums = None
    with contextlib.suppress(OSError, ValueError, AttributeError):  # damage of their own, which reading the data shows
        checksums = _checksums_in(path.parents[1])
    if isinstance(checksums, dict):
        _check("metrics", _text_checksum(metrics), checksums)
    return metrics


def _set_damaged_metrics_aside(directory: Path) -> None:
    """Moves numbers of evaluations that cannot be read out of their checkpoints, which are as good without."""
    for path in directory.glob("*/metrics/metrics"):
        if path.parents[1].name.isdecimal():
            try:
                _read_metrics(path)
            except ValueError as error:
                log.warning("the evaluation in checkpoint %s is damaged (%s): set aside", path.parents[1], error)
                path.parent.rename(path.parents[2] / f"{path.parents[1].name}.metrics.damaged")


def can_be_sampled(checkpoint: Path) -> bool:
    """Whether the averaged generator in a checkpoint and its configuration are intact; if not, the log says so.

    All processes of a run must call it.

    Raises:
        UserError: if they cannot be read for now.
    """
    problem = ""
    try:
        _read_item(checkpoint, "sampler")
        _config_in(checkpoint)
    except (UserError, ImportError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
        problem = _reason(error)
    if not agreed(bool(problem)):
        return True
    log.warning("checkpoint %s cannot be read (%s)", checkpoint, problem or "by another process")
    return False


def _set_aside(folder: Path) -> None:
    """Renames a damaged checkpoint to <step>.damaged, or with a number where there is one already."""
    names = (f"{folder.name}.damaged{number}" for number in ("", *range(2, 1000)))
    folder.rename(next(path for name in names if not (path := folder.with_name(name)).exists()))


def _wait_for_all_processes(name: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def load_sampler(path: str | Path, step: int | str = "latest") -> tuple[dict, dict[str, Any], int]:
    """The variables {"params", "batch_stats", "spectral"} of the averaged generator, the configuration, and the step.

    They are read onto the default device, whichever device wrote them. Arguments as for `find_checkpoint`.

    Raises:
        UserError: if there is no such checkpoint, or it is damaged.
    """
    return _load_item(find_checkpoint(path, step), "sampler")


def load_state(path: str | Path, step: int | str = "latest") -> tuple[dict, dict[str, Any], int]:
    """The whole train state as nested dicts, the configuration, and the step; otherwise as `load_sampler`."""
    return _load_item(find_checkpoint(path, step), "state")


def newest_config(directory: Path, *, upgraded: bool = True) -> dict[str, Any] | None:
    """The configuration in the newest of the checkpoints in a folder in which it can be read; None without one.

    Unless `upgraded`, with the fields of the version that wrote it.
    """
    for step in reversed(_steps_in(directory)):
        with contextlib.suppress(UserError):  # `Checkpoints.restore` says what is damaged
            return read_config(directory / str(step), upgraded=upgraded)
    return None


def image_fingerprint(path: str | Path) -> str | None:
    """The fingerprint of the images that a run was last trained on; None if its checkpoint does not say."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads((find_checkpoint(path) / "data" / "metadata").read_text(encoding="utf-8")).get("fingerprint")
    return None


def read_config(folder: Path, *, upgraded: bool = True) -> dict[str, Any]:
    """The configuration in a checkpoint's folder, with the present names of its fields; UserError if damaged."""
    try:
        return upgrade(_config_in(folder)) if upgraded else _config_in(folder)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _unreadable(folder, "config", error) from None


def _config_in(folder: Path) -> dict[str, Any]:
    """The same, as it was written; what is damaged shows as any error."""
    config = json.loads((folder / "config" / "metadata").read_text(encoding="utf-8"))
    _check("config", _text_checksum(config), _checksums_in(folder))
    return config


def _load_item(folder: Path, name: str) -> tuple[dict, dict[str, Any], int]:
    check_device()
    if name == "state" and folder.is_dir() and not (folder / name).exists():
        cure = "publish it with fastgan push --state, or give a run folder that has it"
        raise UserError(f"{folder} has no state of training, as one that was published without: {cure}")
    try:
        item = _read_item(folder, name)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 (Orbax has no common type for damaged files)
        raise _unreadable(folder, name, error) from None
    return item, read_config(folder), int(folder.name)


def _read_item(folder: Path, name: str) -> dict:
    """An item of arrays of a checkpoint, which is checked; errors as those of `_patiently`."""
    import orbax.checkpoint as ocp

    logging.getLogger("absl").setLevel(logging.CRITICAL)

    def read() -> dict:
        with plain_path(folder / name) as path, ocp.StandardCheckpointer() as checkpointer:
            item = checkpointer.restore(path, _abstract(checkpointer.metadata(path).item_metadata.tree))
        _check(name, checksum(item), _checksums_in(folder))
        return item

    return _patiently(read, folder, "try again later, or choose another step")


def _unreadable(folder: Path, name: str, error: Exception) -> UserError:
    return UserError(f"checkpoint {folder} cannot be read ({name}: {_reason(error)}): choose another step")


def checksum(tree: Any) -> int:
    """A checksum of the bits of all arrays of a tree, whatever devices they are on and whatever holds them."""
    return sum(zlib.crc32(_bytes(leaf)) for leaf in jax.tree.leaves(tree))


def _bytes(leaf: Any) -> np.ndarray:
    """The bytes of an array, flat."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)


def _text_checksum(value: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode("utf-8"))


def _checksums_in(folder: Path) -> dict[str, int]:
    """The checksums in a checkpoint's folder; none in those that earlier versions wrote, or without a state."""
    path = folder / "data" / "metadata"
    return json.loads(path.read_text(encoding="utf-8")).get("checksums", {}) if path.exists() else {}


def _check(name: str, found: int, checksums: Mapping[str, int]) -> None:
    """Compares the checksum of an item as it was read with the one that was written, if any was."""
    if checksums.get(name, found) != found:
        raise ValueError(f"the checksum of {name} is another one")


def _may_pass(error: BaseException | None) -> bool:
    """Whether an error of reading may be gone later: of the storage, its network, or for want of memory."""
    while error is not None:
        codes = [int(code) for code in re.findall(r"OS error (\d+)", str(error))]  # as TensorStore writes them
        codes += [error.errno] if isinstance(error, OSError) and error.errno is not None else []
        if isinstance(error, MemoryError | TimeoutError) or any(code not in ABSENT for code in codes):
            return True
        if any(text in str(error) for text in PASSING):
            return True
        error = error.__cause__ or error.__context__
    return False


def _abstract(tree: Any) -> Any:
    """Shapes and types of a tree, to be put where its arrays are, else on the default device, whoever wrote it."""
    default = jax.device_put(np.zeros((), np.float32)).sharding

    def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = leaf.sharding if isinstance(leaf, jax.Array) else default
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(abstract, tree)


def _ranking(name: str) -> Callable[[Mapping[str, float]], float]:
    """The rank of a checkpoint by its numbers, preferably by `name`."""

    def rank_of(metrics: Mapping[str, float]) -> float:
        known = ranked_by(metrics, name)
        return rank(known, metrics.get(known))

    return rank_of


def _reason(error: BaseException) -> str:
    """An error in one line."""
    for text, reason in REASONS.items():
        if text in str(error):
            return reason
    return gist(error)


@functools.cache
def _quiet_unfinished_reads() -> None:
    """Leaves out what Python reports, with tracebacks, of the other reads of a checkpoint when one of them fails."""
    logging.getLogger("asyncio").addFilter(lambda record: "never retrieved" not in record.getMessage())
    usual = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
        late = unraisable.exc_type is RuntimeError and str(unraisable.exc_value) == "Event loop is closed"
        if not late and not (code and "orbax" in code.co_filename):
            usual(unraisable)

    sys.unraisablehook = hook
