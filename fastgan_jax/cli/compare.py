"""Draws several runs side by side: samples of the same latents, metrics over iterations, a table of the last numbers.

Numbers are those that the runs recorded: the evaluation.json of the run folder, or the evaluations made while training.
With --metrics, every kept checkpoint of all runs is evaluated now, and alike: what is not given is taken from the first
run. A .json beside the page has all numbers.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import evaluate, options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import check_outputs
from fastgan_jax.utils.plots import check_matplotlib

if TYPE_CHECKING:
    from fastgan_jax.evaluation.evaluator import Evaluation

EXAMPLES = """examples:
  fastgan compare runs/first runs/second --out comparison.png
  fastgan compare runs/first runs/second runs/third --metrics layout,swd --num 500 --out comparison.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=options.path, metavar="RUN", help="run folders")
    options.add_shared(parser, "--step")
    options.add_out(parser, "a .png file; the numbers go into a .json of the same name", kind=options.png_path)
    add = parser.add_argument
    add("--samples", type=options.num_images, default=16, metavar="N", help="shown of each run (default: 16)")
    add("--seed", type=options.seed, default=0, metavar="S", help="of these samples (default: 0)")
    evaluate.add_settings(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compares, and writes page and numbers."""
    from fastgan_jax.data.memory import check_room
    from fastgan_jax.evaluation import comparison
    from fastgan_jax.runs.checkpoint import find_checkpoint, read_config
    from fastgan_jax.utils.console import Progress, announced
    from fastgan_jax.utils.devices import keep_compiled_programs

    check_matplotlib()
    out, beside = arguments.out, arguments.out.with_suffix(".json")
    check_outputs([out, beside], arguments.overwrite)
    given = [*evaluate.given_settings(arguments), *(["--data"] if arguments.data else [])]
    if given and arguments.metrics is None:
        raise UserError(f"{', '.join(given)} without --metrics: the recorded numbers are shown; add --metrics")
    found = [read_config(find_checkpoint(path, arguments.step)) for path in arguments.runs]  # before the work
    pixels = arguments.samples * sum(config["model"]["resolution"] ** 2 for config in found)
    check_room(2 * 3 * pixels, "give smaller --samples, or fewer runs")
    keep_compiled_programs()
    configs = [None] * len(arguments.runs) if arguments.metrics is None else _configurations(arguments)
    runs = []
    with announced("sampling from the runs"):
        for path, config in Progress(list(zip(arguments.runs, configs, strict=True)), title="runs", passing=True):
            evaluation = None if config is None else _evaluated(path, config, arguments)
            runs.append(comparison.read_run(path, arguments.step, arguments.samples, arguments.seed, evaluation))
    runs = comparison.with_own_names(runs, arguments.runs)
    try:
        comparison.write_json(beside, runs)
        comparison.draw(out, runs)
    finally:
        print("\n".join([comparison.table(runs), *comparison.remarks(runs)]))
    print(f"{out}\n{beside}")


def _configurations(arguments: argparse.Namespace) -> list[Any]:
    """How each run is evaluated, once it is known that the images of all can be read."""
    from fastgan_jax.inference.restore import load_training_set
    from fastgan_jax.utils.console import muted

    try:
        configs = evaluate.configurations_of(arguments.runs, arguments)
        for path, config in zip(arguments.runs, configs, strict=True):
            with muted("fastgan_jax"):  # the evaluation says it
                load_training_set(path, config, arguments.data)
    except UserError as error:
        raise UserError(evaluate.with_options(str(error))) from None
    return configs


def _evaluated(path: Path, config: Any, arguments: argparse.Namespace) -> "Evaluation":
    """The evaluation of every kept checkpoint of a run."""
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.runs.checkpoint import checkpoint_steps

    try:
        return evaluate_run(path, checkpoint_steps(path), config, arguments.data)
    except UserError as error:
        raise UserError(evaluate.with_options(str(error))) from None
