"""The cache of decoded sets: entries appear whole or not at all, and damaged ones are made again."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from image_sets import load

from fastgan_jax.data import cache, dataset, decode
from fastgan_jax.data.feed import reader
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
    del facts["skipped"]
    (entry / "set.json").write_text(json.dumps(facts))


def with_too_few_labels(entry: Path) -> None:
    np.save(entry / "labels.npy", np.zeros(1, np.int32))


DAMAGES = [
    garbage,
    truncated,
    without_labels,
    without_facts,
    without_a_fact,
    with_too_few_labels,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_entry_is_decoded_again(folder, tmp_path, caplog, damage):
    first = load(tmp_path, path=str(folder))
    expected = np.array(first.images)
    (entry,) = (tmp_path / "cache").iterdir()
    damage(entry)
    again = load(tmp_path, path=str(folder))
    np.testing.assert_array_equal(again.images, expected)
    assert caplog.text.count("is damaged") >= 1
    caplog.clear()
    load(tmp_path, path=str(folder))
    assert "is damaged" not in caplog.text
    assert names_in(entry) == FILES


FILES = ["images.npy", "labels.npy", "set.json"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbers(append) -> tuple[np.ndarray, dict]:
    for number in range(3):
        append(np.full((2, 2, 3), number, np.uint8))
    return np.arange(3, dtype=np.int32), {"names": ["0", "1", "2"]}


def test_an_entry_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "key"

    def interrupted(append):
        append(np.zeros((2, 2, 3), np.uint8))
        (unfinished,) = names_in(folder)
        assert unfinished.startswith(".") and unfinished.endswith(".part.npy")
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        cache.load_or_make(folder, (2, 2, 3), 3, interrupted)
    assert names_in(folder) == []
    images, labels, facts = cache.load_or_make(folder, (2, 2, 3), 3, numbers, ["names"])
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [0, 1, 2] and facts["names"] == ["0", "1", "2"]
    assert names_in(folder) == FILES


def test_an_entry_without_its_facts_is_not_finished(tmp_path, caplog):
    cache.load_or_make(tmp_path / "key", (2, 2, 3), 3, numbers)
    (tmp_path / "key" / "set.json").unlink()
    (tmp_path / "key" / "images.npy").write_bytes(b"of a process that was killed")
    assert len(cache.load_or_make(tmp_path / "key", (2, 2, 3), 3, numbers)[0]) == 3
    assert not caplog.messages


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), OSError(errno.ENOTCONN, "not connected"), MemoryError()]
)
def test_an_image_that_cannot_be_read_for_now_is_tried_again(folder, tmp_path, monkeypatch, error):
    """It is missing for once, in a set of its own: not for good, and not in that of all images."""

    def read(self):
        if self.name == "a.PNG":
            raise error
        return read_bytes(self)

    read_bytes = Path.read_bytes
    with monkeypatch.context() as failing:
        failing.setattr(Path, "read_bytes", read)
        for _ in range(2):
            partial = load(tmp_path, path=str(folder))
            assert "a.PNG" not in partial.names and "a.PNG" in partial.skipped
    whole = load(tmp_path, path=str(folder))
    assert "a.PNG" in whole.names and len(whole.names) == len(partial.names) + 1
    assert partial.fingerprint != whole.fingerprint
    monkeypatch.setattr(dataset, "_decode_all", None)
    assert load(tmp_path, path=str(folder)).fingerprint == whole.fingerprint, "from the cache"


def test_threads_that_meet_a_damaged_entry_all_succeed(tmp_path):
    folder = tmp_path / "key"
    start = threading.Barrier(8)

    def one(_: int) -> list[int]:
        start.wait()
        images, labels, _ = cache.load_or_make(folder, (2, 2, 3), 3, numbers, ["names"])
        assert images[:, 0, 0, 0].tolist() == [0, 1, 2]
        return labels.tolist()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            cache.load_or_make(folder, (2, 2, 3), 3, numbers)
            garbage(folder)
            assert list(pool.map(one, range(8))) == [[0, 1, 2]] * 8
    assert names_in(folder) == FILES


TOGETHER = """
import sys, time
from pathlib import Path
from configs import base
from fastgan_jax.data import dataset, decode as decoding

data = base.get_config().data
data.path, data.cache_dir = sys.argv[1:]
decode = decoding.decode

def done():
    return list(Path(data.cache_dir).glob("*/set.json"))

