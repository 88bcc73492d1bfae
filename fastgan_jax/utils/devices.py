"""Devices: out-of-memory errors in words, kept programs, and full precision."""

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import jax

from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import cache_folder

log = logging.getLogger(__name__)


class memory_advice:  # noqa: N801 (a context manager, used like a function)
    """Turns the runtime's out-of-memory error into one line that says what to lower."""

    def __init__(self, cure: str, needed: int | None = None):
        """What to do, such as "lower --batch-size", and the bytes that the program was estimated to need, if known."""
        self.cure, self.needed = cure, needed

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
            estimate = f" (this program needs about {self.needed / 1e9:.1f} GB)" if self.needed else ""
            raise UserError(f"out of device memory on {jax.devices()[0].device_kind}{estimate}: {self.cure}") from error


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, unless $JAX_COMPILATION_CACHE_DIR names another."""
    if jax.config.jax_compilation_cache_dir:
        return
    folder = cache_folder("compiled")
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
    else:
        log.warning("compiled programs are not kept for the next start, since %s is read-only", folder)


def in_full_precision(function: Callable) -> Callable:
    """A function whose products are true float32 also where a device takes fewer bits: digits of metrics need them."""

    @functools.wraps(function)
    def exact(*arguments: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return exact
