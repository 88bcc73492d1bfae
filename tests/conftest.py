"""Fixtures shared by all tests: the local data folder, and settings that keep compilation cheap."""

from pathlib import Path

import jax
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of local data beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared (local image sets and recorded numbers), which is absent")
    return SHARED
