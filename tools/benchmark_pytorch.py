"""The command `fastgan benchmark-pytorch`, from a checkout."""

import sys

from fastgan_jax.cli.benchmark_pytorch import main

sys.exit(main())
