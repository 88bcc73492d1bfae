"""Training sets: messy files, every mode and aspect, the cache, the order, and both feeds."""

import io
import logging
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import base
from fastgan_jax.data import dataset
from fastgan_jax.data.cache import CacheEntry
from fastgan_jax.data.dataset import ImageSet, load_image_set
from fastgan_jax.data.decode import Format, decode
from fastgan_jax.data.demo import draw_demo_picture, draw_demo_set
from fastgan_jax.data.feed import ResidentFeed, StreamedFeed, is_resident
from fastgan_jax.data.order import batch_indices, epoch_order
from fastgan_jax.data.source import is_picture_name, open_source
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
    """Five pictures of which one is broken, in nested folders with awkward names."""
    root = tmp_path / "pictures"
    (root / "sub" / "ünïcode").mkdir(parents=True)
    Image.new("RGB", (20, 10), RED).save(root / "a.PNG")
    Image.new("RGB", (10, 10), GREEN).save(root / "sub" / "b.jpeg")
    Image.new("L", (10, 10), 128).save(root / "sub" / "ünïcode" / "ç.webp", lossless=True)
    Image.new("P", (10, 10)).save(root / "sub" / "d.gif")
    (root / "broken.jpg").write_bytes(encoded(Image.new("RGB", (64, 64), BLUE), "JPEG")[:300])
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("no picture")
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
    ids=["rgb", "grey", "bilevel", "transparent", "grey-alpha", "palette", "white16", "dark16", "cmyk"],
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
    grey = decoded(encoded(Image.new("RGB", (8, 8), (10, 10, 10))), channels=1)
    assert grey.shape == (8, 8, 1) and grey[0, 0, 0] == 10
    assert decoded(encoded(Image.new("CMYK", (8, 8)), "JPEG"), channels=4)[0, 0].tolist() == [255, 255, 255, 255]


def test_invisible_colour_does_not_bleed_into_edges():
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 31, 64))
    pixels = decoded(encoded(image), side=16, channels=4)
    assert pixels[..., 1][pixels[..., 3] > 16].max() <= 8


def test_exif_orientation_is_honoured():
    image = Image.new("RGB", (8, 8), RED)
    image.paste(BLUE, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by half a circle
    pixels = decoded(encoded(image, "PNG", exif=exif))
    assert tuple(pixels[0, 0]) == RED and tuple(pixels[7, 0]) == BLUE


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
    assert "skipped empty.png (no known picture format, 0 bytes)" in caplog.text
    assert "4 decoded to 16x16x3, 2 skipped" in caplog.text
    assert "1 not square (squash)" in caplog.text


def test_a_zip_holds_the_same_set(folder, tmp_path):
    archive = tmp_path / "pictures.zip"
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


def test_a_damaged_cache_entry_is_decoded_again(folder, tmp_path, caplog):
    first = load(tmp_path, path=str(folder))
    expected = np.array(first.images)
    (tmp_path / "cache" / first.fingerprint / "images.npy").write_bytes(b"damaged")
    again = load(tmp_path, path=str(folder))
    np.testing.assert_array_equal(again.images, expected)
    assert "is damaged" in caplog.text


def test_an_unusable_cache_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    entry = CacheEntry(tmp_path / "file" / "key")
    with pytest.raises(UserError, match=r"cannot be cached in .*set data\.cache_dir"):
        entry.write(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int32), {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "nowhere"}, "data.path=nowhere: no such folder or zip"),
        ({"path": "{here}/empty"}, "no file ends in"),
        ({"path": "{here}/file.zip"}, "is not a readable zip"),
        ({"path": "{here}/bad"}, "none of 1 files can be read; the first, x.png, fails with"),
        ({"path": "{here}/bad", "background": "whiteish"}, "data.background='whiteish' is no colour"),
        ({"tfds": "no_such_data_set"}, "tensorflow-datasets knows no such data set"),
    ],
)
def test_unusable_sources_are_named(tmp_path, fields, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"not a picture")
    (tmp_path / "file.zip").write_bytes(b"not a zip")
    fields = {name: value.replace("{here}", str(tmp_path)) for name, value in fields.items()}
    with pytest.raises(UserError, match=message.replace(".", r"\.").replace("(", r"\(")):
        load(tmp_path, **fields)


def test_an_unprepared_tfds_set_says_how_to_prepare_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(UserError, match=r"file_format='array_record'\)\.download_and_prepare\(\)"):
        load(tmp_path, tfds="oxford_flowers102")


def test_a_prepared_tfds_set_is_read_without_tensorflow(tmp_path, folder):
    import sys

    import tensorflow_datasets as tfds

    class Tiny(tfds.core.GeneratorBasedBuilder):
        """Three pictures of two classes."""

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


def test_picture_names():
    assert all(is_picture_name(name) for name in ("a.PNG", "b.JpEg", "c.tif", "ö.webp"))
    assert not any(is_picture_name(name) for name in ("a.txt", "._a.png", "png"))


def test_demo_pictures_depend_on_seed_and_index_alone(tmp_path):
    few, many = draw_demo_set(2, 0, 32), draw_demo_set(4, 0, 32)
    np.testing.assert_array_equal(few, many[:2])
    assert len({picture.tobytes() for picture in many}) == 4
    assert not np.array_equal(draw_demo_picture(1, 0, 32), few[0])
    images = load(tmp_path, demo_images=3, channels=4)
    assert images.images.shape == (3, 16, 16, 4) and (images.images[..., 3] == 255).all()
    assert (tmp_path / "run" / "data").is_dir()
    assert load(tmp_path, demo_images=3, channels=1).images.shape == (3, 16, 16, 1)


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
    assert len(open_source("~/pictures").names) == 6
