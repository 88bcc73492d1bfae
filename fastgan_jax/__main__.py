"""`python -m fastgan_jax COMMAND ...`: the same as `fastgan COMMAND ...`."""

from fastgan_jax.cli.app import run_program

if __name__ == "__main__":
    run_program()
