"""Files appear whole or not at all; cache folders; paths as users give them."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.utils import files
from fastgan_jax.utils.files import cache_folder, check_outputs, replacing, user_path, write_json, write_text


def test_a_file_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_text(path, "ü")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        temporary.write_text("half")
        assert path.read_text(encoding="utf-8") == "ü"
    assert path.read_text() == "half"
    write_json(path, {"a": [1]})
    assert json.loads(path.read_text()) == {"a": [1]}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
    with pytest.raises(expected) as raised, replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    if expected is UserError:
        assert str(raised.value).endswith(
            "a.txt cannot be written (No space left on device): free some space, or choose another place"
        )
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.txt cannot be written \("):
        write_text(tmp_path / "file" / "a.txt", "")


def test_outputs_are_checked_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "there.png").write_text("")
    check_outputs([tmp_path / "new" / "a.png"], overwrite=False)
    check_outputs([tmp_path / "there.png"], overwrite=True)
    for path, message in (
        (tmp_path / "there.png", "exists already: choose another --out, or add --overwrite"),
        (tmp_path, "is a folder: choose another --out"),
        (tmp_path / "there.png" / "a.png", "there.png is not a folder: choose another --out"),
    ):
        with pytest.raises(UserError, match=message):
            check_outputs([path], overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="is read-only: choose another --json"):
        check_outputs([tmp_path / "a.json"], overwrite=True, option="--json")


def test_the_root_is_a_folder():
    with pytest.raises(UserError, match="^/ is a folder: choose another --json"):
        check_outputs(["/"], overwrite=True, option="--json")
    with pytest.raises(UserError, match="^/ cannot be written"):
        write_text("/", "")


@pytest.mark.parametrize("through_link", [False, True], ids=["itself", "through a link"])
def test_a_pipe_is_not_replaced(tmp_path, through_link):
    os.mkfifo(path := tmp_path / "pipe")
    if through_link:
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "pipe")
    message = r"cannot be written \(it is a device, a pipe or a socket\): "
    with pytest.raises(UserError, match=f"{path} {message}choose another --json"):
        check_outputs([path], overwrite=True, option="--json")
    with pytest.raises(UserError, match=f"{path} {message}free some space, or choose another place"):
        write_text(path, "")
    assert (tmp_path / "pipe").is_fifo() and path.is_symlink() == through_link


def test_a_link_stays_and_the_file_that_it_names_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    link, file = tmp_path / "link.txt", tmp_path / "far" / "file"
    link.symlink_to("far/file")
    for text in ("new", "newer"):
        check_outputs([link], overwrite=True)
        with replacing(link) as temporary:
            assert temporary.parent == file.parent and temporary.suffix == ".txt"
            temporary.write_text(text)
        assert link.is_symlink() and file.read_text() == text
    with pytest.raises(UserError, match="link.txt exists already"):
        check_outputs([link], overwrite=False)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(UserError, match="round cannot be written .*: choose another --out"):
        check_outputs([tmp_path / "round"], overwrite=True)


def test_paths_of_users(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/a") == tmp_path / "a"
    assert user_path("a/~b") == Path("a/~b")
    write_text("~/a.txt", "mine")
    assert (tmp_path / "a.txt").read_text() == "mine"
    with pytest.raises(UserError, match="a.txt exists already"):
        check_outputs(["~/a.txt"], overwrite=False)
    with pytest.raises(UserError, match="^s3://x/y is an address: give a local path"):
        user_path("s3://x/y")
    for rest in ("", "/", "/tree/main"):
        with pytest.raises(UserError, match=r"my\.run.* is an address: a run there is hf://me/my\.run$"):
            user_path(f"https://huggingface.co/me/my.run{rest}")
    with pytest.raises(UserError, match=": give a local path"):
        user_path("https://huggingface.co/datasets/me/images")

    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(UserError, match=r"~/a: Could not determine home directory\.: give the path without ~"):
        user_path("~/a")


@pytest.fixture
def temporary():
    """Forgets the temporary cache folder, before and after."""
    files._temporary_folder.cache_clear()
    yield
    files._temporary_folder.cache_clear()


def test_the_cache_is_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("data") == tmp_path / "fastgan_jax" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("data", to_write=True) == tmp_path / "home" / ".cache" / "fastgan_jax" / "data"


def test_a_read_only_cache_is_read_and_not_written(tmp_path, monkeypatch, caplog, temporary):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_folder("data") == tmp_path / "fastgan_jax" / "data"
    first, second = cache_folder("data", to_write=True), cache_folder("compiled", to_write=True)
    assert first.is_dir() and first.parent == second.parent and tmp_path not in first.parents
    files.remove_temporary_folder()
    assert not first.exists()
    (message,) = caplog.messages
    assert "data is read-only), so" in message and "set XDG_CACHE_HOME" in message


def test_without_a_home_the_cache_is_temporary(tmp_path):
    """In a process of its own, which deletes it at its end."""
    program = (
        "import pathlib\n"
        "def home(): raise RuntimeError('no home')\n"
        "pathlib.Path.home = home\n"
        "from fastgan_jax.utils.files import cache_folder\n"
        "folder = cache_folder('data'); (folder / 'x').write_text(''); print(folder)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stderr.count("there is no cache folder (no home)") == 1
    assert not Path(result.stdout.strip()).exists()


def test_plumbing_is_quick_to_import():
    program = (
        "import sys, fastgan_jax.utils.files, fastgan_jax.utils.checks, fastgan_jax.utils.console, "
        "fastgan_jax.inference.options; print([m for m in ('jax', 'numpy', 'tqdm') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
