"""Decoding: every mode, aspect and orientation; what Pillow warns of."""

import io
import warnings

import numpy as np
import pytest
from image_sets import BLUE, GREEN, RED, decoded, encoded, load
from PIL import Image, ImageOps

from fastgan_jax.data.decode import Format, collected_warnings, decode
from fastgan_jax.errors import UserError


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_first_of_several_pages_is_turned_upright_once(orientation):
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (6, 10, 3), np.uint8))
    pages = {"save_all": True, "append_images": [Image.new("RGB", (3, 3))]}
    target, exif = Format(8, 3, "squash", "white"), with_orientation(orientation)
    one, several = (decode(encoded(image, "TIFF", exif=exif, **more), target) for more in ({}, pages))
    np.testing.assert_array_equal(several.pixels, one.pixels)
    assert several.size == one.size == ((10, 6) if orientation < 5 else (6, 10))
    assert several.notes == ["the first of 2 pages is read"]


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
    [((8, 3, "zoom", "white"), "data.fit='zoom': must be one of squash"), ((8, 2, "pad", "white"), "model.channels=2")],
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
