"""The command `fastgan reconstruct`, from a checkout."""

import sys

from fastgan_jax.cli.reconstruct import main

sys.exit(main())
