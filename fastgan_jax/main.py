"""`python -m fastgan_jax.main --config NAME ...`: the same as `fastgan train --config NAME ...`."""

from functools import partial

from fastgan_jax.cli.app import run_command, run_tool

TRAINING = {"name": "train", "program": "python -m fastgan_jax.main"}
main = partial(run_command, **TRAINING)

if __name__ == "__main__":
    run_tool(**TRAINING)
