"""Decoding is bounded by memory: pixels that are decoded at once, drafts, and what is refused."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_sets import encoded, load
from PIL import Image
from raw_images import RGB, png

from fastgan_jax.data import decode as decoding
from fastgan_jax.data import memory
from fastgan_jax.data.decode import Format, decode
from fastgan_jax.errors import UserError


def test_images_wait_until_their_pixels_fit(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 200)
    gate, lock, held, peaks = memory.Gate(), threading.Lock(), [0], []

    def one(needed: int) -> None:
        with gate.hold(1, 1, needed):
            with lock:
                held[0] += needed
                peaks.append(held[0])
            threading.Event().wait(0.001)
            with lock:
                held[0] -= needed

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, [40, 30, 60, 10, 150, 40, 90, 20] * 5))
    assert len(peaks) == 40 and max(peaks) <= 150  # half of the memory together, or one alone
    assert sorted(peaks)[-1] == 150 and max(peak for peak in peaks if peak < 150) <= 100


def test_an_image_too_large_for_the_memory_is_named_with_the_limit(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1_000_000)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (400, 300)).save(tmp_path / "images" / "large.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "small.png")
    images = load(tmp_path, path=str(tmp_path / "images"))
    assert images.names == ["small.png"]
    assert "skipped large.png (400x300 pixels need 1.4 MB of memory, and 1.0 MB are free" in caplog.text


@pytest.mark.slow
def test_hundreds_of_megapixels_are_decoded():
    data = png(14_000, [bytes([200, 100, 50]) * 14_000] * 13_000, 8, RGB)
    limit = Image.MAX_IMAGE_PIXELS
    assert 2 * limit < 14_000 * 13_000
    pixels = decode(data, Format(64, 3, "squash", "white")).pixels
    assert (pixels == (200, 100, 50)).all()
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1001, 803), (640, 2000)])
def test_a_draft_of_a_jpeg_gives_the_same_image(monkeypatch, fit, size):
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), np.uint8))
    data = encoded(coarse.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as file:
        width, height = decoding._draft(file, Format(64, 3, fit, "white"))
        assert file.size[0] < size[0] and file.size[1] < size[1]
        assert width / height == pytest.approx(size[0] / size[1])
    draft = decode(data, Format(64, 3, fit, "white"))
    monkeypatch.setattr(decoding, "DRAFT", 1000)
    whole = decode(data, Format(64, 3, fit, "white"))
    assert draft.size == whole.size == size
    difference = np.abs(draft.pixels.astype(int) - whole.pixels)
    assert difference.mean() < 1 and difference.max() < 24


def test_free_memory_heeds_the_container(monkeypatch, tmp_path):
    assert 0 < memory.free_memory() < 2**50

    def group(path, names, limit, *stat):
        folder = tmp_path / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(names, (limit, "2000", "\n".join(stat)), strict=True):
            (folder / name).write_text(text + "\n")

    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    group("", memory.VERSION_2, "max")
    assert memory.free_memory() > 9000, "no limit"
    group("", memory.VERSION_2, "5000", "anon 700", "file 1300", "active_file 200", "inactive_file 1000")
    assert memory.free_memory() == 3000 + 1200, "files that were read give way"
    group("memory", memory.VERSION_1, "4500", "active_file 1", "total_active_file 300", "total_inactive_file 1100")
    assert memory.free_memory() == 2500 + 1400, "as version 1 counts"
    group("job/step", memory.VERSION_2, "max")
    group("job", memory.VERSION_2, "2700")
    group("memory/task", memory.VERSION_1, "2600")
    assert memory.free_memory() == 3900, "not of this process"
    (tmp_path / "own").write_text("3:cpu:/elsewhere\n0::/job/step\n")
    assert memory.free_memory() == 700, "of a job on a cluster"
    (tmp_path / "own").write_text("5:cpu,memory:/task\n")
    assert memory.free_memory() == 600


def test_threads_follow_the_affinity(monkeypatch):
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda _: {1, 5, 7}, raising=False)
    assert memory.cpu_threads() == 3


def test_what_does_not_fit_is_refused_with_a_cure(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 10**9)
    memory.check_room(2 * 10**9, "")
    with pytest.raises(UserError, match=r"this needs 3\.0 GB of main memory, of which 2\.0 are free: write a \.zip"):
        memory.check_room(3 * 10**9, "write a .zip")
