"""Fixtures of the tests of training sets."""

import pytest
from image_sets import BLUE, GREEN, RED, encoded
from PIL import Image


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
