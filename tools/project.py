"""The command `fastgan project`, from a checkout."""

import sys

from fastgan_jax.cli.project import main

sys.exit(main())
