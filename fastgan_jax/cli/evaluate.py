"""Evaluates checkpoints of a run: FID, KID, precision and recall, diversity and distance to the training set.

What is not given is taken from the run's own configuration. Where its networks are not on this machine, the best that
are here take their place: nothing is downloaded unless its network, or fid, is named. The same command gives the same
digits. The run's page, report.html, shows the evaluation.json and the coverage.png of the run folder, and is refreshed.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgan_jax.cli import options
from fastgan_jax.errors import UserError
from fastgan_jax.utils.files import check_distinct, check_outputs

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
NEEDED_BY = {"features": ("--features", "--feature-weights", "--resize"), "distance": ("--net", "--weights")}
WEIGHTS = {"eval.features": "eval.feature_weights", "loss.perceptual_net": "loss.perceptual_weights"}
EXAMPLES = """examples:
  fastgan evaluate --run runs/mine --step all --metrics fid,kid --json runs/mine/evaluation.json
  fastgan evaluate --run runs/mine --step all --metrics frechet,kid --features squeeze_caffe --plot curve.png
  fastgan evaluate --run runs/mine --metrics layout,swd
  fastgan evaluate --run runs/mine --features efficientnet_lite0 --metrics kid --coverage runs/mine/coverage.png
  fastgan evaluate --run runs/mine --metrics kid --label 1 --json class1.json
  fastgan evaluate --run runs/mine --step best --metrics diversity,nearest --data /my/images"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    options.add_shared(parser, "--run", "--overwrite")
    add("--step", type=steps, default="latest", help="latest (default), best, all, or iterations joined by commas")
    add_settings(parser)
    add("--label", type=options.index, metavar="L", help="one class of a conditional model, against its images")
    add("--json", type=options.path, metavar="FILE", help="write the numbers there")
    coverage = "draw training images with their nearest samples there, and measure density_coverage (.png)"
    add("--coverage", type=options.png_path, metavar="FILE", help=coverage)
    add("--plot", type=options.path, metavar="FILE", help="plot them against iterations there (.png, .svg or .pdf)")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what is evaluated, and how."""
    add = parser.add_argument
    add("--metrics", metavar="M,M,...", help="fid, frechet, kid, precision_recall, layout, swd, ...")
    add("--num", type=options.count, metavar="N", help="generated images (default: the run's eval.num_samples)")
    options.add_shared(parser, "--data")
    add("--features", metavar="NET", help="inception, efficientnet_lite0, squeeze or squeeze_caffe")
    add("--feature-weights", type=options.path, metavar="FILE", help="local file with their weights")
    add("--resize", metavar="HOW", help="legacy or clean")
    add("--net", metavar="NET", help="perceptual network of diversity and nearest: vgg, squeeze, ...")
    options.add_shared(parser, "--weights")


def steps(text: str) -> list[int | str]:
    """The checkpoints that --step names; for all kept ones, "all"."""
    return [part if part == "all" else options.step(part) for part in text.split(",")]


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and reports."""
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.evaluation.results import check_plot
    from fastgan_jax.runs.checkpoint import checkpoint_steps
    from fastgan_jax.utils.devices import keep_compiled_programs

    outputs = {name: getattr(arguments, name) for name in ("json", "plot", "coverage")}
    for option, path in outputs.items():
        check_outputs([path] if path else [], arguments.overwrite, f"--{option}")
    check_distinct({f"--{option}": path for option, path in outputs.items()})
    if arguments.plot:
        check_plot(arguments.plot)
    keep_compiled_programs()
    chosen = checkpoint_steps(arguments.run) if "all" in arguments.step else arguments.step
    try:
        (config,) = configurations_of([arguments.run], arguments)
        evaluation = evaluate_run(arguments.run, chosen, config, arguments.data, arguments.label)
    except UserError as error:
        raise UserError(with_options(str(error))) from None
    show(evaluation, config, arguments.run, **outputs)


def show(
    evaluation: "Evaluation",
    config: Any,
    run_folder: Path,
    *,
    json: Path | None = None,
    plot: Path | None = None,
    coverage: Path | None = None,
) -> None:
    """Prints an evaluation, writes it as JSON, as a plot and as a figure of coverage, and refreshes the run's page."""
    from fastgan_jax.evaluation import results
    from fastgan_jax.report.page import refresh_report
    from fastgan_jax.utils.grids import save_png

    remarks = results.warnings(evaluation, config.eval.best_metric)
    written = [path for path in (json, plot, coverage) if path]
    try:
        if json:
            results.write_json(json, evaluation, remarks)
        if plot:
            results.plot(plot, evaluation)
        if coverage and evaluation.coverage is not None:
            save_png(coverage, evaluation.coverage)
        written.append(refresh_report(run_folder, written))
    finally:  # also if the disk is full; before, stdout may turn out to be a pipe without a reader
        print("\n".join([results.summary(evaluation), results.table(evaluation), *remarks]))
    for path in filter(None, written):
        print(path)


def with_options(message: str) -> str:
    """A message that names fields of the configuration, with the options of this command that set them."""
    named = [option for field, option in OPTIONS.items() if re.search(rf"\b{re.escape(field)}\b", message)]
    return f"{message}; here: {', '.join(named)}" if named else message


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options in OPTIONS, by option."""
    values = {option: getattr(arguments, option[2:].replace("-", "_")) for option in OPTIONS.values()}
    return {option: value for option, value in values.items() if value is not None}


def configurations_of(run_folders: Sequence[Path], arguments: argparse.Namespace) -> list[Any]:
    """The runs' configurations with what the arguments change; several runs are evaluated as the first one."""
    from fastgan_jax.evaluation.choice import choose_networks
    from fastgan_jax.metrics.registry import METRICS
    from fastgan_jax.runs import config as configuration

    given = given_settings(arguments)
    given = {field: given[option] for field, option in OPTIONS.items() if option in given}
    given = {field: str(value) if isinstance(value, Path) else value for field, value in given.items()}
    coverage = bool(vars(arguments).get("coverage"))
    first, *others = configs = [_changed(folder, given, coverage) for folder in run_folders]
    metrics = configuration.split_names(first.eval.metrics)
    needed = {METRICS[name].needs if name in METRICS else None for name in metrics}
    for need, names in NEEDED_BY.items():
        if needed and None not in needed and need not in needed:  # what is no metric, and none, is refused below
            options.refuse(arguments, *names, with_=f"metrics that need no such network ({', '.join(metrics)})")
    choose_networks(first, list(given), others)
    if coverage and "density_coverage" not in configuration.split_names(first.eval.metrics):
        raise UserError("--coverage needs a feature network, and none is here: name one with --features")
    for config in configs:
        configuration.validate(config, check_source=False, to_train=False)
    return configs


def _changed(run_folder: Path, given: dict[str, Any], coverage: bool) -> Any:
    """The run's configuration with the fields that are given, and with what a figure of coverage needs."""
    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.checkpoint import find_checkpoint, read_config

    config = configuration.from_saved(read_config(find_checkpoint(run_folder)))
    changes = {"eval.every": None}  # so that eval.best_metric need not be among the metrics
    for network, file in WEIGHTS.items():
        if given.get(network) not in (None, config[network]):
            changes[file] = None  # the run's file is for the run's network
    changes |= given
    metrics = changes.get("eval.metrics", config.eval.metrics)
    if coverage and "density_coverage" not in configuration.split_names(metrics):
        changes["eval.metrics"] = f"{metrics},density_coverage"
    config.update_from_flattened_dict(changes)
    return config
