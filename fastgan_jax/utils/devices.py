"""Devices: what is here, how they share batches, out-of-memory errors in words, kept programs, and full precision."""

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fastgan_jax.errors import UserError, gist
from fastgan_jax.utils.files import cache_folder

BATCH_AXIS = "data"  # of a mesh: its devices have one part each of a batch
AUTOMATIC = "(set JAX_PLATFORMS='' to automatically choose an available backend)"  # JAX's own advice
# In errors of a driver, of CUDA's libraries, or of a GPU that is taken.
DRIVER_ERRORS = "(?i)dnn library|cudnn|cublas|cusolver|cufft|cuda_error|ptxas|libdevice|failed_precondition"


log = logging.getLogger(__name__)


class Device(NamedTuple):
    """The device that JAX computes on by default."""

    kind: str  # cpu | gpu | tpu
    name: str  # such as NVIDIA H100
    memory: int | None  # bytes that JAX may take; None: not known, or the machine's main memory


def this_device() -> Device:
    """The default device; a UserError if there is none, see `check_device`."""
    check_device()
    device = jax.local_devices()[0]
    return Device(device.platform, device.device_kind, (device.memory_stats() or {}).get("bytes_limit"))


def batch_mesh(size: int, wanted: int | None = None) -> Mesh | None:
    """The devices that share batches of `size` images, those of all processes; None for a single one.

    All devices like the first one that is here, or `wanted` of them. Where a single process has devices that cannot
    have equal parts, and they are not wanted, it leaves them out, and the log says so.

    Raises:
        UserError: if there are not so many, or they cannot have equal parts.
    """
    every = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    alike = _of_one_kind(every)
    count, processes = wanted or len(alike), jax.process_count()
    if count > len(alike) or (processes > 1 and count != len(every)):
        cure = "leave it None to use all" if processes > 1 else f"choose at most {len(alike)}, or None to use all"
        raise UserError(f"train.devices={wanted}: there are {len(every)} devices, {len(alike)} of one kind: {cure}")
    if size % count and (wanted or processes > 1):
        problem = f"a (micro-)batch of {size} images cannot be shared equally by {count} devices"
        raise UserError(f"{problem}: set train.batch_size / train.accumulate to a multiple of {count}")
    count = max(number for number in range(1, count + 1) if size % number == 0)
    if not wanted and count < len(every):
        log.warning("%d of %d devices share each (micro-)batch of %d images equally", count, len(every), size)
    return None if count == 1 else Mesh(np.array(alike[:count]), (BATCH_AXIS,))


def on_all(mesh: Mesh | None) -> NamedSharding | None:
    """Whole arrays on every device of a mesh; None without one."""
    return mesh and NamedSharding(mesh, PartitionSpec())


def placed(tree: Any, mesh: Mesh | None) -> Any:
    """A tree of arrays, the same in every process, whole on each device of a mesh; None: on the one device."""
    if mesh is None or jax.process_count() == 1:
        return jax.device_put(tree, on_all(mesh) or jax.local_devices()[0])

    def place(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)))
        return jax.make_array_from_process_local_data(on_all(mesh), np.asarray(x))

    return jax.tree.map(place, tree)


def own_copy(tree: Any) -> Any:
    """What each array of a tree is on the first device of this process: `placed` in reverse."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def along_batch(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """A part on each device of a mesh, cut along this axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, BATCH_AXIS))


def local_mesh() -> Mesh | None:
    """The devices of this process, those of the first one's kind, to share work.

    None for a single one, and where `jax.default_device` is set.
    """
    if jax.config.jax_default_device is not None:
        return None
    devices = _of_one_kind(jax.local_devices())
    return Mesh(np.array(devices), (BATCH_AXIS,)) if len(devices) > 1 else None


def _of_one_kind(devices: list[jax.Device]) -> list[jax.Device]:
    return [device for device in devices if device.device_kind == devices[0].device_kind]


@contextlib.contextmanager
def memory_advice(cure: str, needed: int | None = None) -> Iterator[None]:
    """Turns the runtime's out-of-memory error into a UserError that ends with `cure`, such as "lower --batch-size".

    `needed` are the bytes that the program was estimated to need, if known.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        estimate = f" (this program needs about {needed / 1e9:.1f} GB)" if needed else ""
        raise UserError(f"out of device memory on {jax.devices()[0].device_kind}{estimate}: {cure}") from error


@contextlib.contextmanager
def driver_advice() -> Iterator[None]:
    """Turns an error of a device's driver or libraries into a UserError that says what to try."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not re.search(DRIVER_ERRORS, str(error)):
            raise
        cure = "update its driver, end other programs that use it, unset LD_LIBRARY_PATH, or set JAX_PLATFORMS=cpu"
        raise UserError(f"the device does not work ({gist(error)}): {cure}") from error


def check_device() -> None:
    """Raises a UserError if JAX has no device to compute on, such as with JAX_PLATFORMS=cuda where there is no GPU."""
    try:
        jax.devices()
    except Exception as error:  # noqa: BLE001 (each backend has errors of its own, some without a message)
        chosen = jax.config.jax_platforms
        reason = str(error).strip().split("\n")[0].removesuffix(AUTOMATIC).strip()
        cure = "unset JAX_PLATFORMS to use what is here" if chosen else "see the installation of JAX"
        gpu = (
            "for a GPU pip install 'fastgan_jax[cuda]', or with drivers before 580 '[cuda12]' (after pip uninstall "
            "jax-cuda13-plugin jax-cuda13-pjrt, if they are here)"
        )
        extras = f"{gpu}, for a TPU 'fastgan_jax[tpu]'"
        problem = f"JAX_PLATFORMS={chosen}: JAX finds no such device" if chosen else "JAX finds no device"
        raise UserError(f"{problem}{reason and f' ({reason})'}: {cure}; {extras}") from None


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, unless $JAX_COMPILATION_CACHE_DIR names another.

    Commands call it before they work on the device: a UserError if there is none, see `check_device`.
    """
    check_device()
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("compiled", to_write=True)))


def in_full_precision(function: Callable) -> Callable:
    """A function whose products are true float32 also where a device takes fewer bits: digits of metrics need them."""

    @functools.wraps(function)
    def exact(*arguments: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return exact
