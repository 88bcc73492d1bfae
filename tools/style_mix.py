"""The command `fastgan style-mix`, from a checkout."""

import sys

from fastgan_jax.cli.style_mix import main

sys.exit(main())
