"""Reads PyTorch files (.pth) as numpy arrays, without PyTorch and without running any code in them.

A .pth is a zip with one pickle and the raw bytes of its tensors; before PyTorch 1.6, it was several pickles and then
the bytes. Pickles can call anything; this reader lets them call only what rebuilds tensors and plain containers, and
refuses everything else.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import user_path

# storage type: (numpy type of its bytes, whether they are bfloat16 and so need widening)
STORAGES = {
    "FloatStorage": ("<f4", False),
    "DoubleStorage": ("<f8", False),
    "HalfStorage": ("<f2", False),
    "BFloat16Storage": ("<u2", True),
    "LongStorage": ("<i8", False),
    "IntStorage": ("<i4", False),
    "ShortStorage": ("<i2", False),
    "CharStorage": ("<i1", False),
    "ByteStorage": ("<u1", False),
    "BoolStorage": ("?", False),
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before PyTorch 1.6
LEGACY_PROTOCOL = 1001


def read_torch_file(path: str | Path) -> Any:
    """Reads what `torch.save` wrote.

    Args:
        path: a file in the zip format, or in that from before PyTorch 1.6.

    Returns:
        The saved object: nested dicts, lists and numbers, its tensors as numpy arrays (bfloat16 as float32).

    Raises:
        UserError: if there is no such file, it is in another format, or its pickle needs more than tensors.
    """
    path = user_path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with open(path, "rb") as file:
            return _read_legacy(file, size=path.stat().st_size)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (
        *(ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, OverflowError),
        *(pickle.UnpicklingError, zipfile.BadZipFile),
    ) as error:
        raise UserError(f"{path} is damaged, or not a PyTorch file ({type(error).__name__}: {error})") from None


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl")
        prefix = name.removesuffix("data.pkl")
        storages: dict[str, _Storage] = {}

        def storage(kind: str, key: str, _count: int) -> _Storage:
            if key not in storages:
                storages[key] = _Storage(kind, archive.read(f"{prefix}data/{key}"))
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(name)), storage).load()


def _read_legacy(file: BinaryIO, size: int) -> Any:
    """The object's pickle comes before its tensors' bytes, so it is read twice: first to learn what to expect."""
    if _Unpickler(file).load() != LEGACY_MAGIC or _Unpickler(file).load() != LEGACY_PROTOCOL:
        raise ValueError("it starts with another pickle")
    _Unpickler(file).load()  # of the machine that wrote it
    start, expected = file.tell(), {}

    def note(kind: str, key: str, count: int) -> _Storage:
        itemsize = np.dtype(STORAGES[kind][0]).itemsize
        if not 0 <= count * itemsize <= size:
            raise ValueError(f"a storage of {count} values in a file of {size} bytes")
        expected[key] = kind, count * itemsize
        return _Storage(kind, bytes(count * itemsize))

    _Unpickler(file, note).load()
    storages = {}
    for key in _Unpickler(file).load():
        kind, length = expected[key]
        file.read(8)  # the number of values once more
        content = file.read(length)
        if len(content) != length:
            raise EOFError("it ends within a tensor")
        storages[key] = _Storage(kind, content)
    file.seek(start)
    return _Unpickler(file, lambda _kind, key, _count: storages[key]).load()


class _Storage:
    """The bytes of one storage, as a flat array."""

    def __init__(self, kind: str, data: bytes):
        dtype, widen = STORAGES[kind]
        values = np.frombuffer(data, dtype)
        self.values = (values.astype(np.uint32) << 16).view(np.float32) if widen else values


class _StorageType:
    """Stands for a class such as torch.FloatStorage, which the pickle only names."""

    def __init__(self, name: str):
        self.name = name


class _Unpickler(pickle.Unpickler):
    """An unpickler that calls only what `find_class` lists; `storage` gives the storage of (type, key, values)."""

    def __init__(self, file: BinaryIO, storage: Callable[[str, str, int], _Storage] | None = None):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Only what rebuilds tensors and plain containers."""
        allowed = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("collections", "defaultdict"): collections.defaultdict,
            ("torch", "Size"): tuple,
            ("builtins", "set"): set,
            ("builtins", "dict"): dict,
            ("builtins", "list"): list,
        }
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageType(name)
        if (module, name) not in allowed:
            raise UserError(
                f"its pickle calls {module}.{name}, which is refused: only tensors and plain containers are read"
            )
        return allowed[module, name]

    def persistent_load(self, reference: Any) -> _Storage:
        """A storage, which the pickle refers to by its key."""
        kind, storage_type, key, _device, count, *_view = reference
        if kind != "storage" or not isinstance(storage_type, _StorageType) or self._storage is None:
            raise UserError(f"its pickle refers to a {kind}, which is refused: only tensors are read")
        return self._storage(storage_type.name, key, count)


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_unused: Any
) -> np.ndarray:
    """A tensor: a strided view of its storage, copied so that it owns its memory."""
    values = storage.values[offset:]
    needed = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else 0
    # More elements than values would be a view that repeats itself: no state_dict holds such.
    if needed > len(values) or math.prod(size) > len(values) or any(step < 0 for step in stride):
        raise ValueError(f"a tensor of shape {list(size)} does not fit its storage of {len(values)} values")
    strides = tuple(step * values.itemsize for step in stride)
    return np.array(np.lib.stride_tricks.as_strided(values, size, strides, writeable=False))


def _rebuild_parameter(data: np.ndarray, *_unused: Any) -> np.ndarray:
    return data
