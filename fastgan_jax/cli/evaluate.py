"""Evaluates checkpoints of a run: FID, KID, precision and recall, diversity and distance to the training set.

What is not given is taken from the run's own configuration. Where its networks are not on this machine, the best that
are here take their place: nothing is downloaded unless its network, or fid, is named. The same command gives the same
digits. fastgan report shows the evaluation.json of the run folder.
"""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import check_outputs

if TYPE_CHECKING:
    from fastgan_jax.evaluation.evaluator import Evaluation

OPTIONS = {  # of the fields that they set
    "eval.metrics": "--metrics",
    "eval.num_samples": "--num",
    "eval.features": "--features",
    "eval.feature_weights": "--feature-weights",
    "eval.resize": "--resize",
    "loss.perceptual_net": "--net",
    "loss.perceptual_weights": "--weights",
}
WEIGHTS = {"eval.features": "eval.feature_weights", "loss.perceptual_net": "loss.perceptual_weights"}
EXAMPLES = """examples:
  fastgan evaluate --run runs/mine --step all --metrics fid,kid --json runs/mine/evaluation.json
  fastgan evaluate --run runs/mine --step all --metrics frechet,kid --features squeeze_caffe --plot curve.png
  fastgan evaluate --run runs/mine --step best --metrics diversity,nearest --data /my/images"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--data", "--weights", "--overwrite")
    add("--step", type=steps, default="latest", help="latest (default), best, all, or iterations joined by commas")
    add("--metrics", metavar="M,M,...", help="fid, frechet, kid, precision_recall, ...")
    add("--num", type=options.count, metavar="N", help="generated images")
    add("--features", metavar="NET", help="inception, squeeze or squeeze_caffe")
    add("--feature-weights", type=options.path, metavar="FILE", help="local file with their weights")
    add("--resize", metavar="HOW", help="legacy or clean")
    add("--net", metavar="NET", help="perceptual network of diversity and nearest: vgg, squeeze, ...")
    add("--json", type=options.path, metavar="FILE", help="write the numbers there")
    add("--plot", type=options.path, metavar="FILE", help="plot them against iterations there (.png, .svg or .pdf)")


def steps(text: str) -> list[int | str]:
    """The checkpoints that --step names; for all kept ones, "all"."""
    return [part if part == "all" else options.step(part) for part in text.split(",")]


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and reports."""
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.evaluation.results import check_plot
    from fastgan_jax.runs.checkpoint import checkpoint_steps
    from fastgan_jax.utils.devices import keep_compiled_programs

    for option, path in (("--json", arguments.json), ("--plot", arguments.plot)):
        check_outputs([path] if path else [], arguments.overwrite, option)
    if arguments.plot:
        check_plot(arguments.plot)
    keep_compiled_programs()
    chosen = checkpoint_steps(arguments.run) if "all" in arguments.step else arguments.step
    try:
        config = configuration_of(arguments)
        evaluation = evaluate_run(arguments.run, chosen, config, arguments.data)
    except UserError as error:
        raise UserError(with_options(str(error))) from None
    show(evaluation, config, arguments.json, arguments.plot)


def show(evaluation: "Evaluation", config: Any, numbers: Path | None, image: Path | None) -> None:
    """Prints an evaluation, and writes it as JSON to `numbers` and as a plot to `image`."""
    from fastgan_jax.evaluation.results import plot, summary, table, warnings, write_json

    remarks = warnings(evaluation, config.eval.best_metric)
    print("\n".join([summary(evaluation), table(evaluation), *remarks]))
    if numbers:
        write_json(numbers, evaluation, remarks)
        print(numbers)
    if image:
        plot(image, evaluation)
        print(image)


def with_options(message: str) -> str:
    """A message that names fields of the configuration, with the options of this command that set them."""
    named = [option for field, option in OPTIONS.items() if re.search(rf"\b{re.escape(field)}\b", message)]
    return f"{message}; here: {', '.join(named)}" if named else message


def configuration_of(arguments: argparse.Namespace) -> Any:
    """The run's configuration with what the arguments change."""
    from fastgan_jax.evaluation.choice import choose_networks
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.checkpoint import find_checkpoint, read_config

    config = configuration.from_saved(read_config(find_checkpoint(arguments.run)))
    given = {field: getattr(arguments, option[2:].replace("-", "_")) for field, option in OPTIONS.items()}
    given = {field: str(value) if isinstance(value, Path) else value for field, value in given.items()}
    changes = {"eval.every": None}  # so that eval.best_metric need not be among the metrics
    for network, file in WEIGHTS.items():
        if given[network] not in (None, config[network]):
            changes[file] = None  # the run's file is for the run's network
    changes |= {field: value for field, value in given.items() if value is not None}
    config.update_from_flattened_dict(changes)
    choose_networks(config, [field for field, value in given.items() if value is not None])
    configuration.validate(config, check_source=False)
    return config
