"""Progress and notices on stderr."""

import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastgan_jax.utils import console
from fastgan_jax.utils.console import NotebookImage, Progress, announced, at_once, say, show_log, watched


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr(console, "on_terminal", lambda: False)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(console, "on_terminal", lambda: True)


def test_without_a_terminal_there_is_a_line_now_and_then(plain, capsys, monkeypatch):
    with Progress(title="iteration", total=10, images_per_step=4) as progress:
        progress.note("loss/d 1.250")
        progress.update(5)  # too soon for a line
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(console, "LINE_SECONDS", 0)
        progress.update(1)
        progress.update(4)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("iteration 6/10  ") and "/s  0:0" in first and "left  loss/d 1.250  " in first
    assert last.startswith("iteration 10/10  ")


def test_short_work_without_a_note_shows_nothing(plain, capsys):
    assert list(Progress([1, 2, 3], title="checkpoints")) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar(terminal, capsys):
    with Progress(title="iteration", total=10, initial=2, images_per_step=4) as progress:
        progress.note("loss/d 1.250")
        progress.update(8)
    shown = capsys.readouterr().err
    assert "100%|" in shown and "10/10" in shown and "loss/d 1.250  " in shown and "images/s" in shown


def test_lines_stand_above_the_bar(terminal, capsys):
    with Progress(title="checkpoints", total=2) as progress:
        progress.update()
        assert capsys.readouterr().err.endswith("it/s]")
        say("iteration 5: kid 1.0")
        cleared, shown = capsys.readouterr().err.split("iteration 5: kid 1.0\n")
        assert cleared.isspace() and cleared.endswith("\r") and "checkpoints" in shown
    capsys.readouterr()
    say("done")
    assert capsys.readouterr().err == "done\n"


def test_a_passing_bar_is_not_shown_for_short_work(terminal, capsys):
    list(Progress(range(3), title="frames", passing=True))
    assert "3/3" not in capsys.readouterr().err


def test_functions_run_at_once():
    barrier = threading.Barrier(2, timeout=60)  # which only two threads pass
    assert at_once(lambda: (barrier.wait(), "a")[1], lambda: (barrier.wait(), "b")[1]) == ["a", "b"]


def test_an_error_waits_for_what_runs_beside_it():
    done = threading.Event()
    with pytest.raises(ZeroDivisionError):
        at_once(lambda: 1 / 0, done.set)
    assert done.is_set()


