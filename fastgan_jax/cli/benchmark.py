"""Times training: milliseconds an iteration, compilation, memory, and the share of the device's peak."""

import argparse
import sys
from pathlib import Path

EXAMPLE = """examples:
  python tools/benchmark.py --config configs/fewshot256.py --json result.json
  python tools/benchmark.py --config configs/art1024.py --config.train.precision=bfloat16 --phases --profile trace/
  python tools/benchmark.py --config configs/art1024.py --memory
  python tools/benchmark.py --config configs/base.py --memory-table --precisions bfloat16
  python tools/benchmark.py --config configs/fewshot256.py --against train.upsample_form=repeat
  python tools/benchmark.py --compare before.json after.json

Every field of configs/base.py can be set as --config.GROUP.FIELD=VALUE. Images are synthetic."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the arguments other than --config.GROUP.FIELD=VALUE."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    parser.add_argument("--iterations", type=int, default=10, metavar="N", help="in a block (default: 10)")
    parser.add_argument("--blocks", type=int, default=5, metavar="B", help="that are timed (default: 5)")
    parser.add_argument("--json", metavar="FILE", help="also write the result here")
    parser.add_argument("--phases", action="store_true", help="also time the parts of an iteration, each by itself")
    parser.add_argument("--profile", metavar="DIR", help="also write a trace that TensorBoard and Perfetto open")
    parser.add_argument("--threads", type=int, metavar="T", help="cores to use (default: all; needs Linux)")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FIELDS",
        help="time in turn with the same configuration but for these fields, NAME=VALUE joined by spaces; may be given "
        "several times",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="only print the ratios B / A")
    action.add_argument("--memory", action="store_true", help="only compile, and print what memory the program needs")
    action.add_argument("--memory-table", action="store_true", help="the same for each combination of the next four")
    action.add_argument("--on-command", action="store_true", help="time a block of N for each line N of standard input")
    parser.add_argument("--traced", action="store_true", help="of memory, only what is known without compiling")
    parser.add_argument("--resolutions", default="256,512,1024", metavar="R,R,...", help="default: 256,512,1024")
    parser.add_argument("--batches", default="2,4,8", metavar="B,B,...", help="default: 2,4,8")
    parser.add_argument("--precisions", default="float32,bfloat16", metavar="P,...", help="default: float32,bfloat16")
    parser.add_argument("--remats", default="none,blocks,full", metavar="R,R,...", help="default: none,blocks,full")
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
    from fastgan_jax.benchmark import results as report

    if arguments.compare:
        print(report.comparison(*map(report.read_json, arguments.compare)))
        return
    check_combination(arguments)
    config = sides.read_config(arguments.config, overrides)
    sides.check_counts(arguments.iterations, arguments.blocks)
    if arguments.threads is not None:
        sides.limit_cores(arguments.threads)
    if arguments.against:
        commands = sides.commands_of(Path(__file__).resolve(), arguments.config, overrides, arguments.against)
        sides.compare(commands, arguments.iterations, arguments.blocks, arguments.json)
    elif arguments.memory:
        _memory(config, {}, arguments)
    elif arguments.memory_table:
        lists = (arguments.resolutions, arguments.batches, arguments.precisions, arguments.remats)
        fields = ("model.resolution", "train.batch_size", "train.precision", "train.remat")
        _memory(config, {name: text.split(",") for name, text in zip(fields, lists, strict=True)}, arguments)
    else:
        _time(arguments, config)


def check_combination(arguments: argparse.Namespace) -> None:
    """Raises UserError for options that do nothing beside each other."""
    from fastgan_jax.errors import UserError

    timed_alone = not (arguments.against or arguments.memory or arguments.memory_table or arguments.on_command)
    for name, given, useful in (
        ("--against", arguments.against, not (arguments.memory or arguments.memory_table or arguments.on_command)),
        ("--phases", arguments.phases, timed_alone),
        ("--profile", arguments.profile, timed_alone),
        ("--traced", arguments.traced, arguments.memory or arguments.memory_table),
    ):
        if given and not useful:
            raise UserError(f"{name} does nothing beside the other options: run the tool again with it alone")


def _memory(config: object, fields: dict[str, list[str]], arguments: argparse.Namespace) -> None:
    """Prints Markdown rows of compiled programs' memory."""
    from fastgan_jax.benchmark import results as benchmark_report
    from fastgan_jax.benchmark import workload as benchmark

    rows = []
    for row in benchmark.memory_table(config, fields, compiled=not arguments.traced):
        if not rows:
            print(benchmark_report.memory_header())
        print(benchmark_report.memory_row(row), flush=True)
        rows.append(row)
    if arguments.json:
        benchmark_report.write_json(arguments.json, rows)


def _time(arguments: argparse.Namespace, config: object) -> None:
    """Times the configuration, and prints and writes the result."""
    from fastgan_jax.benchmark import paired as sides
    from fastgan_jax.benchmark import results as report
    from fastgan_jax.benchmark import workload as benchmark

    workload = benchmark.make_workload(config)
    if not arguments.on_command:
        workload.check_block(arguments.iterations)
    runner = benchmark.Runner(workload)
    if arguments.on_command:
        sides.answer(runner)
        return
    seconds = [runner.time_block(arguments.iterations) for _ in range(arguments.blocks)]
    result = runner.result(seconds, arguments.iterations)
    if arguments.profile:
        runner.profile(arguments.profile)
    if arguments.phases:
        result["phases"] = runner.time_phases(arguments.iterations, arguments.blocks)
    report.show(result, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
