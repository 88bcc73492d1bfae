"""`python -m fastgan_jax.main --config NAME ...`: the same as `fastgan train --config NAME ...`."""

import sys
from functools import partial

from fastgan_jax.cli.app import run_command

main = partial(run_command, "train", program="python -m fastgan_jax.main")

if __name__ == "__main__":
    sys.exit(main())
