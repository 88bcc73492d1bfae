"""The program: finding commands, help, exit codes, one-line errors; and `fastgan_jax` as users import it."""

import argparse
import errno
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from tool_modules import run

import fastgan_jax
from fastgan_jax.cli import app, sample
from fastgan_jax.cli.app import command_names, main, run_command
from fastgan_jax.utils.console import show_log

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
HEAVY = ("jax", "numpy", "ml_collections", "matplotlib", "PIL", "torch")


def python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)


def imported_by(argv: list[str]) -> list[str]:
    """The heavy packages that `fastgan` with these arguments imports before it does anything."""
    program = (
        "import sys\nfrom fastgan_jax.cli.app import main, parse\n"
        "words = sys.argv[1:]\n"
        "try: main(words) if '--help' in words else parse(words[0], words[1:])\n"
        f"except SystemExit: pass\nprint([name for name in {HEAVY} if name in sys.modules])"
    )
    result = python("-c", program, *argv)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1].replace("'", '"'))


def test_help_lists_every_command_with_its_description(capsys):
    assert main(["--help"]) == 0 == main([])
    text = capsys.readouterr().out
    assert len(command_names()) >= 16
    for name in command_names():
        assert f"\n  {name}  " in text
    assert "fastgan train /my/images" in text


def test_parsing_imports_nothing_heavy():
    assert imported_by(["--help"]) == []
    assert imported_by(["train", "images", "--preset", "demo", "--config.train.seed=1"]) == []
    assert imported_by(["project", "--run", "r", "--out", "o", "--images", "a", "--updates", "3"]) == []


@pytest.mark.parametrize("name", command_names())
def test_help_of_each_command_is_light_and_has_an_example(name, capsys):
    assert imported_by([name, "--help"]) == []
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and f"usage: fastgan {name}" in text and f"\n  fastgan {name} " in text


def test_every_command_has_a_file_in_tools_and_all_are_alike():
    commands = {}
    for name in TOOLS:
        text = (ROOT / "tools" / name).read_text(encoding="utf-8")
        commands[name] = text.split('run_tool("')[1].split('"')[0]
        assert text.count("\n") <= 5
    assert sorted([*commands.values(), "train"]) == command_names()  # its file is fastgan_jax/main.py
    assert all(name in (f"{command.replace('-', '_')}.py", "convert_pytorch.py") for name, command in commands.items())


@pytest.mark.parametrize("entry", [["tools/sample.py"], ["-m", "fastgan_jax", "sample"]])
def test_the_entries_reach_the_command(entry):
    result = python(*entry, "--run", "nothing")
    assert result.returncode == 2
    assert result.stderr == "error: the following arguments are required: --out; see fastgan sample --help\n"


def test_the_entry_of_training_keeps_its_name():
    result = python("-m", "fastgan_jax.main", "--help")
    assert result.returncode == 0 and result.stdout.startswith("usage: python -m fastgan_jax.main")


def test_an_unknown_command_is_one_line_with_the_nearest(capsys):
    assert main(["evalute", "--run", "x"]) == 2
    assert capsys.readouterr().err == "error: there is no command evalute: did you mean evaluate?\n"
    assert main(["arguments"]) == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastgan_jax {fastgan_jax.__version__}\n"


def use(monkeypatch, function, **arguments):
    """Lets the command sample do something else."""
    monkeypatch.setattr(sample, "run", function)
    monkeypatch.setattr(app, "parse", lambda *_: argparse.Namespace(**arguments))


def test_errors_of_files_are_one_line(tmp_path, capsys, monkeypatch):
    use(monkeypatch, lambda _: (tmp_path / "no" / "x").write_bytes(b""))
    assert run("sample") == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'no' / 'x'}: No such file or directory\n"


