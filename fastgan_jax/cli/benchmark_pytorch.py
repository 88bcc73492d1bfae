"""Times the same training iteration written in plain PyTorch, alone or in turn with ours."""

import argparse
import sys

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
    from fastgan_jax.benchmark import paired
    from fastgan_jax.errors import UserError
    from fastgan_jax.utils.checks import check_at_least_one

    config = paired.read_config(arguments.config, overrides)
    check_at_least_one(**{"--iterations": arguments.iterations, "--blocks": arguments.blocks})
    if arguments.threads is not None:
        paired.limit_cores(arguments.threads)
    try:
        from fastgan_jax.benchmark.pytorch.runner import check_config
    except ModuleNotFoundError as error:
        raise UserError(f"PyTorch is not installed ({error}): pip install 'fastgan_jax[torch]'") from None
    check_config(config)
    if arguments.against and not arguments.compare:
        raise UserError(f"--against {arguments.against[0]!r}: add --compare")
    if arguments.compare:
        _compare(arguments, overrides)
    else:
        _time(arguments, config)


def _time(arguments: argparse.Namespace, config: object) -> None:
    """Times the PyTorch side, and prints and writes the result."""
    from fastgan_jax.benchmark import paired, results
    from fastgan_jax.benchmark.pytorch.runner import Runner

    if arguments.variant == "compiled":
        print("torch.compile takes minutes", file=sys.stderr)
    runner = Runner(config, arguments.variant, results.usable_cores())
    if arguments.on_command:
        paired.answer(runner)
        return
    seconds = [runner.time_block(arguments.iterations) for _ in range(arguments.blocks)]
    results.show(runner.result(seconds, arguments.iterations), arguments.json)


def _compare(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Times both sides in turn, and prints and writes their results and the ratio."""
    from fastgan_jax.benchmark import paired

    variations = paired.variations(arguments.config, overrides, arguments.against)
    commands = {
        name: paired.command_of("fastgan_jax.cli.benchmark", arguments.config, own) for name, own in variations.items()
    }
    theirs = paired.command_of("fastgan_jax.cli.benchmark_pytorch", arguments.config, overrides)
    commands[f"pytorch {arguments.variant}"] = [*theirs, "--variant", arguments.variant]
    paired.compare(commands, arguments.iterations, arguments.blocks, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
