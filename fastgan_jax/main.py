"""`python -m fastgan_jax.main --config NAME ...`: the same as `fastgan train --config NAME ...`."""

import sys
from collections.abc import Sequence

from fastgan_jax.cli.app import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `fastgan train` and returns its exit code."""
    return run_command("train", argv, program="python -m fastgan_jax.main")


if __name__ == "__main__":
    sys.exit(main())
