"""Command line of training: `python -m fastgan_jax.main --config FILE [--workdir DIR] [--config.x.y=value]`."""

import argparse
import json
import logging
import sys
from pathlib import Path

EXAMPLE = """examples:
  python -m fastgan_jax.main --config configs/demo.py
  python -m fastgan_jax.main --config configs/fewshot256.py --config.data.path=/my/images --workdir runs/mine
  python -m fastgan_jax.main --config configs/art1024.py --mode=print-config

Every field of configs/base.py can be set as --config.GROUP.FIELD=VALUE. The same command again resumes."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Parses the arguments other than --config.GROUP.FIELD=VALUE."""
    parser = argparse.ArgumentParser(
        prog="python -m fastgan_jax.main",
        description="Trains FastGAN on a folder of images.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="configuration file, such as configs/demo.py")
    parser.add_argument("--workdir", metavar="DIR", help="run folder (default: runs/<name of the configuration>)")
    parser.add_argument("--mode", choices=("train", "eval", "print-config"), default="train", help="default: train")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 0 done, 1 diverged, 2 bad input, 128 + n after signal n."""
    from fastgan_jax.errors import UserError
    from fastgan_jax.runs import config as configuration

    try:
        overrides, rest = configuration.split_overrides(sys.argv[1:] if argv is None else argv)
        arguments = parse(rest)
        config = configuration.load_config(arguments.config)
        configuration.apply_overrides(config, overrides)
        if arguments.mode == "print-config":
            configuration.validate(config, check_source=False)
            print(json.dumps(configuration.to_dict(config), indent=2))
            return 0
        configuration.validate(config)
        workdir = arguments.workdir or f"runs/{Path(arguments.config).stem}"
        return _evaluate(config, workdir) if arguments.mode == "eval" else _train(config, workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _train(config: object, workdir: str) -> int:
    set_up_process()
    from fastgan_jax.train import Diverged, Interrupted, train_and_evaluate

    try:
        train_and_evaluate(config, workdir)
    except Diverged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 128 + error.signal_number
    return 0


def _evaluate(config: object, workdir: str) -> int:
    """Judges every kept checkpoint, prints the table, and leaves it in the run folder with a plot, replacing others."""
    set_up_process()
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.evaluation.results import plot, summary, table, warnings, write_json
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.checkpoint import checkpoint_steps, find_checkpoint, read_json_item
    from fastgan_jax.runs.folder import RunFolder

    steps = checkpoint_steps(workdir)
    configuration.check_resumable(read_json_item(find_checkpoint(workdir), "config"), configuration.to_dict(config))
    evaluation = evaluate_run(workdir, steps, config)
    told = warnings(evaluation, config.eval.best_metric)
    print("\n".join([summary(evaluation), table(evaluation), *told]))
    numbers = RunFolder(workdir).evaluation
    image = numbers.with_suffix(".png")
    write_json(numbers, evaluation, told)
    plot(image, evaluation)
    print(f"{numbers}\n{image}")
    return 0


def set_up_process() -> None:
    """Logging to stderr, and compiled programs kept in the user's cache folder (or $JAX_COMPILATION_CACHE_DIR)."""
    from fastgan_jax.utils.devices import keep_compiled_programs

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("jax").setLevel(logging.WARNING)
    keep_compiled_programs()


if __name__ == "__main__":
    sys.exit(main())
