"""Training sets: messy files, decoded once, with their faults named."""

import logging
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_sets import BLUE, decoded, encoded, load
from PIL import Image

from fastgan_jax.data import dataset, decode
from fastgan_jax.data.demo import draw_demo_image
from fastgan_jax.errors import UserError
from fastgan_jax.utils import console


def test_a_folder_is_read_with_its_faults_named(folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger=dataset.__name__):
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

    monkeypatch.setattr(decode, "decode", forbidden)
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
    monkeypatch.setattr(console, "on_terminal", lambda: True)
    load(tmp_path, path=str(folder), resolution=8)
    assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "nowhere"}, "data.path=nowhere: no such folder or zip"),
        ({"path": "{here}/empty"}, "there is no image in it"),
        ({"path": "{here}/file.zip"}, "is not a readable zip"),
        ({"path": "{here}/bad"}, "none of 1 files can be read; the first, x.png, fails with"),
        ({"path": "{here}/bad", "background": "whiteish"}, "data.background='whiteish' is not a color"),
        ({"tfds": "no_such_data_set"}, "tensorflow-datasets has no such data set"),
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
    with pytest.raises(UserError, match=r"loose\.png is not in a subfolder"):
        load(tmp_path, path=str(root), num_classes=2)


def test_a_demo_set_is_drawn_once_and_known_by_its_settings(tmp_path, monkeypatch):
    first = load(tmp_path, demo_images=2)
    assert first.fingerprint == "demo-2-0-16-3-v2"  # other results are kept under it
    np.testing.assert_array_equal(first.images, [draw_demo_image(0, index, 16) for index in range(2)])
    others = [{"demo_images": 3}, {"demo_seed": 1}, {"channels": 1}, {"resolution": 8}]
    fingerprints = {load(tmp_path, **{"demo_images": 2, **fields}).fingerprint for fields in others}
    assert len(fingerprints | {first.fingerprint}) == 5
    monkeypatch.setattr(dataset, "draw_demo_image", None)
    np.testing.assert_array_equal(load(tmp_path, demo_images=2).images, first.images)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "skipped"),
    [("raccoon", 200, 0), ("region_flags", 359, 8), ("noto_smileys", 108, 0), ("panda", 100, 0)],
)
def test_real_folders(shared_dir, tmp_path, name, count, skipped):
    images = load(tmp_path, path=str(shared_dir / "data" / name))
    assert len(images.images) + len(images.skipped) == count
    assert len(images.skipped) == skipped
