"""The command `fastgan interpolate`, from a checkout."""

import sys

from fastgan_jax.cli.interpolate import main

sys.exit(main())
