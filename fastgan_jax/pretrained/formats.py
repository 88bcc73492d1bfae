"""Files of named arrays: reads .npz, .pth, .safetensors and .h5 without running any code in them, and writes .npz."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.pretrained.torch_pickle import check_weights_file, read_torch_file
from fastgan_jax.utils.files import is_bomb, replacing, user_path

Arrays = dict[str, np.ndarray]
SUFFIXES = (".npz", ".pth", ".pt", ".safetensors", ".h5", ".hdf5")


def read_arrays(path: str | Path) -> Arrays:
    """Every array of a file by name, groups joined by "/", PyTorch's dicts by "."; its suffix says the format.

    Raises:
        UserError: if there is no such file, its suffix is unknown, it is damaged, or a package to read it is missing.
    """
    path = user_path(path)
    check_weights_file(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: weights are read from files that end in {', '.join(SUFFIXES)}")
    if suffix in (".pth", ".pt"):
        return _flat(read_torch_file(path))
    try:
        if suffix == ".npz":
            return _read_npz(path)
        if suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        return _read_h5(path)
    except ModuleNotFoundError as error:
        needed = f"reading {suffix} needs the package {error.name}"
        raise UserError(f"{path}: {needed}: pip install 'fastgan_jax[weights]'") from None
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 (each library raises its own for damaged files)
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error})") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz, whole or not at all; a UserError if the folder cannot be written."""
    size = sum(array.nbytes for array in arrays.values()) / 1e6
    with replacing(path, cure=f"free {size:.0f} MB there, or set XDG_CACHE_HOME to another folder") as temporary:
        np.savez(temporary, **arrays)


def _read_npz(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not an .npz file")
    with zipfile.ZipFile(path) as members:
        if bombs := [member.filename for member in members.infolist() if is_bomb(member)]:
            raise ValueError(f"{bombs[0]} unpacks to far more than the file holds")
    with np.load(path) as archive:  # without allow_pickle: arrays of objects are refused
        return {name: archive[name] for name in archive.files}


def _read_h5(path: Path) -> Arrays:
    import h5py

    arrays: Arrays = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name.removesuffix(":0")] = np.asarray(item)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return arrays


def _flat(value: Any, prefix: str = "") -> Arrays:
    """The arrays of nested dicts; everything else is left out."""
    flat: Arrays = {}
    for name, child in value.items() if isinstance(value, Mapping) else ():
        flat |= {f"{prefix}{name}": child} if isinstance(child, np.ndarray) else _flat(child, f"{prefix}{name}.")
    return flat
