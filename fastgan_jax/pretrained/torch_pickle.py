"""Reads PyTorch files (.pth) as numpy arrays, without PyTorch and without running any code in them.

A .pth is a zip with one pickle and the raw bytes of its tensors; before PyTorch 1.6, it was several pickles and then
the bytes. Pickles can call anything; this reader lets them call only what rebuilds tensors and plain containers, and
refuses everything else.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import is_bomb, user_path

STORAGES = {  # numpy types of their bytes; numpy has no bfloat16, the upper half of a float32
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1"},
    **{"ByteStorage": "<u1", "BoolStorage": "?"},
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before PyTorch 1.6
LEGACY_PROTOCOL = 1001


def read_torch_file(path: str | Path) -> Any:
    """What `torch.save` wrote: nested dicts, lists and numbers, with tensors as numpy arrays (bfloat16 as float32).

    Raises:
        UserError: if there is no such file, it is in another format, or its pickle needs more than tensors.
    """
    path = user_path(path)
    check_weights_file(path)
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with open(path, "rb") as file:
            return _read_legacy(file, size=path.stat().st_size)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001 (damage can show as any)
        raise UserError(f"{path} is damaged, or not a PyTorch file ({type(error).__name__}: {error})") from None


def check_weights_file(path: Path) -> None:
    """Raises a UserError if there is no such file, or a folder in its place."""
    if path.is_dir():
        cure = "give a file, such as a .pth (macOS unzips some that a browser downloads: fetch those by curl)"
        raise UserError(f"{path} is a folder: {cure}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if bombs := [member.filename for member in archive.infolist() if is_bomb(member)]:
            raise ValueError(f"{bombs[0]} unpacks to far more than the file holds")
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl")
        prefix = name.removesuffix("data.pkl")
        storages: dict[str, np.ndarray] = {}

        def storage(kind: str, key: str, _count: int) -> np.ndarray:
            if key not in storages:
                storages[key] = _values(kind, archive.read(f"{prefix}data/{key}"))
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(name)), storage).load()


def _read_legacy(file: BinaryIO, size: int) -> Any:
    """The object's pickle comes before its tensors' bytes, so it is read twice: first to learn what to expect."""
    if _Unpickler(file).load() != LEGACY_MAGIC or _Unpickler(file).load() != LEGACY_PROTOCOL:
        raise ValueError("it starts with another pickle")
    _Unpickler(file).load()  # of the machine that wrote it
    start, expected = file.tell(), {}

    def note(kind: str, key: str, count: int) -> np.ndarray:
        itemsize = np.dtype(STORAGES[kind]).itemsize
        if not 0 <= count * itemsize <= size:
            raise ValueError(f"a storage of {count} values in a file of {size} bytes")
        expected[key] = kind, count * itemsize
        return _values(kind, bytes(count * itemsize))

    _Unpickler(file, note).load()
    storages = {}
    for key in _Unpickler(file).load():
        kind, length = expected[key]
        file.read(8)  # the number of values once more
        content = file.read(length)
        if len(content) != length:
            raise EOFError("it ends within a tensor")
        storages[key] = _values(kind, content)
    file.seek(start)
    return _Unpickler(file, lambda _kind, key, _count: storages[key]).load()


def _values(kind: str, data: bytes) -> np.ndarray:
    """The bytes of one storage, as a flat array."""
    values = np.frombuffer(data, STORAGES[kind])
    return (values.astype(np.uint32) << 16).view(np.float32) if kind == "BFloat16Storage" else values


def _rebuild_tensor(
    values: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_unused: Any
) -> np.ndarray:
    """A tensor: a strided view of its storage, copied so that it owns its memory."""
    values = values[offset:]
    needed = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else 0
    # A storage is flat. More elements than values would be a view that repeats itself: no state_dict holds such.
    if values.ndim != 1 or needed > len(values) or math.prod(size) > len(values) or any(step < 0 for step in stride):
        raise ValueError(f"a tensor of shape {list(size)} does not fit its storage of {len(values)} values")
    strides = tuple(step * values.itemsize for step in stride)
    return np.array(np.lib.stride_tricks.as_strided(values, size, strides, writeable=False))


ALLOWED = {  # what a pickle may call: what rebuilds tensors and plain containers
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_unused: tensor,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch", "Size"): tuple,
    **{("builtins", kind.__name__): kind for kind in (set, dict, list)},
}


class _StorageType(str):
    """Stands for a class such as torch.FloatStorage, which the pickle only names."""


def _check_sizes(file: BinaryIO) -> None:
    """Raises ValueError if the pickle that comes next in a file would take memory that it gives no reason for.

    An unpickler makes room for a sequence before it reads it, and for as many results to come back to as the largest
    number that one is kept under.
    """
    start = file.tell()
    for opcode, argument, position in pickletools.genops(file):  # it refuses sequences that are not there
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= argument <= position - start:
            raise ValueError(f"its pickle keeps a result as number {argument}")
    file.seek(start)


class _Unpickler(pickle.Unpickler):
    """An unpickler that calls only what is ALLOWED; `storage` gives the storage of (type, key, number of values)."""

    def __init__(self, file: BinaryIO, storage: Callable[[str, str, int], np.ndarray] | None = None):
        _check_sizes(file)
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageType(name)
        if (module, name) not in ALLOWED:
            raise UserError(
                f"its pickle calls {module}.{name}, which is refused: only tensors and plain containers are read"
            )
        return ALLOWED[module, name]

    def persistent_load(self, reference: Any) -> np.ndarray:
        """A storage, which the pickle refers to by its key."""
        kind, storage_type, key, _device, count, *_view = reference
        if kind != "storage" or not isinstance(storage_type, _StorageType) or self._storage is None:
            raise UserError(f"its pickle refers to a {kind}, which is refused: only tensors are read")
        return self._storage(storage_type, key, count)
