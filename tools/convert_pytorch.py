"""The command `fastgan convert`, from a checkout."""

import sys

from fastgan_jax.cli.convert import main

sys.exit(main())
