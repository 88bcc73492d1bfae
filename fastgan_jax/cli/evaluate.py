"""Judges checkpoints of a run by FID, KID, precision and recall, diversity and nearness to the training set."""

import argparse
import re
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import run_tool, tool_parser
from fastgan_jax.utils.files import check_outputs

BASE_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "base.py"
OPTIONS = {  # of the fields that they set
    "eval.metrics": "--metrics",
    "eval.num_samples": "--num",
    "eval.features": "--features",
    "eval.feature_weights": "--feature-weights",
    "eval.resize": "--resize",
    "loss.perceptual_net": "--net",
    "loss.perceptual_weights": "--weights",
}
EXAMPLES = """examples:
  python tools/evaluate.py --run runs/mine --step all --metrics fid,kid --json runs/mine/evaluation.json
  python tools/evaluate.py --run runs/mine --step all --metrics frechet,kid --features squeeze_caffe --plot curve.png
  python tools/evaluate.py --run runs/mine --step best --metrics diversity,nearest --data /my/images

What is not given is taken from the run's own configuration. The same command gives the same digits.
tools/report.py shows the evaluation.json of the run folder."""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder")
    parser.add_argument("--step", default="latest", help="latest (default), best, all, or iterations joined by commas")
    parser.add_argument(
        "--metrics", metavar="M,M,...", help="of fid, frechet, kid, precision_recall, ...: configs/base.py"
    )
    parser.add_argument("--num", type=int, metavar="N", help="generated images that are judged")
    parser.add_argument("--data", metavar="PATH", help="folder or zip of real images (default: the training set)")
    parser.add_argument("--features", metavar="NET", help="inception, squeeze or squeeze_caffe")
    parser.add_argument("--feature-weights", metavar="FILE", help="local file with the weights of --features")
    parser.add_argument("--resize", metavar="HOW", help="legacy or clean")
    parser.add_argument("--net", metavar="NET", help="perceptual network of diversity and nearest: vgg, squeeze, ...")
    parser.add_argument("--weights", metavar="FILE", help="local file with the weights of --net")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the numbers against iterations there (.png, .svg or .pdf)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Evaluates and reports."""
    from fastgan_jax.errors import UserError
    from fastgan_jax.evaluation.evaluator import evaluate_run
    from fastgan_jax.evaluation.results import check_plot, plot, summary, table, warnings, write_json

    if arguments.json:
        check_outputs([arguments.json], arguments.overwrite, option="--json")
    if arguments.plot:
        check_outputs([arguments.plot], arguments.overwrite, option="--plot")
        check_plot(arguments.plot)
    try:
        config = configuration_of(arguments)
        evaluation = evaluate_run(
            arguments.run,
            steps_of(arguments),
            config,
            images=arguments.data,
        )
    except UserError as error:
        raise UserError(in_this_tool(str(error))) from None
    told = warnings(evaluation, config.eval.best_metric)
    print("\n".join([summary(evaluation), table(evaluation), *told]))
    for path in filter(None, (arguments.json, arguments.plot)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.json:
        write_json(arguments.json, evaluation, told)
        print(arguments.json)
    if arguments.plot:
        plot(arguments.plot, evaluation)
        print(arguments.plot)


def in_this_tool(message: str) -> str:
    """A message that names fields of the configuration, with the options of this tool that set them."""
    named = [option for field, option in OPTIONS.items() if re.search(rf"\b{re.escape(field)}\b", message)]
    return f"{message}; in this tool: {', '.join(named)}" if named else message


def configuration_of(arguments: argparse.Namespace):
    """The run's configuration with what the arguments change."""
    from ml_collections import ConfigDict

    from fastgan_jax.runs import config as configuration
    from fastgan_jax.runs.checkpoint import find_checkpoint, read_config

    config = configuration.load_config(str(BASE_CONFIG))
    saved = read_config(find_checkpoint(arguments.run))
    known = configuration.flatten(config)
    overrides = {name: value for name, value in configuration.flatten(ConfigDict(saved)).items() if name in known}
    given = {field: getattr(arguments, option[2:].replace("-", "_")) for field, option in OPTIONS.items()}
    overrides["eval.every"] = None  # so that eval.best_metric need not be among the metrics
    for network, file in (
        ("eval.features", "eval.feature_weights"),
        ("loss.perceptual_net", "loss.perceptual_weights"),
    ):
        if given[network] not in (None, overrides.get(network)):
            overrides[file] = None  # the run's file is for the run's network
    config.update_from_flattened_dict(overrides | {name: value for name, value in given.items() if value is not None})
    configuration.validate(config, check_source=False)
    return config


def steps_of(arguments: argparse.Namespace) -> list[int | str]:
    """The checkpoints that --step names."""
    from fastgan_jax.cli.arguments import read_step
    from fastgan_jax.runs.checkpoint import checkpoint_steps

    if arguments.step == "all":
        return checkpoint_steps(arguments.run)
    return [read_step(step) for step in arguments.step.split(",")]


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
