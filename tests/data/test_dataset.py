"""Training sets: messy files, every mode and aspect, the cache, the order, and both feeds."""

import contextlib
import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from configs import base
from fastgan_jax.data import cache, dataset
from fastgan_jax.data.cache import CacheEntry
from fastgan_jax.data.dataset import ImageSet, load_image_set
from fastgan_jax.data.decode import Format, collected_warnings, decode
from fastgan_jax.data.demo import draw_demo_image, draw_demo_set
from fastgan_jax.data.feed import ResidentFeed, StreamedFeed, is_resident
from fastgan_jax.data.order import batch_indices, epoch_order
from fastgan_jax.data.source import is_image_name, open_source
from fastgan_jax.errors import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(
    data: bytes, side: int = 8, channels: int = 3, fit: str = "squash", background: str = "white"
) -> np.ndarray:
    return decode(data, Format(side, channels, fit, background)).pixels


def load(tmp_path, resolution=16, channels=3, num_classes=0, **fields) -> ImageSet:
    data = base.get_config().data
    data.cache_dir = str(tmp_path / "cache")
    for name, value in fields.items():
        data[name] = value
    return load_image_set(
        data, resolution=resolution, channels=channels, num_classes=num_classes, run_dir=tmp_path / "run"
    )


@pytest.fixture
def folder(tmp_path):
    """Five images of which one is broken, in nested folders with awkward names."""
    root = tmp_path / "pictures"
    (root / "sub" / "ünïcode").mkdir(parents=True)
    Image.new("RGB", (20, 10), RED).save(root / "a.PNG")
    Image.new("RGB", (10, 10), GREEN).save(root / "sub" / "b.jpeg")
    Image.new("L", (10, 10), 128).save(root / "sub" / "ünïcode" / "ç.webp", lossless=True)
    Image.new("P", (10, 10)).save(root / "sub" / "d.gif")
    (root / "broken.jpg").write_bytes(encoded(Image.new("RGB", (64, 64), BLUE), "JPEG")[:300])
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("no image")
    (root / "._a.png").write_bytes(b"a Mac's twin")
    return root


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("RGB", (9, 9), RED)), RED),
        (encoded(Image.new("L", (9, 9), 100)), (100, 100, 100)),
        (encoded(Image.new("1", (9, 9), 1)), (255, 255, 255)),
        (encoded(Image.new("RGBA", (9, 9), (255, 0, 0, 0))), (255, 255, 255)),
        (encoded(Image.new("LA", (9, 9), (0, 255))), (0, 0, 0)),
        (encoded(Image.new("RGB", (9, 9), BLUE).convert("P")), BLUE),
        (encoded(Image.fromarray(np.full((9, 9), 65535, np.uint16))), (255, 255, 255)),
        (encoded(Image.fromarray(np.full((9, 9), 257 * 7, np.uint16))), (7, 7, 7)),
        (encoded(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG", quality=100), RED),
    ],
    ids=["rgb", "gray", "bilevel", "transparent", "gray-alpha", "palette", "white16", "dark16", "cmyk"],
)
def test_every_mode_becomes_rgb(data, expected):
    pixels = decoded(data)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.array(expected)).max() <= 3


def test_palette_with_transparency_is_composited():
    image = Image.new("P", (9, 9), 1)
    image.putpalette([*RED, *GREEN])
    assert tuple(decoded(encoded(image, transparency=1), background="#0000ff")[0, 0]) == BLUE


def test_channels_one_and_four():
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert decoded(encoded(half), channels=4).reshape(-1, 4)[0].tolist() == [255, 0, 0, 128]
    gray = decoded(encoded(Image.new("RGB", (8, 8), (10, 10, 10))), channels=1)
    assert gray.shape == (8, 8, 1) and gray[0, 0, 0] == 10
    assert decoded(encoded(Image.new("CMYK", (8, 8)), "JPEG"), channels=4)[0, 0].tolist() == [255, 255, 255, 255]


def test_invisible_color_does_not_bleed_into_edges():
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 31, 64))
    pixels = decoded(encoded(image), side=16, channels=4)
    assert pixels[..., 1][pixels[..., 3] > 16].max() <= 8


