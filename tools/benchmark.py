"""The command `fastgan benchmark`, from a checkout."""

import sys

from fastgan_jax.cli.benchmark import main

sys.exit(main())
