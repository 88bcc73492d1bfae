"""Every command in README.md, docs/ and the presets is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from configs import base
from fastgan_jax.cli.app import find_command, parse
from fastgan_jax.configs import preset_names
from fastgan_jax.runs.config import apply_overrides

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "configs").glob("*.py"))]
STARTS = r"(?:fastgan|python -m fastgan_jax\.main|python tools/\w+\.py)"


def documented_commands() -> list[str]:
    """The commands `fastgan ...`, `python tools/NAME.py ...` and `python -m fastgan_jax.main ...`, each once."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(rf"^(?:.*&& |Command: )? *({STARTS} [^`\n|]+)", text, re.MULTILINE)
        found += re.findall(rf"`({STARTS} [^`]+)`", text)
    return sorted({" ".join(command.split()) for command in found})


def test_there_are_commands_to_check():
    assert len(documented_commands()) >= 40


@pytest.mark.parametrize("command", documented_commands())
def test_the_program_takes_the_documented_command(command):
    start, *arguments = shlex.split(command, comments=True)
    if start == "python" and arguments[0] == "-m":
        name, arguments = "train", arguments[2:]
    elif start == "python":
        name, arguments = Path(arguments[0]).stem.replace("_", "-").replace("convert-pytorch", "convert"), arguments[1:]
    else:
        name, *arguments = arguments
    if not arguments:  # the program's own option, or the mere name of a command
        assert name.startswith("--") or find_command(name)
    else:
        parsed = parse(name, arguments)  # raises UserError where there is no such option
        apply_overrides(base.get_config(), getattr(parsed, "overrides", None) or [])
        assert getattr(parsed, "preset", None) in (None, *preset_names())