def test_exif_orientation_is_honored():
    image = Image.new("RGB", (8, 8), RED)
    image.paste(BLUE, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a circle
    pixels = decoded(encoded(image, "PNG", exif=exif))
    assert tuple(pixels[0, 0]) == RED and tuple(pixels[7, 0]) == BLUE


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(kind, orientation):
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (0, 0, 8, 8))
    data = encoded(image, kind, exif=with_orientation(orientation))
    with Image.open(io.BytesIO(data)) as file:
        expected = np.asarray(ImageOps.exif_transpose(file).convert("RGB").resize((8, 8), Image.Resampling.BOX))
    assert np.abs(decoded(data).astype(int) - expected)[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 20


@pytest.mark.parametrize(("kind", "reports"), [("PNG", 1), ("WEBP", 1), ("JPEG", 0)])  # of JPEG, Pillow says nothing
def test_a_damaged_exif_block_does_not_cost_the_image(tmp_path, caplog, capfd, kind, reports):
    (tmp_path / "pictures").mkdir()
    name = f"a.{kind.lower()}"
    Image.new("RGB", (16, 16), RED).save(tmp_path / "pictures" / name, exif=b"Exif\0\0no TIFF header", quality=100)
    for _ in range(2):  # decoded, and from the cache
        caplog.clear()
        images = load(tmp_path, path=str(tmp_path / "pictures"))
        assert images.names == [name] and not images.skipped
        assert np.abs(images.images[0].astype(int) - RED).max() < 4
        assert caplog.text.count(f"{name} was decoded with a warning: EXIF block not readable") == reports
    assert capfd.readouterr().err == ""


def test_a_truncated_exif_block_is_reported_by_name(tmp_path, caplog, capfd):
    (tmp_path / "pictures").mkdir()
    block = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\x12\x01\x03\0"  # five entries announced, half of one there
    Image.new("RGB", (16, 16), RED).save(tmp_path / "pictures" / "a.jpg", exif=block)
    assert len(load(tmp_path, path=str(tmp_path / "pictures")).images) == 1
    assert "a.jpg was decoded with a warning: Corrupt EXIF data" in caplog.text
    assert capfd.readouterr().err == ""


def test_warnings_of_other_threads_are_not_collected():
    with pytest.warns(UserWarning, match="elsewhere"), collected_warnings() as thread:
        warnings.warn("elsewhere", stacklevel=1)
        thread.messages = []
        warnings.warn("here", stacklevel=1)
    assert thread.messages == ["here"]


@pytest.mark.parametrize("exif", [None, with_orientation(3)], ids=["upright", "turned"])
def test_transparency_of_16_bits_is_honored(exif):
    values = np.full((8, 8), 257 * 9, np.uint16)
    values[:, :4] = 1000  # transparent; 1001 rounds to the same 8 bits and is not
    values[:, 4] = 1001
    data = encoded(Image.fromarray(values), transparency=1000, **({"exif": exif} if exif else {}))
    pixels = decoded(data, channels=4, background="blue")
    if exif:
        pixels = pixels[::-1, ::-1]
    assert (pixels[:, :4] == (*BLUE, 0)).all()
    assert (pixels[:, 4] == (4, 4, 4, 255)).all() and (pixels[:, 5:] == (9, 9, 9, 255)).all()


def test_invisible_pixels_have_the_background_color():
    image = Image.new("RGBA", (16, 8), (255, 0, 0, 0))
    assert (decoded(encoded(image), channels=4, fit="pad", background="lime") == (*GREEN, 0)).all()


@pytest.mark.parametrize(
    ("choices", "message"),
    [((8, 3, "zoom", "white"), "data.fit='zoom': allowed is squash"), ((8, 2, "pad", "white"), "model.channels=2")],
)
def test_unknown_formats_are_named(choices, message):
    with pytest.raises(UserError, match=message):
        Format(*choices)


def test_fits():
    wide = Image.new("RGB", (32, 16), RED)
    wide.paste(BLUE, (8, 0, 24, 16))
    data = encoded(wide)
    squashed, cropped, padded = (decoded(data, 16, fit=fit, background="lime") for fit in ("squash", "crop", "pad"))
    assert tuple(squashed[8, 0]) == RED and tuple(squashed[8, 8]) == BLUE
    assert (cropped == np.array(BLUE)).all()
    assert tuple(padded[0, 8]) == GREEN and tuple(padded[8, 0]) == RED and tuple(padded[15, 8]) == GREEN
    assert decoded(data, 16, channels=4, fit="pad")[0, 8, 3] == 0


def test_shrinking_does_not_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decoded(encoded(Image.fromarray(stripes)), 8)[2:-2, 2:-2].astype(int) - 127).max() < 12


