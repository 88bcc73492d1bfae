"""Images in array_record files."""

import io

import numpy as np
import pytest
from image_sets import BLUE, GREEN, RED, load
from PIL import Image

from fastgan_jax.errors import UserError

pytest.importorskip("array_record", reason="needs the package array_record, which comes with grain on Linux")


def write(path, colors):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for color in colors:
        content = io.BytesIO()
        Image.new("RGB", (12, 12), color).save(content, "png")
        writer.write(content.getvalue())
    writer.close()


def test_records_are_read_in_order_file_after_file(tmp_path):
    write(tmp_path / "one.array_record", [RED] * 30)
    shards = tmp_path / "shards"
    shards.mkdir()
    write(shards / "b.array_record", [GREEN])
    write(shards / "a.array_record", [RED, BLUE])
    one = load(tmp_path, path=str(tmp_path / "one.array_record"))
    assert one.names == [f"{index:06d}" for index in range(30)]
    assert (one.images == np.array(Image.new("RGB", (1, 1), RED))[0, 0]).all()
    several = load(tmp_path, path=str(shards))
    colors = np.array([Image.new("RGB", (1, 1), color).getpixel((0, 0)) for color in (RED, BLUE, GREEN)])
    np.testing.assert_array_equal(several.images[:, 0, 0], colors)
    assert one.fingerprint != several.fingerprint


def test_what_is_no_array_record_and_classes_without_names_are_refused(tmp_path):
    (tmp_path / "broken.array_record").write_bytes(b"no record" * 100)
    with pytest.raises(UserError, match=r"broken.array_record cannot be read as array_record \(.+\): write it anew"):
        load(tmp_path, path=str(tmp_path / "broken.array_record"))
    write(tmp_path / "good.array_record", [RED, GREEN])
    with pytest.raises(UserError, match=r"model.num_classes=2: .* has no folders for classes: give those of 000000"):
        load(tmp_path, path=str(tmp_path / "good.array_record"), num_classes=2)


def test_a_file_without_records_is_named(tmp_path):
    write(tmp_path / "none.array_record", [])
    with pytest.raises(UserError, match="there is no image in it"):
        load(tmp_path, path=str(tmp_path / "none.array_record"))
