"""The command `fastgan weights`, from a checkout."""

import sys

from fastgan_jax.cli.weights import main

sys.exit(main())
