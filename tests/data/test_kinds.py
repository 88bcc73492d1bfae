"""HEIC with its optional package and without, and kinds by content."""

import io

import numpy as np
import pytest
from image_sets import RED, encoded, load
from PIL import Image

from fastgan_jax.data import decode as decoding
from fastgan_jax.data import kinds
from fastgan_jax.data.decode import Format, decode

pytest.importorskip("pillow_heif")


@pytest.fixture
def photo() -> bytes:
    """A HEIC file of 64x32 pixels, red above and blue below, that lies on its side."""
    assert kinds.heif_support()
    Image.init()  # all formats are known before one is taken away
    image = Image.new("RGB", (64, 32), RED)
    image.paste((0, 0, 255), (0, 16, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, "HEIF", quality=95, exif=exif.tobytes())  # as bytes, from which the file's own turn is made


def test_a_heic_file_is_read_upright(photo):
    decoded = decode(photo, Format(32, 3, "squash", "white"))
    assert decoded.size == (32, 64) and not decoded.notes
    assert np.abs(decoded.pixels[16, [2, 29]].astype(int) - [(0, 0, 255), RED]).max() < 12


def test_without_its_package_a_heic_file_is_named_and_read_once_that_is_there(photo, tmp_path, caplog, monkeypatch):
    (tmp_path / "images").mkdir()
    for name in ("a.HEIC", "renamed.jpg", "none"):
        (tmp_path / "images" / name).write_bytes(photo)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "b.png")
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "heif_support", lambda: False)
        patch.setattr(Image, "OPEN", {name: entry for name, entry in Image.OPEN.items() if name != "HEIF"})
        patch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
        images = load(tmp_path, path=str(tmp_path / "images"))
    assert images.names == ["b.png"] and images.skipped == ["a.HEIC", "none", "renamed.jpg"]
    assert "skipped a.HEIC (HEIC needs another package: pip install 'fastgan_jax[heif]')" in caplog.text
    assert load(tmp_path, path=str(tmp_path / "images")).names == ["a.HEIC", "b.png", "none", "renamed.jpg"]


def test_vector_graphics_are_refused_though_pillow_may_draw_them(tmp_path, caplog):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.eps")
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "b.png")
    assert load(tmp_path, path=str(tmp_path / "images")).skipped == ["a.eps"]
    assert "skipped a.eps (vector graphics: export it as PNG)" in caplog.text


def test_only_formats_with_a_signature_are_known_by_content():
    image = Image.new("RGB", (8, 8))
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "GIF", "BMP", "JPEG2000", "PPM", "QOI", "ICO", "HEIF"):
        assert kinds.holds_image(io.BytesIO(encoded(image, kind))), kind
    for content in (encoded(image, "TGA"), b"%!PS-Adobe", b"", bytes(1000), b"text\n" * 99, encoded(image)[:20]):
        assert not kinds.holds_image(io.BytesIO(content))