def test_only_what_takes_long_is_announced(capsys, monkeypatch):
    with announced("loading"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(console, "SHOWN_AFTER_SECONDS", 0.01)
    with announced("loading"):
        time.sleep(0.2)
    assert capsys.readouterr().err == "loading ...\n"


def test_watched_work_gives_its_result_or_error(capsys):
    assert watched("adding", lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        watched("dividing", lambda: 1 / 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("where", ["plain", "terminal"])
def test_watched_work_shows_for_how_long_it_has_run(where, request, capsys, monkeypatch):
    request.getfixturevalue(where)
    monkeypatch.setattr(console, "SHOWN_AFTER_SECONDS", 0.01)
    watched("compiling", lambda: time.sleep(0.5))
    assert "compiling ... 0 s" in capsys.readouterr().err


def test_a_terminal_shows_watched_work_in_one_line_below_the_log(terminal, capsys, monkeypatch):
    for name in ("SHOWN_AFTER_SECONDS", "BAR_SECONDS", "WATCH_SECONDS"):
        monkeypatch.setattr(console, name, 0.01)
    show_log(logging.INFO)

    def work() -> None:
        time.sleep(0.5)
        logging.getLogger("fastgan_jax").info("compiled")
        time.sleep(0.5)

    watched("compiling", work)
    shown = capsys.readouterr().err
    assert shown.count("compiling ... 0 s") > 2 and "compiling ... 1 s" in shown, "it goes on"
    before, after = shown.split("compiled\n")
    assert before.endswith("\r") and before.split("\r")[-2].isspace() and "compiling" in after, "the line was cleared"


STUBBORN = """
import ctypes, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
from fastgan_jax.cli import app
from fastgan_jax.utils.console import watched
from fastgan_jax.utils.files import _temporary_folder
_temporary_folder()
app.parse = lambda *_: None
command = app.find_command("sample")
command.run = lambda _: watched("", lambda: (print("at work", flush=True), ctypes.CDLL(None).sleep(600)))
sys.exit(app.run_command("sample", []))
"""


def test_ctrl_c_ends_a_process_whose_thread_is_in_compiled_code(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], text=True, stdout=-1, stderr=-1, env=environment)
    try:
        assert process.stdout.readline() == "at work\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(signal.SIGINT)
        start = time.perf_counter()
        assert process.communicate(timeout=60) == ("", "stopped\n") and process.returncode == 130
        assert time.perf_counter() - start < 20  # the thread would be at work for ten minutes
        assert not list(tmp_path.iterdir()), "the temporary cache folder goes with it"
    finally:
        process.kill()


class Shell:
    """Stands for IPython's shell in a notebook's kernel."""

    kernel = object()


@pytest.fixture
def notebook(monkeypatch, plain):
    IPython = pytest.importorskip("IPython", reason="needs IPython")
    monkeypatch.setattr(IPython, "get_ipython", Shell)


def test_a_notebook_has_a_bar(notebook, capsys):
    with Progress(title="iteration", total=10, images_per_step=4) as progress:
        progress.note("loss/d 1.250")
        progress.update(10)
    assert "10/10" in (shown := capsys.readouterr().err) and "loss/d 1.250" in shown


def test_a_notebooks_log_appears_below_the_cell(notebook, monkeypatch, capsys):
    elsewhere = logging.StreamHandler(io.StringIO())  # such as the log of the notebook's server
    monkeypatch.setattr(logging.root, "handlers", [elsewhere])
    show_log(logging.INFO)
    show_log(logging.INFO)
    logging.getLogger("fastgan_jax.train").info("compiled")
    assert capsys.readouterr().err == "compiled\n"


def test_an_image_in_a_notebook_is_replaced_by_the_next(notebook, monkeypatch):
    import IPython.display

    shown = []

    def display(image, display_id):
        shown.append(image.size)
        return type("Handle", (), {"update": lambda self, image: shown.append(image.size)})()

    monkeypatch.setattr(IPython.display, "display", display)
    live = NotebookImage()
    live.show(np.zeros((100, 50, 3), np.uint8))
    live.show(np.zeros((1600, 800, 1), np.uint8))  # scaled down to what a browser needs
    assert shown == [(50, 100), (267, 534)]


def test_without_a_notebook_no_image_is_shown(plain, capsys):
    NotebookImage().show(np.zeros((4, 4, 3), np.uint8))
    assert capsys.readouterr().out == ""


def test_work_goes_on_when_the_terminal_is_gone(tmp_path):
    """As after Ctrl-C in `fastgan train ... 2>&1 | tee log`, which ends tee too: what follows is to be saved."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fastgan_jax.utils import console\n"
        "console.SHOWN_AFTER_SECONDS = console.LINE_SECONDS = console.WATCH_SECONDS = 0.01\n"
        "print('ready', file=sys.stderr, flush=True)\n"
        "sys.stdin.read()\n"
        "console.watched('saving', lambda: time.sleep(0.2))\n"
        "progress = console.Progress(title='iteration', total=2)\n"
        "with progress, console.announced('writing'):\n"
        "    time.sleep(0.1)\n"
        "    progress.update()\n"
        "Path(sys.argv[1]).touch()\n"
        "console.say('done')\n"
    )
    saved = tmp_path / "saved"
    command = [sys.executable, "-c", program, str(saved)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"ready\n"
        process.stderr.close()
        process.stdin.close()
        assert process.wait(60) == 0 and saved.exists()


def test_a_process_without_stderr_says_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    console.say("nobody hears it")
    assert not console.on_terminal()


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", rb"\xe4\u732b"), ("latin-1", b"\xe4\\u732b"), ("utf-8", "ä猫".encode())]
)
def test_what_the_screen_cannot_show_is_escaped(monkeypatch, encoding, written):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(shown, encoding))
    console.say("ä猫")
    assert shown.getvalue() == written + b"\n"
