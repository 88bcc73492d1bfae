"""Folders and zips: which files are images, links, hidden folders."""

import errno
import os
import zipfile
from pathlib import Path

from image_sets import load
from PIL import Image

from fastgan_jax.data.source import is_image_name, open_source


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
    assert source.names == ["a.png", "c/e.png"]
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


def test_image_names():
    assert all(is_image_name(name) for name in ("a.PNG", "b.JpEg", "c.tif", "ö.webp"))
    assert not any(is_image_name(name) for name in ("a.txt", "._a.png", "png"))


def test_open_source_accepts_a_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open_source("~/pictures").names) == 6
