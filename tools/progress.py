"""The command `fastgan progress`, from a checkout."""

import sys

from fastgan_jax.cli.progress import main

sys.exit(main())
