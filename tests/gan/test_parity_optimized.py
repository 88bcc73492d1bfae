"""The parity of whole iterations once more with XLA's optimizations, as users run them; the other tests go without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().with_name("test_parity_iteration.py")


@pytest.mark.slow
def test_iterations_equal_the_reference_with_optimizations_on():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "XLA", "JAX"))}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "not float32 and not evaluation", str(TESTS)]
    result = subprocess.run(
        command, env=environment | {"FASTGAN_JAX_TESTS_OPTIMIZED": "1"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout and "failed" not in result.stdout
