"""Times the same training iteration written in plain PyTorch, alone or in turn with ours."""

import argparse
import sys
from pathlib import Path

EXAMPLE = """examples:
  python tools/benchmark_pytorch.py --config configs/fewshot256.py --json eager.json
  python tools/benchmark_pytorch.py --config configs/fewshot256.py --variant compiled
  python tools/benchmark_pytorch.py --config configs/fewshot256.py --compare --config.loss.reconstruction=l1
  python tools/benchmark_pytorch.py --config configs/art1024.py --compare --variant compiled \\
      --config.train.precision=bfloat16

eager is float32 as PyTorch does it by default: convolutions in TF32 where a GPU has it, as ours. compiled is
torch.compile with bfloat16 autocast and channels_last; --config.train.precision is that of our side alone.
Needs the extra fastgan_jax[torch]. Every field of configs/base.py can be set as --config.GROUP.FIELD=VALUE."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the arguments other than --config.GROUP.FIELD=VALUE."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--variant", choices=("eager", "compiled"), default="eager", help="default: eager")
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="in a block (default: 10)")
    parser.add_argument("--blocks", type=int, default=5, metavar="B", help="that are timed (default: 5)")
    parser.add_argument("--threads", type=int, metavar="T", help="cores to use, on both sides (default: all)")
    parser.add_argument("--json", metavar="FILE", help="also write the result here, with --compare all and the ratios")
    parser.add_argument(
        "--against", action="append", default=[], metavar="FIELDS", help="with --compare: see tools/benchmark.py"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--compare", action="store_true", help="time both sides alternately, and print the ratio")
    action.add_argument("--on-command", action="store_true", help="time a block of N for each line N of standard input")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    from fastgan_jax.errors import UserError
    from fastgan_jax.runs.config import split_overrides

    try:
        overrides, rest = split_overrides(sys.argv[1:] if argv is None else argv)
        run(parse(rest), overrides)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Does what the arguments ask for."""
    from fastgan_jax.benchmark import paired as sides
    from fastgan_jax.errors import UserError

    config = sides.read_config(arguments.config, overrides)
    sides.check_counts(arguments.iterations, arguments.blocks)
    if arguments.threads is not None:
        sides.limit_cores(arguments.threads)
    try:
        from fastgan_jax.benchmark.pytorch import runner as torch_benchmark
    except ModuleNotFoundError as error:
        raise UserError(f"needs PyTorch ({error}): pip install fastgan_jax[torch]") from None
    torch_benchmark.check_config(config)
    if arguments.against and not arguments.compare:
        raise UserError(f"--against {arguments.against[0]!r}: add --compare")
    if arguments.compare:
        _compare(arguments, overrides)
    else:
        _time(arguments, config)


def _time(arguments: argparse.Namespace, config: object) -> None:
    """Times the PyTorch side, and prints and writes the result."""
    from fastgan_jax.benchmark import paired as sides
    from fastgan_jax.benchmark import results as report
    from fastgan_jax.benchmark.pytorch.runner import Runner

    if arguments.variant == "compiled":
        print("torch.compile takes minutes", file=sys.stderr)
    runner = Runner(config, arguments.variant, report.usable_cores())
    if arguments.on_command:
        sides.answer(runner)
        return
    seconds = [runner.time_block(arguments.iterations) for _ in range(arguments.blocks)]
    report.show(runner.result(seconds, arguments.iterations), arguments.json)


def _compare(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Times both sides in turn, and prints and writes their results and the ratio."""
    from fastgan_jax.benchmark import paired as sides

    here = Path(__file__).resolve().parent
    commands = sides.commands_of(here / "benchmark.py", arguments.config, overrides, arguments.against)
    executable, _, *rest = commands["fastgan_jax"]
    theirs = [executable, str(here / "benchmark_pytorch.py"), *rest, "--variant", arguments.variant]
    commands[f"pytorch {arguments.variant}"] = theirs
    sides.compare(commands, arguments.iterations, arguments.blocks, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
