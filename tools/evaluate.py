"""The command `fastgan evaluate`, from a checkout."""

import sys

from fastgan_jax.cli.evaluate import main

sys.exit(main())
