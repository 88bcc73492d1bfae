"""The command `fastgan sample`, from a checkout."""

import sys

from fastgan_jax.cli.sample import main

sys.exit(main())
