"""Writes one self-contained HTML page about a run: settings, curves, images and warnings."""

import argparse
import sys
from pathlib import Path

from fastgan_jax.cli.arguments import run_tool, tool_parser
from fastgan_jax.utils.files import check_outputs

EXAMPLES = """examples:
  python tools/report.py --run runs/demo
  python tools/report.py --run runs/mine --out mine.html

The page needs no network. Training writes it too, at its end. What other tools leave in the run folder goes in:
  python tools/nearest.py --run runs/mine --out runs/mine/nearest.png
  python tools/evaluate.py --run runs/mine --step all --metrics fid,kid --json runs/mine/evaluation.json"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the arguments."""
    parser = tool_parser(__doc__, EXAMPLES)
    parser.add_argument("--run", required=True, metavar="DIR", help="run folder")
    parser.add_argument("--out", metavar="FILE", help="the page (default: report.html in the run folder, replaced)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file of --out if it is there")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Writes the page."""
    from fastgan_jax.report.page import write_report

    if arguments.out:
        check_outputs([arguments.out], arguments.overwrite)
        Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
    print(write_report(arguments.run, arguments.out))


def main(argv: list[str] | None = None) -> int:
    """Runs the tool and returns its exit code."""
    return run_tool(parse, run, argv)


if __name__ == "__main__":
    sys.exit(main())