def decode_when_both_have_begun(*arguments):
    deadline = time.monotonic() + 100
    while len(list(Path(data.cache_dir).glob("*/.*.part.npy"))) < 2 and not done():
        if time.monotonic() > deadline:
            raise SystemExit("the other process never began")
        time.sleep(0.01)
    return decode(*arguments)

decoding.decode = decode_when_both_have_begun
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
    (entry,) = (tmp_path / "shared").iterdir()
    assert names_in(entry) == FILES


def test_files_of_killed_processes_are_removed_and_those_of_others_not(tmp_path):
    (tmp_path / "other").mkdir()
    old, young = (tmp_path / "other" / f".{name}.part.npy" for name in ("old", "young"))
    long_ago = time.time() - cache.ABANDONED_SECONDS - 60
    for file in (old, young):
        file.write_bytes(b"unfinished")
    os.utime(old, (long_ago, long_ago))
    cache.load_or_make(tmp_path / "key", (2, 2, 3), 3, numbers)
    assert names_in(tmp_path / "other") == [young.name]


def test_an_unusable_cache_folder_is_named_in_one_line(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/.* cannot be written \(.*set data\.cache_dir") as error:
        load(tmp_path, path=str(folder), cache_dir=str(tmp_path / "file"))
    assert "\n" not in str(error.value)
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"data/.* cannot be written \(.*set --workdir to another folder"):
        load(tmp_path, demo_images=2)


def test_a_full_disk_is_named_and_nothing_stays(folder, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module, name in ((os, "fsync"), (Path, "replace"), (Path, "mkdir")):
        with (
            monkeypatch.context() as patch,
            pytest.raises(UserError, match=r"\(No space left on device\): free"),
        ):
            patch.setattr(module, name, full)
            load(tmp_path, path=str(folder))
        assert not list((tmp_path / "cache").glob("*/*"))


def test_a_set_that_the_disk_has_no_room_for_is_refused_before_it_is_decoded(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(dataset, "_decode_all", None)
    with pytest.raises(UserError, match=r"take up to 0.0 GB, and 0.0 GB are free in .*: free .* set data.cache"):
        load(tmp_path, path=str(folder))


def test_other_optional_decoders_leave_a_set_the_same(folder, tmp_path, monkeypatch):
    """It is decoded again, since files may have been skipped for want of them."""
    first = load(tmp_path, path=str(folder))
    monkeypatch.setattr(dataset, "decoders", lambda: "others")
    assert load(tmp_path, path=str(folder)).fingerprint == first.fingerprint
    assert len(names_in(tmp_path / "cache")) == 2


def test_a_streamed_set_stays_what_it_was_when_another_takes_its_place(tmp_path):
    def more(append) -> tuple[np.ndarray, dict]:
        append(np.full((2, 2, 3), 100, np.uint8))
        labels, facts = numbers(append)
        return np.append(0, labels).astype(np.int32), facts

    def fewer(append) -> tuple[np.ndarray, dict]:
        labels, facts = numbers(append)
        return labels, facts | {cache.INCOMPLETE: ["a.png"]}

    folder = tmp_path / "key"
    images, _, _ = cache.load_or_make(folder, (2, 2, 3), 4, fewer)
    assert len(cache.load_or_make(folder, (2, 2, 3), 4, more)[0]) == 4
    assert reader(images)(np.arange(3))[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_an_entry_that_stays_damaged_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_load", lambda *_: None)
    with pytest.raises(UserError, match=r"cannot be read back from .*key: set data\.cache_dir"):
        cache.load_or_make(tmp_path / "key", (2, 2, 3), 3, numbers)


def test_without_a_writable_cache_a_set_is_decoded_into_a_temporary_folder(folder, tmp_path, monkeypatch, caplog):
    """Unless the cache holds the set already."""
    files._temporary_folder.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    first = load(tmp_path, path=str(folder), cache_dir=None)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(decode, "decode", None)
    assert load(tmp_path, path=str(folder), cache_dir=None).fingerprint == first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "a.PNG"))  # a file
    other = load(tmp_path, path=str(folder), resolution=8, cache_dir=None)
    assert len(other.images) == 4
    assert caplog.text.count("there is no cache folder") == 1
    assert len(names_in(tmp_path / "home" / "fastgan_jax" / "data")) == 1
    files._temporary_folder.cache_clear()


def test_a_cache_folder_below_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    load(tmp_path, path=str(folder), cache_dir="~/mine")
    assert len(list((tmp_path / "mine").glob("*/images.npy"))) == 1
