"""Data sets of the library `datasets`, without a network."""

import io
import sys
import types
import zipfile

import numpy as np
import pytest
from image_sets import BLUE, GREEN, RED, decoded, load
from PIL import Image

from fastgan_jax.data.hf_source import HuggingFaceSource
from fastgan_jax.errors import UserError
from fastgan_jax.runs.config import load_config

datasets = pytest.importorskip("datasets", reason="the extra hf is not installed")
COLORS = (RED, GREEN, BLUE)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Prepared sets go into the test's folder, and nothing asks the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def png(color):
    file = io.BytesIO()
    Image.new("RGB", (12, 12), color).save(file, "PNG")
    return file.getvalue()


def table(**columns):
    """A set of one image of each color in the column `image`, and other columns."""
    images = [{"bytes": png(color), "path": None} for color in COLORS]
    return datasets.Dataset.from_dict({"image": images, **columns}).cast_column("image", datasets.Image())


def source(hf, **fields):
    data = load_config("base").data
    data.update(hf=str(hf), **{f"hf_{name}": value for name, value in fields.items()})
    return HuggingFaceSource(data)


def colors(opened):
    return [tuple(decoded(opened.read(index))[0, 0].tolist()) for index in range(len(opened.names))]


def test_a_parquet_file_is_read_with_its_classes(tmp_path):
    kinds = datasets.ClassLabel(names=["cat", "dog"])
    table(label=[1, 0, 1]).cast_column("label", kinds).to_parquet(tmp_path / "a.parquet")
    opened = source(tmp_path / "a.parquet")
    assert colors(opened) == [*COLORS] and opened.names == ["000000", "000001", "000002"]
    assert opened.labels(2) == [1, 0, 1] and opened.class_names(2) == ["cat", "dog"]
    with pytest.raises(UserError, match=r"model\.num_classes=3: .* has 2 classes in column label; set model.num_cl"):
        opened.labels(3)
    assert colors(source(tmp_path / "a.parquet", split="train[1:]")) == [GREEN, BLUE]


def test_a_folder_of_parquet_files_and_one_of_images_are_the_same_set(tmp_path):
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    table().to_parquet(tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet")
    for index, color in enumerate(COLORS):
        path = tmp_path / "images" / "train" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(color))
    first, second = source(tmp_path / "parquet"), source(tmp_path / "images")
    assert colors(first) == colors(second) == [*COLORS]
    assert first.fingerprint() == second.fingerprint()
    (tmp_path / "images" / "train" / "2.png").write_bytes(png(RED))
    assert source(tmp_path / "images").fingerprint() != first.fingerprint()


def test_a_folder_of_a_zip_is_read(tmp_path):
    (tmp_path / "set" / "train").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "set" / "train" / "all.zip", "w") as file:
        for index, color in enumerate(COLORS):
            file.writestr(f"{index}.png", png(color))
    assert colors(source(tmp_path / "set")) == [*COLORS]


def test_images_that_are_not_marked_as_such(tmp_path):
    rows = [{"bytes": png(color), "path": f"{index}.png"} for index, color in enumerate(COLORS)]
    datasets.Dataset.from_dict({"image": rows, "size": [12] * 3}).to_parquet(tmp_path / "a.parquet")
    for fields in ({}, {"column": "image"}):
        assert colors(source(tmp_path / "a.parquet", **fields)) == [*COLORS]


def test_a_folder_of_the_packages_name_is_not_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", types.ModuleType("datasets"))
    with pytest.raises(UserError, match=r"needs the package datasets: pip install 'fastgan_jax\[hf\]'"):
        source(tmp_path)


def test_a_saved_set_with_named_columns(tmp_path):
    depth = [{"bytes": png(BLUE), "path": None}] * 3
    both = table(kind=["b", "a", None], other=[10, 20, 10], depth=depth).rename_column("image", "photo")
    both = both.cast_column("depth", datasets.Image())
    datasets.DatasetDict({"test": both}).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"several columns of images \(photo, depth\): set data.hf_column"):
        source(tmp_path / "saved", split="test")
    opened = source(tmp_path / "saved", split="test", column="photo", labels="other")
    assert colors(opened) == [*COLORS]
    assert opened.labels(2) == [0, 1, 0] and opened.class_names(2) == ["10", "20"]
    with pytest.raises(UserError, match=r"data\.hf_column=nothing: must be one of photo, depth"):
        source(tmp_path / "saved", split="test", column="nothing")
    with pytest.raises(UserError, match=r"data\.hf_column=other holds .*int64.*: must hold images, their bytes or"):
        source(tmp_path / "saved", split="test", column="other")
    with pytest.raises(UserError, match="has no column label for classes: must be one of photo, kind, other, depth"):
        source(tmp_path / "saved", split="test", column="photo").labels(2)


def test_classes_that_are_missing_are_named(tmp_path):
    table(label=["b", "a", None]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"1 row\(s\) of .* have no class in column label"):
        source(tmp_path / "a.parquet").labels(2)


def test_a_row_without_an_image_is_skipped_by_name(tmp_path, caplog):
    rows = [
        {"bytes": png(RED), "path": None},
        None,
        {"bytes": b"nothing", "path": None},
        dict.fromkeys(("bytes", "path")),
    ]
    datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image()).to_parquet(
        tmp_path / "a.parquet"
    )
    loaded = load(tmp_path, hf=str(tmp_path / "a.parquet"))
    assert len(loaded.images) == 1 and np.all(loaded.images[0] == RED)
    assert [*loaded.skipped] == ["000001", "000002", "000003"]
    assert "there is no image in this row" in caplog.text


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hf": "nobody/nothing"}, "data.hf=nobody/nothing, data.hf_split=train cannot be loaded"),
        ({"hf": "a.csv"}, r"a.csv does not end in .parquet or .arrow"),
        ({"hf": "a.parquet", "split": "test"}, "data.hf_split=test cannot be loaded"),
        ({"hf": "s3://bucket/a"}, "s3://bucket/a is an address"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(tmp_path, monkeypatch, fields, message):
    monkeypatch.chdir(tmp_path)
    table().to_parquet("a.parquet")
    (tmp_path / "a.csv").write_text("image\n")
    with pytest.raises(UserError, match=message) as error:
        source(**fields)
    assert "\n" not in str(error.value)


def test_a_saved_set_is_split_and_sliced(tmp_path):
    rows = table(image=[png(color) for color in ("red", "blue", "green", "white")])
    rows.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows.select([3])}).save_to_disk(str(tmp_path / "two"))
    assert len(source(tmp_path / "one").names) == 4
    assert len(source(tmp_path / "one", split="train[:2]").names) == 2
    assert len(source(tmp_path / "two", split="train[1:]+test").names) == 4
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    part = datasets.load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"), split="train[:3]")
    part.save_to_disk(str(tmp_path / "part"))
    assert len(source(tmp_path / "part", split="train[:2]").names) == 2
    with pytest.raises(UserError, match="data.hf_split=test cannot be loaded"):
        source(tmp_path / "one", split="test")


def test_lists_are_no_classes(tmp_path):
    table(image=[png("red")], label=[[0, 1]]).to_parquet(str(tmp_path / "a.parquet"))
    with pytest.raises(UserError, match="data.hf_labels=label: column label of .* not one class of each image"):
        source(tmp_path / "a.parquet").labels(2)
