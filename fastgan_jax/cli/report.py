"""Writes one self-contained HTML page about a run: settings, curves, images and warnings.

The page needs no network. Training writes it too, at its end. What other commands leave in the run folder goes in:
nearest.png of fastgan nearest, evaluation.json and coverage.png of fastgan evaluate.
"""

import argparse

from fastgan_jax.cli import options
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  fastgan report --run runs/demo
  fastgan report --run runs/mine --out mine.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_shared(parser, "--run", "--overwrite")
    what = "the page (default: report.html in the run folder, replaced)"
    parser.add_argument("--out", type=options.path, metavar="FILE", help=what)


def run(arguments: argparse.Namespace) -> None:
    """Writes the page."""
    from fastgan_jax.report.page import write_report

    if arguments.out:
        options.check_suffix(arguments.out, "end in .html", ".html", ".htm")
        check_outputs([arguments.out], arguments.overwrite)
    print(write_report(arguments.run, arguments.out))
