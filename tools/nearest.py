"""The command `fastgan nearest`, from a checkout."""

import sys

from fastgan_jax.cli.nearest import main

sys.exit(main())
