"""Devices: what is here, out-of-memory errors in words, kept programs, and full precision."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import cache_folder

AUTOMATIC = "(set JAX_PLATFORMS='' to automatically choose an available backend)"  # JAX's own advice


class Device(NamedTuple):
    """The device that JAX computes on by default."""

    kind: str  # cpu | gpu | tpu
    name: str  # such as NVIDIA H100
    memory: int | None  # bytes that JAX may take; None: not known, or the machine's main memory


def this_device() -> Device:
    """The default device."""
    device = jax.devices()[0]
    return Device(device.platform, device.device_kind, (device.memory_stats() or {}).get("bytes_limit"))


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


def check_device() -> None:
    """Raises a UserError if JAX has no device to compute on, such as with JAX_PLATFORMS=cuda where there is no GPU."""
    try:
        jax.devices()
    except Exception as error:  # noqa: BLE001 (each backend has errors of its own, some without a message)
        chosen = jax.config.jax_platforms
        reason = str(error).strip().split("\n")[0].removesuffix(AUTOMATIC).strip()
        cure = "unset JAX_PLATFORMS to use what is here" if chosen else "see the installation of JAX"
        extras = "for a GPU pip install 'fastgan_jax[cuda]', for a TPU 'fastgan_jax[tpu]'"
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
