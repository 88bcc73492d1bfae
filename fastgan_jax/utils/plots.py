"""matplotlib, which only what draws charts needs."""

import contextlib
import importlib
import importlib.util
import os
import sys

from fastgan_jax.errors import UserError
from fastgan_jax.utils.console import muted


def check_matplotlib() -> None:
    """Raises a UserError where matplotlib is not installed, as where sampling alone is."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("charts need the package matplotlib: pip install matplotlib")


def import_matplotlib() -> None:
    """Imports matplotlib, whatever MPLBACKEND says: a notebook's reaches processes that lack what it names."""
    check_matplotlib()
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        with muted("matplotlib"):  # without a folder for its own cache it says so at length
            matplotlib = importlib.import_module("matplotlib")
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
