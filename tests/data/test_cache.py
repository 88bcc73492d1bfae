"""The cache of decoded sets: entries appear whole or not at all, and damaged ones are made again."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_sets import load

from fastgan_jax.data import cache, dataset
from fastgan_jax.data.cache import CacheEntry
from fastgan_jax.errors import UserError
from fastgan_jax.utils import files


def garbage(entry: Path) -> None:
    (entry / "images.npy").write_bytes(b"damaged")


def truncated(entry: Path) -> None:
    os.truncate(entry / "images.npy", (entry / "images.npy").stat().st_size - 1)


def without_labels(entry: Path) -> None:
    (entry / "labels.npy").unlink()


def without_facts(entry: Path) -> None:
    (entry / "set.json").write_text("[]")


def without_a_fact(entry: Path) -> None:
    facts = json.loads((entry / "set.json").read_text())
    del facts["warnings"]
    (entry / "set.json").write_text(json.dumps(facts))


def with_too_few_labels(entry: Path) -> None:
    np.save(entry / "labels.npy", np.zeros(1, np.int32))


def replaced_by_a_file(entry: Path) -> None:
    entry.rename(entry.with_name("moved"))
    entry.write_text("no folder")


DAMAGES = [
    garbage,
    truncated,
    without_labels,
    without_facts,
    without_a_fact,
    with_too_few_labels,
    replaced_by_a_file,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_entry_is_decoded_again(folder, tmp_path, caplog, damage):
    first = load(tmp_path, path=str(folder))
    expected = np.array(first.images)
    damage(tmp_path / "cache" / first.fingerprint)
    again = load(tmp_path, path=str(folder))
    np.testing.assert_array_equal(again.images, expected)
    assert caplog.text.count("is damaged") >= 1
    caplog.clear()
    load(tmp_path, path=str(folder))
    assert "is damaged" not in caplog.text
    assert not list((tmp_path / "cache").glob(".decoding-*"))


def write_numbers(entry: CacheEntry, count: int = 3) -> None:
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    entry.write(images, np.arange(count, dtype=np.int32), {"names": [str(index) for index in range(count)]})


def test_an_entry_appears_whole_or_not_at_all(tmp_path):
    entry = CacheEntry(tmp_path / "cache" / "key")
    with contextlib.suppress(KeyboardInterrupt), entry.writer((2, 2, 3)) as writer:
        writer.append(np.zeros((2, 2, 3), np.uint8))
        (unfinished,) = (tmp_path / "cache").iterdir()
        assert unfinished.name.startswith(".decoding-") and entry.load() is None
        raise KeyboardInterrupt
    assert not list((tmp_path / "cache").iterdir())
    write_numbers(entry)
    images, labels, facts = entry.load(["names"])
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [0, 1, 2] and facts["names"] == ["0", "1", "2"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key"]


def test_writers_of_one_entry_at_the_same_time_both_succeed(tmp_path):
    entry = CacheEntry(tmp_path / "key")
    labels = np.zeros(1, np.int32)
    with entry.writer((1, 1, 3)) as first, entry.writer((1, 1, 3)) as second:
        for writer, value in ((first, 1), (second, 2)):
            writer.append(np.full((1, 1, 3), value, np.uint8))
        second.finish(labels, {})
        first.finish(labels, {})
    assert entry.load()[0][0, 0, 0].tolist() == [2, 2, 2]  # the first to finish wins
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_threads_that_meet_a_damaged_entry_all_succeed(tmp_path):
    entry = CacheEntry(tmp_path / "key")
    start = threading.Barrier(8)

    def one(_: int) -> list[int]:
        start.wait()
        return entry.load_or_make(lambda: write_numbers(entry), ["names"])[1].tolist()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            write_numbers(entry)
            garbage(entry.folder)
            assert list(pool.map(one, range(8))) == [[0, 1, 2]] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


TOGETHER = """
import sys, time
from pathlib import Path
from configs import base
from fastgan_jax.data import dataset