def test_a_folder_is_read_with_its_faults_named(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        images = load(tmp_path, path=str(folder))
    assert images.names == ["a.PNG", "sub/b.jpeg", "sub/d.gif", "sub/ünïcode/ç.webp"]
    assert images.images.shape == (4, 16, 16, 3)
    assert sorted(images.skipped) == ["broken.jpg", "empty.png"]
    for name in images.skipped:
        assert caplog.text.count(f"skipped {name} (") == 1
    assert "skipped empty.png (no known image format, 0 bytes)" in caplog.text
    assert "4 decoded to 16x16x3, 2 skipped" in caplog.text
    assert "1 not square (squash)" in caplog.text


def test_a_zip_holds_the_same_set(folder, tmp_path):
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    one, two = load(tmp_path, path=str(folder)), load(tmp_path, path=str(archive))
    assert list(one.names) == list(two.names)
    np.testing.assert_array_equal(one.images, two.images)


def test_a_second_start_does_not_decode(folder, tmp_path, monkeypatch):
    first = load(tmp_path, path=str(folder))

    def forbidden(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(dataset, "decode", forbidden)
    again = load(tmp_path, path=str(folder))
    np.testing.assert_array_equal(again.images, first.images)
    assert list(again.skipped) == list(first.skipped)
    with pytest.raises(UserError, match="none of 6 files can be read"):  # another size is another entry
        load(tmp_path, resolution=32, path=str(folder))


def test_a_changed_file_is_another_set(folder, tmp_path):
    first = load(tmp_path, path=str(folder))
    Image.new("RGB", (20, 10), BLUE).save(folder / "a.PNG")
    second = load(tmp_path, path=str(folder))
    assert first.fingerprint != second.fingerprint
    assert tuple(second.images[0, 8, 8]) == BLUE


def test_streaming_gives_the_arrays_that_decoding_at_once_gives(tmp_path):
    root = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for index in range(101):  # more than are decoded ahead, and more digits than the unfinished header has
        (root / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        path = root / "ab"[index % 2] / f"{index:03d}.png"
        path.write_bytes(encoded(Image.fromarray(random.integers(0, 256, (9, 7, 3), np.uint8))))
    (root / "a" / "050.png").write_bytes(b"broken")
    images = load(tmp_path, path=str(root), num_classes=2)
    files = [path for path in sorted(root.rglob("*.png")) if path.name != "050.png"]
    np.testing.assert_array_equal(images.images, np.stack([decoded(path.read_bytes(), 16) for path in files]))
    assert images.labels.tolist() == [int(path.parent.name == "b") for path in files]
    assert list(images.names) == [path.relative_to(root).as_posix() for path in files]
    assert isinstance(images.images, np.memmap) and images.images.dtype == np.uint8 and images.labels.dtype == np.int32


def test_images_wait_in_bounded_number():
    started, taken = [], 0
    with ThreadPoolExecutor(2) as pool:
        for result in dataset._in_order(pool, lambda index: started.append(index) or index, 50, ahead=5):
            time.sleep(0.002)  # time enough to run ahead
            assert result == taken
            taken += 1
            assert len(started) <= taken + 5
    assert taken == 50


def test_decoding_shows_a_bar_in_a_terminal_only(folder, tmp_path, capsys, monkeypatch):
    load(tmp_path, path=str(folder))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    load(tmp_path, path=str(folder), resolution=8)
    assert "6/6" in capsys.readouterr().err


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
    options = {"cwd": Path(__file__).parents[1], "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
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
        with monkeypatch.context() as patch, pytest.raises(UserError, match=r"\(No space left on device\): make room"):
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


def test_a_writer_takes_only_what_fits(tmp_path):
    with CacheEntry(tmp_path / "key").writer((2, 2, 3)) as writer:
        with pytest.raises(ValueError, match=r"image 0 is uint8 \(2, 2, 1\), not uint8 \(2, 2, 3\)"):
            writer.append(np.zeros((2, 2, 1), np.uint8))
        with pytest.raises(ValueError, match="image 0 is float32"):
            writer.append(np.zeros((2, 2, 3), np.float32))
        with pytest.raises(ValueError, match="1 labels for 0 images"):
            writer.finish(np.zeros(1, np.int32), {})


def test_links_are_followed_and_do_not_loop(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (8, 8)).save(elsewhere / "e.png")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "sub" / "up").symlink_to(folder)
    (elsewhere / "back").symlink_to(folder / "linked")
    (folder / "nowhere.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(folder / "pipe.png")
    names = open_source(str(folder)).names
    without_links = ["a.PNG", "broken.jpg", "empty.png", "sub/b.jpeg", "sub/d.gif", "sub/ünïcode/ç.webp"]
    assert names == sorted([*without_links, "linked/e.png", "nowhere.png"])
    assert "nowhere.png" in load(tmp_path, path=str(folder)).skipped


def test_hidden_folders_are_left_out(folder, tmp_path):
    hidden = folder / "sub" / ".thumbnails"
    hidden.mkdir()
    Image.new("RGB", (8, 8)).save(hidden / "a.png")
    assert not [name for name in open_source(str(folder)).names if ".thumbnails" in name]
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for name in ("./a.png", ".hidden/b.png", "c/.hidden/d.png", "c/e.png", "__MACOSX/._a.png"):
            file.writestr(name, b"")
    source = open_source(str(tmp_path / "images.zip"))
    assert source.names == ["./a.png", "c/e.png"]
    source.close()


def test_a_folder_that_cannot_be_listed_is_named(folder, caplog, monkeypatch):
    listed = Path.iterdir

    def iterdir(self):
        if self.name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert open_source(str(folder)).names == ["a.PNG", "broken.jpg", "empty.png"]
    assert caplog.text.count("sub cannot be listed (Permission denied): its images are missing") == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "nowhere"}, "data.path=nowhere: no such folder or zip"),
        ({"path": "{here}/empty"}, "no file ends in"),
        ({"path": "{here}/file.zip"}, "is not a readable zip"),
        ({"path": "{here}/bad"}, "none of 1 files can be read; the first, x.png, fails with"),
        ({"path": "{here}/bad", "background": "whiteish"}, "data.background='whiteish' is no color"),
        ({"tfds": "no_such_data_set"}, "tensorflow-datasets knows no such data set"),
    ],
)
def test_unusable_sources_are_named(tmp_path, fields, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"not an image")
    (tmp_path / "file.zip").write_bytes(b"not a zip")
    fields = {name: value.replace("{here}", str(tmp_path)) for name, value in fields.items()}
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("(", r"\(")):
        load(tmp_path, **fields)


