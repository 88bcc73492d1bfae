"""The presets, as fastgan_jax.configs.NAME: those of configs/ in a checkout, those beside this file if installed."""

import pkgutil
from pathlib import Path

_INSTALLED = Path(__file__).with_suffix("")  # the folder beside this file into which setup.py maps configs/

__path__ = [str(_INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[1] / "configs")]


def preset_names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
