"""`python -m fastgan_jax.main --config NAME ...`: the same as `fastgan train --config NAME ...`."""

from functools import partial

from fastgan_jax.cli.app import run_command, run_tool

PROGRAM = "python -m fastgan_jax.main"
main = partial(run_command, "train", program=PROGRAM)

if __name__ == "__main__":
    run_tool("train", program=PROGRAM)