def test_an_unprepared_tfds_set_says_how_to_prepare_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(UserError, match=r"file_format='array_record'\)\.download_and_prepare\(\)"):
        load(tmp_path, tfds="oxford_flowers102")


def test_a_prepared_tfds_set_is_read_without_tensorflow(tmp_path, folder):
    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        """Three images of two classes."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index, color in enumerate((RED, GREEN, BLUE)):
                path = folder.parent / f"{index}.png"
                Image.new("RGB", (12, 12), color).save(path)
                yield index, {"image": str(path), "label": index % 2}

    from fastgan_jax.data.tfds_source import TfdsSource

    Tiny(data_dir=tmp_path / "tfds", file_format="array_record").download_and_prepare()
    source = TfdsSource("tiny:1.0.0", "train", data_dir=str(tmp_path / "tfds"))
    colors = {tuple(decoded(source.read(index))[0, 0]) for index in range(3)}
    assert colors == {RED, GREEN, BLUE}
    assert sorted(source.labels(2)) == [0, 0, 1]
    with pytest.raises(UserError, match=r"model\.num_classes=3: .* has 2 classes"):
        source.labels(3)
    assert "tensorflow" not in sys.modules


def test_first_level_folders_are_classes(tmp_path):
    root = tmp_path / "classes"
    for index, name in enumerate(("cat", "dog")):
        (root / name / "deep").mkdir(parents=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(root / name / "deep" / "x.png")
    images = load(tmp_path, path=str(root), num_classes=2)
    assert images.labels.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"there are 2 subfolders \(cat, dog\); set model\.num_classes=2"):
        load(tmp_path, path=str(root), num_classes=3)
    Image.new("RGB", (8, 8)).save(root / "loose.png")
    with pytest.raises(UserError, match=r"loose\.png lies in no subfolder"):
        load(tmp_path, path=str(root), num_classes=2)


def test_image_names():
    assert all(is_image_name(name) for name in ("a.PNG", "b.JpEg", "c.tif", "ö.webp"))
    assert not any(is_image_name(name) for name in ("a.txt", "._a.png", "png"))


def test_demo_images_depend_on_seed_and_index_alone(tmp_path):
    few, many = draw_demo_set(2, 0, 32), draw_demo_set(4, 0, 32)
    np.testing.assert_array_equal(few, many[:2])
    assert len({image.tobytes() for image in many}) == 4
    assert not np.array_equal(draw_demo_image(1, 0, 32), few[0])
    images = load(tmp_path, demo_images=3, channels=4)
    assert images.images.shape == (3, 16, 16, 4) and (images.images[..., 3] == 255).all()
    assert (tmp_path / "run" / "data").is_dir()
    assert load(tmp_path, demo_images=3, channels=1).images.shape == (3, 16, 16, 1)


def test_a_demo_set_is_drawn_once_and_known_by_its_settings(tmp_path, monkeypatch):
    first = load(tmp_path, demo_images=2)
    assert first.fingerprint == "demo-2-0-16-3-v1"  # other results are kept under it
    np.testing.assert_array_equal(first.images, draw_demo_set(2, 0, 16))
    others = [{"demo_images": 3}, {"demo_seed": 1}, {"channels": 1}, {"resolution": 8}]
    fingerprints = {load(tmp_path, **{"demo_images": 2, **fields}).fingerprint for fields in others}
    assert len(fingerprints | {first.fingerprint}) == 5
    monkeypatch.setattr(dataset, "draw_demo_set", None)
    np.testing.assert_array_equal(load(tmp_path, demo_images=2).images, first.images)


sizes = st.integers(1, 40)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 1000), sizes)
def test_each_epoch_is_a_permutation(seed, epoch, size):
    assert sorted(epoch_order(seed, epoch, size)) == list(range(size))


@settings(max_examples=50, deadline=None)
@given(sizes, st.integers(1, 12), st.integers(0, 20), st.integers(1, 9))
def test_batches_run_through_the_epochs_and_resume_anywhere(size, batch, first, iterations):
    whole = batch_indices(3, 0, first + iterations, batch, size)
    np.testing.assert_array_equal(batch_indices(3, first, iterations, batch, size), whole[first:])
    flat = whole.ravel()
    for epoch in range(len(flat) // size):
        np.testing.assert_array_equal(flat[epoch * size : (epoch + 1) * size], epoch_order(3, epoch, size))


def test_order_is_frozen():
    assert epoch_order(0, 0, 10).tolist() == [3, 7, 6, 4, 1, 0, 2, 8, 5, 9]  # may never change
    assert not np.array_equal(epoch_order(0, 0, 10), epoch_order(0, 1, 10))


@pytest.fixture
def numbered():
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return ImageSet(images, np.arange(7, dtype=np.int32), [str(i) for i in range(7)], [], "f")


def test_streamed_and_resident_feeds_give_the_same_batches(numbered):
    resident = ResidentFeed(numbered, seed=1, batch_size=3)
    with StreamedFeed(numbered, 1, 3, 2, first_iteration=4) as streamed:
        for call in range(4):
            images, labels = next(streamed)
            rows = resident.indices(4 + 2 * call, 2)
            np.testing.assert_array_equal(labels, rows)
            np.testing.assert_array_equal(images[..., 0, 0, 0], rows)


def test_residence_by_size_or_by_setting(numbered):
    assert is_resident(numbered, "auto") and not is_resident(numbered, "auto", limit=10)
    assert is_resident(numbered, "true", limit=10) and not is_resident(numbered, "false")


@pytest.mark.parametrize(
    ("name", "count", "skipped"),
    [("raccoon", 200, 0), ("region_flags", 359, 8), ("noto_smileys", 108, 0), ("panda", 100, 0)],
)
def test_real_folders(shared_dir, tmp_path, name, count, skipped):
    images = load(tmp_path, path=str(shared_dir / "data" / name))
    assert len(images.images) + len(images.skipped) == count
    assert len(images.skipped) == skipped


def test_open_source_accepts_a_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open_source("~/images").names) == 6