data = base.get_config().data
data.path, data.cache_dir = sys.argv[1:]
decode = dataset.decode

def decode_when_both_have_begun(*arguments):
    deadline = time.monotonic() + 100
    while len(list(Path(data.cache_dir).iterdir())) < 2:
        if time.monotonic() > deadline:
            raise SystemExit("the other process never began")
        time.sleep(0.01)
    return decode(*arguments)

dataset.decode = decode_when_both_have_begun
images = dataset.load_image_set(data, resolution=16, channels=3, num_classes=0, run_dir="unused")
print(len(images.images), int(images.images.sum()))
"""


def test_two_processes_decode_the_same_set_at_the_same_time(folder, tmp_path):
    expected = load(tmp_path, path=str(folder)).images
    arguments = [sys.executable, "-c", TOGETHER, str(folder), str(tmp_path / "shared")]
    options = {"cwd": Path(__file__).parents[2], "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(arguments, **options) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert out.split() == ["4", str(expected.sum())]
    assert len(list((tmp_path / "shared").iterdir())) == 1


def test_folders_of_killed_processes_are_removed_and_those_of_others_not(tmp_path):
    old, resumed, young = (tmp_path / f".decoding-{name}" for name in ("old", "resumed", "young"))
    long_ago = time.time() - cache.ABANDONED_SECONDS - 60
    for folder in (old, resumed, young):
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"unfinished")
    for path in (old / "images.npy", old, resumed):
        os.utime(path, (long_ago, long_ago))
    write_numbers(CacheEntry(tmp_path / "key"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".decoding-resumed", ".decoding-young", "key"]


def test_an_unusable_cache_folder_is_named_in_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be cached in .*file \(.*set data\.cache_dir") as error:
        load(tmp_path, path=str(folder), cache_dir=str(tmp_path / "file"))
    assert "\n" not in str(error.value)
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"cannot be cached in .*data \(.*set --workdir to another folder"):
        load(tmp_path, demo_images=2)


def test_a_full_disk_is_named_and_nothing_stays(folder, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("_flush", "_unfinished_folder"):
        with (
            monkeypatch.context() as patch,
            pytest.raises(UserError, match=r"\(No space left on device\): free"),
        ):
            patch.setattr(cache, name, full)
            load(tmp_path, path=str(folder))
        assert not list((tmp_path / "cache").iterdir())


def test_an_entry_that_stays_damaged_is_an_error(tmp_path):
    entry = CacheEntry(tmp_path / "key")
    made = []
    with pytest.raises(UserError, match=r"cannot be read back from .*key: set data\.cache_dir"):
        entry.load_or_make(lambda: made.append(1))
    assert len(made) == cache.ATTEMPTS


def test_a_failing_rename_is_named(tmp_path, monkeypatch):
    def forbidden(self, target):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(Path, "rename", forbidden)
    with pytest.raises(UserError, match=r"\(not permitted\)"):
        write_numbers(CacheEntry(tmp_path / "key"))


def test_without_a_writable_cache_a_set_is_decoded_into_a_temporary_folder(folder, tmp_path, monkeypatch, caplog):
    """Unless the cache holds the set already."""
    files._temporary_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    first = load(tmp_path, path=str(folder), cache_dir=None)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(dataset, "decode", None)
    assert load(tmp_path, path=str(folder), cache_dir=None).fingerprint == first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "a.PNG"))  # a file
    other = load(tmp_path, path=str(folder), resolution=8, cache_dir=None)
    assert len(other.images) == 4
    assert caplog.text.count("there is no cache folder") == 1
    assert not (tmp_path / "home" / "fastgan_jax" / "data" / other.fingerprint).exists()
    files._temporary_folder.cache_clear()


def test_a_cache_folder_below_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    images = load(tmp_path, path=str(folder), cache_dir="~/mine")
    assert (tmp_path / "mine" / images.fingerprint / "images.npy").is_file()
