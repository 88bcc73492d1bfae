"""The command `fastgan report`, from a checkout."""

import sys

from fastgan_jax.cli.report import main

sys.exit(main())
