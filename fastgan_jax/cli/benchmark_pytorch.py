"""Times the same training iteration written in plain PyTorch, alone or in turn with ours.

eager is float32 as PyTorch does it by default: convolutions in TF32 where a GPU has it, as ours. compiled is
torch.compile with bfloat16 autocast and channels_last; --config.train.precision is that of our side alone.
Needs the extra fastgan_jax[torch]. Every field of configs/base.py can be set as --config.GROUP.FIELD=VALUE.
"""

import argparse
import sys

from fastgan_jax.cli.benchmark import add_timing, commands_of, time_blocks
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  fastgan benchmark-pytorch --config fewshot256 --json eager.json
  fastgan benchmark-pytorch --config fewshot256 --variant compiled
  fastgan benchmark-pytorch --config fewshot256 --compare --config.loss.reconstruction=l1
  fastgan benchmark-pytorch --config art1024 --compare --variant compiled --config.train.precision=bfloat16"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("--variant", choices=("eager", "compiled"), default="eager", help="default: eager")
    action = add_timing(parser)
    action.add_argument("--compare", action="store_true", help="time both sides alternately, and print the ratio")


def run(arguments: argparse.Namespace) -> None:
    """Times the PyTorch side, or both."""
    from fastgan_jax.benchmark import paired

    if arguments.json:
        check_outputs([arguments.json], overwrite=True, option="--json")
    config = paired.read_config(arguments.config, arguments.overrides)
    if arguments.threads is not None:
        paired.limit_cores(arguments.threads)
    try:
        from fastgan_jax.benchmark.pytorch.runner import Runner, check_config
    except ModuleNotFoundError as error:
        raise UserError(f"PyTorch is not installed ({error}): pip install 'fastgan_jax[torch]'") from None
    check_config(config)
    if arguments.against and not arguments.compare:
        raise UserError(f"--against {arguments.against[0]!r}: add --compare")
    if arguments.compare:
        theirs = paired.command_of("benchmark-pytorch", arguments.config, arguments.overrides)
        commands = commands_of(arguments) | {f"pytorch {arguments.variant}": [*theirs, "--variant", arguments.variant]}
        paired.compare(commands, arguments.iterations, arguments.blocks, arguments.json)
        return
    if arguments.variant == "compiled":
        print("torch.compile takes minutes", file=sys.stderr)
    time_blocks(Runner(config, arguments.variant), arguments)
