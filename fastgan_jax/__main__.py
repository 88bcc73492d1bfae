"""`python -m fastgan_jax COMMAND ...`: the same as `fastgan COMMAND ...`."""

import sys

from fastgan_jax.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
