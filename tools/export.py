"""The command `fastgan export`, from a checkout."""

import sys

from fastgan_jax.cli.export import main

sys.exit(main())
