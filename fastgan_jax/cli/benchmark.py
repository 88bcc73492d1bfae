"""Times training: milliseconds an iteration, compilation, memory, share of the device's peak.

With --target, compiles it for a device that is not here, and counts its kernels, the bytes that they move and the
memory that they need. Targets are h100, a100, rtx4090, rtx2080ti, gtx1650 (pip install 'fastgan_jax[target-cuda]'),
gtx1050ti ([target-cuda12]), v5e, v6e ([target-tpu]), or a file like those in fastgan_jax/benchmark/devices. With
--devices, several of them share each batch: it counts what they send each other, and predicts how that scales.

Every field of configs/base.py can be set as --config.GROUP.FIELD=VALUE. Images are synthetic.
"""

import argparse
from typing import Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import check_distinct, check_outputs

EXAMPLES = """examples:
  fastgan benchmark --config fewshot256 --json result.json
  fastgan benchmark --config art1024 --config.train.precision=bfloat16 --profile trace/
  fastgan benchmark --config fewshot256 --against train.ops=reference
  fastgan benchmark --compare before.json after.json
  fastgan benchmark --config art1024 --target h100 --json h100.json --hlo h100.txt
  fastgan benchmark --config art1024 --target v5e --against train.precision=bfloat16
  fastgan benchmark --config fewshot256 --target h100 --devices 8 --config.train.batch_size=64"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    add = parser.add_argument
    action = add_timing(parser)
    add("--profile", type=options.path, metavar="DIR", help="also write a trace for TensorBoard and Perfetto")
    add(
        "--hlo",
        type=options.path,
        metavar="FILE",
        help="with --target: also write the compiled program here, those of --against as FILE-1 ...",
    )
    add(
        "--devices",
        type=options.count,
        default=1,
        metavar="N",
        help="with --target: number of devices that share a batch (default: 1)",
    )
    action.add_argument("--target", metavar="NAME|FILE", help="only compile, for this device; it need not be here")
    action.add_argument(
        "--compare", nargs=2, type=options.path, metavar=("A.json", "B.json"), help="only print the ratios B / A"
    )


def add_timing(parser: argparse.ArgumentParser) -> Any:
    """Adds what all programs that are timed take; returns the group of actions that exclude each other."""
    add = parser.add_argument
    add("--config", metavar="NAME|FILE", help="preset or configuration file")
    add(
        "--iterations",
        type=options.count,
        default=10,
        metavar="N",
        help="per block: a multiple of those per device call, 1 on CPUs and up to 10 elsewhere (default: 10)",
    )
    add("--blocks", type=options.count, default=5, metavar="B", help="number of timed blocks (default: 5)")
    add("--json", type=options.path, metavar="FILE", help="also write the result here")
    add("--threads", type=options.count, metavar="T", help="cores to use (default: all; needs Linux)")
    against = (
        "compare with the same configuration except for these fields, NAME=VALUE joined by spaces, in neighboring "
        "blocks; may be given several times"
    )
    add("--against", action="append", default=[], metavar="FIELDS", help=against)
    options.take_overrides(parser)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--on-command", action="store_true", help="time a block of N for each line N of standard input")
    return action


def run(arguments: argparse.Namespace) -> None:
    """Times, compiles or compares."""
    from fastgan_jax.benchmark import paired, results

    if arguments.compare:
        print(results.comparison(*map(results.read_json, arguments.compare)))
        return
    check_combination(arguments)
    check_outputs([arguments.json] if arguments.json else [], overwrite=True, option="--json")
    check_distinct({"--json": arguments.json, "--hlo": arguments.hlo})
    config = paired.read_config(arguments.config, arguments.overrides)
    if arguments.threads is not None:
        paired.limit_cores(arguments.threads)
    if (config.train.devices or 1) > 1 and not arguments.target:
        problem = f"train.devices={config.train.devices}: what is timed runs on one device"
        raise UserError(f"{problem}; --target with --devices counts for several")
    if arguments.target:
        compile_for_target(arguments)
    elif arguments.against:
        paired.compare(commands_of(arguments), arguments.iterations, arguments.blocks, arguments.json)
    else:
        from fastgan_jax.benchmark import workload
        from fastgan_jax.utils.devices import check_device

        check_device()

        work = workload.make_workload(config)
        work.check_block(arguments.iterations)
        runner = workload.Runner(work)
        time_blocks(runner, arguments)
        if arguments.profile:
            runner.profile(str(arguments.profile))


def check_combination(arguments: argparse.Namespace) -> None:
    """Raises UserError for options that have no effect beside each other."""
    alone = not (arguments.against or arguments.on_command)
    for name, given, useful in (
        ("--against", arguments.against, not arguments.on_command),
        ("--profile", arguments.profile, alone and not arguments.target),
        ("--hlo", arguments.hlo, arguments.target),
        ("--devices", arguments.devices > 1, arguments.target),
    ):
        if given and not useful:
            raise UserError(f"{name} has no effect with these options: leave it out, or see --help")


def commands_of(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """For the configuration and each variation of --against, the command that times it on request."""
    from fastgan_jax.benchmark import paired

    variations = paired.variations(arguments.config, arguments.overrides, arguments.against)
    block = ["--iterations", str(arguments.iterations)]
    return {name: [*paired.command_of("benchmark", arguments.config, own), *block] for name, own in variations.items()}


def compile_for_target(arguments: argparse.Namespace) -> None:
    """Compiles the configuration and its variations for the target, and prints and writes the counts.

    The JSON has those of the configuration, and with --against all under "results".
    """
    from fastgan_jax.benchmark import paired, target
    from fastgan_jax.utils.console import announced
    from fastgan_jax.utils.files import write_json

    device, count, results = target.read_device(arguments.target), arguments.devices, {}
    variations = paired.variations(arguments.config, arguments.overrides, arguments.against)
    for number, (name, own) in enumerate(variations.items()):
        hlo = arguments.hlo
        if hlo and number:
            hlo = hlo.with_stem(f"{hlo.stem}-{number}")
        config = paired.read_config(arguments.config, own)
        target.check_devices(device, config.train, count)
        where = device["device"] if count == 1 else f"{count} {device['device']}"
        with announced(f"compiling {name} for {where}, which takes minutes"):
            results[name] = target.compile_for(device, config, hlo and str(hlo), count)
    print(target.report(results))
    if arguments.json:
        write_json(arguments.json, results[paired.OURS] | ({"results": results} if arguments.against else {}))


def time_blocks(runner: Any, arguments: argparse.Namespace) -> None:
    """Times a program's blocks, and prints and writes the result; with --on-command, one block at a time."""
    from fastgan_jax.benchmark import paired, results
    from fastgan_jax.utils.console import Progress

    if arguments.on_command:
        paired.answer(runner)
        return
    blocks = Progress(range(arguments.blocks), title="blocks", passing=True)
    seconds = [runner.time_block(arguments.iterations) for _ in blocks]
    results.show(runner.result(seconds, arguments.iterations), arguments.json)
