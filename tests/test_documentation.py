"""Every command of a tool in README.md and docs/ is one that the tool takes."""

import re
import shlex
from pathlib import Path

import pytest
from tool_modules import load_tool

from fastgan_jax.runs.config import split_overrides

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def documented_commands() -> list[str]:
    """The commands `python tools/NAME.py ...` in code blocks and in backticks, each once."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"^(?: *)(python tools/\w+\.py [^`\n|]+)", text, re.MULTILINE)
        found += re.findall(r"`(python tools/\w+\.py [^`]+)`", text)
    return sorted({" ".join(command.split()) for command in found})


def test_there_are_commands_to_check():
    assert len(documented_commands()) >= 20


@pytest.mark.parametrize("command", documented_commands())
def test_the_tool_takes_the_documented_command(command):
    _, path, *arguments = shlex.split(command, comments=True)
    _, rest = split_overrides(arguments)
    load_tool(Path(path).stem).parse(rest)  # exits where there is no such option
