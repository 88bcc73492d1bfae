"""The command `fastgan sample`, from a checkout."""

import sys

from fastgan_jax.cli.app import run_command

sys.exit(run_command("sample"))