def test_a_deleted_folder_is_named(tmp_path, capsys, monkeypatch):
    (folder := tmp_path / "gone").mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    use(monkeypatch, lambda _: Path("x").absolute())
    assert run("sample") == 2
    assert capsys.readouterr().err == "error: the current folder has been deleted: change to another one\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [["--help"], ["weights", "--list"], ["train", "--preset=smoke", "--mode=print-config"]]
)
def test_without_a_reader_of_stdout_the_program_ends_quietly(words, unbuffered):
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "fastgan_jax", *words]
    result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    os.close(write)
    assert (result.returncode, result.stderr) == (141, "")


def test_another_broken_pipe_is_told(capsys, monkeypatch):
    def broken(_):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    use(monkeypatch, broken)
    assert run("sample") == 2
    assert capsys.readouterr().err == "error: a file: Broken pipe\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["weights", "--list"]])
def test_a_full_disk_under_stdout_is_one_line(words, unbuffered):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "fastgan_jax", *words]
    with open("/dev/full", "w", encoding="utf-8") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert result.returncode == 2
    assert result.stderr in [f"error: {what}: No space left on device\n" for what in ("stdout", "a file")]


def test_help_needs_no_docstrings():
    result = python("-OO", "-m", "fastgan_jax", "--help")
    assert result.returncode == 0 and "\n  sample  " in result.stdout and "\n  fastgan train" in result.stdout


def test_a_device_without_enough_memory_is_one_line(capsys, monkeypatch):
    def exhausted(_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.")

    use(monkeypatch, exhausted, batch_size=8)
    assert run("sample") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: out of device memory on ") and error.endswith(": lower --batch-size 8\n")
    use(monkeypatch, exhausted)
    assert run("sample") == 2
    assert "end other programs" in capsys.readouterr().err

    def other(_):
        raise RuntimeError("a fault of the program")

    use(monkeypatch, other)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        run("sample")


def test_an_interrupted_command_ends_with_130(capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    use(monkeypatch, interrupted)
    assert run_command("sample", []) == 130
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("taken", [True, False], ids=["by a notebook", "by nobody"])
def test_log_messages_are_shown_whoever_set_up_logging(monkeypatch, capsys, taken):
    stream = io.StringIO()
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(stream)] if taken else [])
    log = logging.getLogger("fastgan_jax.any")
    show_log(logging.INFO)
    log.info("resumed")
    show_log(logging.WARNING)
    log.info("not shown")
    shown = stream.getvalue(), capsys.readouterr().err
    assert shown == (("resumed\n", "") if taken else ("", "resumed\n"))


def test_the_package_says_how_to_begin():
    program = "import sys, fastgan_jax; print('jax' in sys.modules); print(fastgan_jax.Sampler); help(fastgan_jax)"
    result = python("-c", program)
    assert result.returncode == 0
    assert result.stdout.startswith("False\n<class 'fastgan_jax.inference.sampler.Sampler'>\n")
    assert "fastgan train /my/images" in result.stdout and 'fastgan_jax.load("runs/mine")' in result.stdout
    with pytest.raises(AttributeError, match="no attribute 'sampler'"):
        fastgan_jax.sampler  # noqa: B018


def test_a_package_that_is_missing_is_one_line(capsys, monkeypatch):
    def needing(name):
        def command(_):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        return command

    use(monkeypatch, needing("clu"))
    assert run("sample") == 2
    assert capsys.readouterr().err.startswith(
        "error: fastgan sample needs the package clu, which is not installed: pip"
    )
    use(monkeypatch, needing("fastgan_jax.nothing"))
    with pytest.raises(ModuleNotFoundError):
        run("sample")


COMPILING = """
import signal, threading
import jax, jax.numpy as jnp
from fastgan_jax.cli import app

def compiling(_):
    def chain(x):
        for i in range(1500):
            x = jnp.sin(x @ x.T) + i
        return x

    lowered = jax.jit(chain).lower(jnp.ones((8, 8)))  # which takes seconds to compile
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    lowered.compile()

app.parse = lambda *_: None
app.find_command("sample").run = compiling
app.run_tool("sample")
"""


@pytest.mark.slow
def test_ctrl_c_while_xla_compiles_is_one_line():
    result = python("-c", COMPILING)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "stopped\n")
