"""PyTorch packages that tests compare with; a test that needs one skips where it is not installed."""

import sys
import types
import warnings
from typing import Any

import pytest


def import_or_skip(name: str) -> Any:
    """Imports `lpips`, `torchvision.models` or `pytorch_fid.inception`, whichever device torch was built for.

    torchvision registers its compiled operators when it is imported, which fails beside a torch of another build. None
    of its networks uses them, so the registration is left out.
    """
    pytest.importorskip("torch", reason="needs PyTorch as an oracle (pip install torch)")
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"needs the PyTorch package {name.split('.')[0]} as an oracle")
