"""Reads PyTorch files (.pth) as numpy arrays, without PyTorch and without running any code in them.

A .pth is a zip with one pickle and the raw bytes of its tensors. Pickles can call anything; this reader lets them call
only what rebuilds tensors and plain containers, and refuses everything else.
"""

import collections
import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError

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


def read_torch_file(path: str | Path) -> Any:
    """Reads what `torch.save` wrote.

    Args:
        path: a file in the zip format (PyTorch 1.6 and later).

    Returns:
        The saved object: nested dicts, lists and numbers, its tensors as numpy arrays (bfloat16 as float32).

    Raises:
        UserError: if there is no such file, it is in another format, or its pickle calls for anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl")
            prefix = name.removesuffix("data.pkl")
            return _Unpickler(archive.read(name), archive, prefix).load()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except zipfile.BadZipFile:
        raise UserError(
            f"{path} is not in PyTorch's zip format: save it again with torch.save from PyTorch 1.6 or later"
        ) from None
    except (ValueError, KeyError, EOFError, IndexError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error})") from None


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
    def __init__(self, data: bytes, archive: zipfile.ZipFile, prefix: str):
        super().__init__(io.BytesIO(data))
        self._archive, self._prefix = archive, prefix
        self._storages: dict[str, _Storage] = {}

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
                f"its pickle asks for {module}.{name}, which is refused: only tensors and containers are read"
            )
        return allowed[module, name]

    def persistent_load(self, reference: Any) -> _Storage:
        """A storage, which the pickle refers to by its key in the zip."""
        kind, storage_type, key, _device, _count = reference
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise UserError(f"its pickle refers to a {kind}, which is refused: only tensors are read")
        if key not in self._storages:
            self._storages[key] = _Storage(storage_type.name, self._archive.read(f"{self._prefix}data/{key}"))
        return self._storages[key]


def _rebuild_tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_unused: Any
) -> np.ndarray:
    """A tensor: a strided view of its storage, copied so that it owns its memory."""
    values = storage.values[offset:]
    needed = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else 0
    # More elements than values would be a view that repeats itself: nothing that a state_dict holds.
    if needed > len(values) or math.prod(size) > len(values) or any(step < 0 for step in stride):
        raise ValueError(f"a tensor of shape {list(size)} does not fit its storage of {len(values)} values")
    strides = tuple(step * values.itemsize for step in stride)
    return np.array(np.lib.stride_tricks.as_strided(values, size, strides, writeable=False))


def _rebuild_parameter(data: np.ndarray, *_unused: Any) -> np.ndarray:
    return data
