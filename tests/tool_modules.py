"""The modules of the commands, by the names of their files in tools/."""

import importlib
from types import ModuleType


def load_tool(name: str) -> ModuleType:
    """The module of the command that tools/<name>.py runs."""
    return importlib.import_module(f"fastgan_jax.cli.{'convert' if name == 'convert_pytorch' else name}")
