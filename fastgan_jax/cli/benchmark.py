"""Times training: milliseconds an iteration, compilation, memory, share of the device's peak.

With --target, compiles it for a device that is not here, and counts its kernels, the bytes that they move and the
memory that they need."""

import argparse
import sys

EXAMPLE = """examples:
  python tools/benchmark.py --config configs/fewshot256.py --json result.json
  python tools/benchmark.py --config configs/art1024.py --config.train.precision=bfloat16 --profile trace/
  python tools/benchmark.py --config configs/fewshot256.py --against train.upsample_form=repeat
  python tools/benchmark.py --compare before.json after.json
  python tools/benchmark.py --config configs/art1024.py --target h100 --json h100.json --hlo h100.txt
  python tools/benchmark.py --config configs/art1024.py --target v5e --against train.precision=bfloat16

Every field of configs/base.py can be set as --config.GROUP.FIELD=VALUE. Images are synthetic. --target takes h100,
a100, rtx4090, rtx2080ti, gtx1650 (pip install 'fastgan_jax[target-cuda]'), v5e, v6e ('fastgan_jax[target-tpu]'), or a
file of the same form as those in fastgan_jax/benchmark/devices."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the arguments other than --config.GROUP.FIELD=VALUE."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="in a block (default: 10)")
    parser.add_argument("--blocks", type=int, default=5, metavar="B", help="that are timed (default: 5)")
    parser.add_argument("--json", metavar="FILE", help="also write the result here")
    parser.add_argument("--profile", metavar="DIR", help="also write a trace that TensorBoard and Perfetto open")
    parser.add_argument("--threads", type=int, metavar="T", help="cores to use (default: all; needs Linux)")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FIELDS",
        help="compare with the same configuration but for these fields, NAME=VALUE joined by spaces, in neighboring "
        "blocks; may be given several times",
    )
    parser.add_argument("--hlo", metavar="FILE", help="with --target: also write the compiled program as text here")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--target", metavar="NAME|FILE", help="only compile, for this device; it need not be here")
    action.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="only print the ratios B / A")
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
    from fastgan_jax.benchmark import paired, results
    from fastgan_jax.utils.checks import check_at_least_one

    if arguments.compare:
        print(results.comparison(*map(results.read_json, arguments.compare)))
        return
    check_combination(arguments)
    config = paired.read_config(arguments.config, overrides)
    check_at_least_one(**{"--iterations": arguments.iterations, "--blocks": arguments.blocks})
    if arguments.threads is not None:
        paired.limit_cores(arguments.threads)
    if arguments.target:
        _compile(arguments, overrides)
    elif arguments.against:
        variations = paired.variations(arguments.config, overrides, arguments.against)
        module = "fastgan_jax.cli.benchmark"
        commands = {name: paired.command_of(module, arguments.config, own) for name, own in variations.items()}
        paired.compare(commands, arguments.iterations, arguments.blocks, arguments.json)
    else:
        _time(arguments, config)


def check_combination(arguments: argparse.Namespace) -> None:
    """Raises UserError for options that have no effect beside each other."""
    from fastgan_jax.errors import UserError

    alone = not (arguments.against or arguments.on_command)
    for name, given, useful in (
        ("--against", arguments.against, not arguments.on_command),
        ("--profile", arguments.profile, alone and not arguments.target),
        ("--hlo", arguments.hlo, alone and arguments.target),
    ):
        if given and not useful:
            raise UserError(f"{name} has no effect with these options: leave it out, or see --help")


def _compile(arguments: argparse.Namespace, overrides: list[tuple[str, str]]) -> None:
    """Compiles the configuration and its variations for the target, and prints and writes the counts."""
    from fastgan_jax.benchmark import paired, target
    from fastgan_jax.utils.console import announced
    from fastgan_jax.utils.files import user_path, write_json

    device, results = target.read_device(arguments.target), {}
    for name, own in paired.variations(arguments.config, overrides, arguments.against).items():
        config = paired.read_config(arguments.config, own)
        with announced(f"compiling {name} for {device['device']}, which takes minutes"):
            results[name] = target.compile_for(device, config, arguments.hlo)
    print(target.report(results))
    if arguments.json:
        content = {"results": results} if arguments.against else results[paired.OURS]
        write_json(user_path(arguments.json), content)


def _time(arguments: argparse.Namespace, config: object) -> None:
    """Times the configuration, and prints and writes the result."""
    from fastgan_jax.benchmark import paired, results, workload

    work = workload.make_workload(config)
    if not arguments.on_command:
        work.check_block(arguments.iterations)
    runner = workload.Runner(work)
    if arguments.on_command:
        paired.answer(runner)
        return
    seconds = [runner.time_block(arguments.iterations) for _ in range(arguments.blocks)]
    result = runner.result(seconds, arguments.iterations)
    if arguments.profile:
        runner.profile(arguments.profile)
    results.show(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
