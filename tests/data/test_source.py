"""Folders and zips: which files are images, links, hidden and system folders, classes."""

import errno
import logging
import os
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import pytest
from image_sets import encoded, load
from PIL import Image

from fastgan_jax.data.source import is_image_name, open_source
from fastgan_jax.errors import UserError


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


def test_a_run_folder_among_the_images_is_left_out(folder):
    """As that of `fastgan train .`: its grids are no images to train on when it resumes."""
    run, before = folder / "runs" / "mine", open_source(str(folder)).names
    for inside in ("reals.png", "samples/000000100.png", "reconstructions/000000100.png"):
        (run / inside).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(run / inside)
    assert len(open_source(str(folder)).names) == len(before) + 3
    (run / "checkpoints" / "0").mkdir(parents=True)
    for inside in ("config.json", "checkpoints/0/d"):
        (run / inside).touch()
    source = open_source(str(folder))
    assert source.names == before
    assert [file.reason for file in source.left_out if file.name == "runs/mine"] == [
        "a run folder, whose images are made"
    ]
    with pytest.raises(
        UserError, match=f"{run} is a run folder, with images that were made: name the folder of the im"
    ):
        open_source(str(run))
    zipped = open_source(shutil.make_archive(str(folder.with_name("zipped")), "zip", folder))
    assert zipped.names == before
    zipped.close()
    with pytest.raises(UserError, match="holds a run folder, whose images are made: give a folder or zip of your own"):
        open_source(shutil.make_archive(str(folder.with_name("run")), "zip", run))
    shutil.rmtree(run / "checkpoints")  # as some users do to save room
    (run / "metrics.jsonl").touch()
    assert open_source(str(folder)).names == before


def test_names_in_a_zip_are_utf8_where_they_can_be(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for name in ("Kätzchen/ä.png", "b.png", "Kätzchen.csv"):
            file.writestr(name, b"")
    path = tmp_path / "images.zip"
    content = path.read_bytes()
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # without the flag, as Finder's are
        for found in list(re.finditer(signature, content)):
            place = found.start() + flags
            content = content[:place] + b"\0\0" + content[place + 2 :]
    path.write_bytes(content)
    with zipfile.ZipFile(path) as file:
        assert "Kätzchen/ä.png" not in file.namelist()
    source = open_source(str(path))
    assert source.names == ["Kätzchen/ä.png", "b.png"]
    assert source.read_other("Kätzchen.csv") == b""
    source.close()


def test_image_names():
    assert all(is_image_name(name) for name in ("a.PNG", "b.JpEg", "c.tif", "ö.webp"))
    assert not any(is_image_name(name) for name in ("a.txt", "._a.png", "png"))


def test_open_source_accepts_a_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open_source("~/pictures").names) == 6


def reasons(source) -> dict[str, str]:
    return {file.name: file.reason for file in source.left_out}


def picture(path: Path, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, kind)


def test_images_are_known_by_their_content(tmp_path, caplog):
    endings = {".avif": "AVIF", ".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000", ".tga": "TGA", ".ppm": "PPM"}
    kinds = {**{f"a{ending}": kind for ending, kind in endings.items()}, "none": "JPEG", "odd.jpg_large": "PNG"}
    kinds |= {"wrong.txt": "WEBP", "IMG.HEIC": "PNG", "no.ending.1": "BMP"}
    for name, kind in kinds.items():
        picture(tmp_path / "images" / name, kind)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "data.bin").write_bytes(bytes(2000))
    (tmp_path / "images" / "code.h").write_text("#define A\n")
    (tmp_path / "images" / "clip.mpg").write_bytes(b"\0\0\1\xb3" + bytes(100))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for path in (tmp_path / "images").iterdir():
            file.write(path, path.name)
    for path in (tmp_path / "images", tmp_path / "images.zip"):
        source = open_source(str(path))
        assert source.names == sorted(kinds)
        assert reasons(source) == dict.fromkeys(("clip.mpg", "code.h", "data.bin", "notes.txt"), "not an image")
        source.close()
        assert load(tmp_path, path=str(path)).names == sorted(kinds)


def test_folders_and_files_of_systems_are_left_out_and_counted(tmp_path):
    outside = {
        "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg": "in @eaDir",
        "__MACOSX/b.jpg": "in __MACOSX",
        "sub/$RECYCLE.BIN/b.jpg": "in $RECYCLE.BIN",
        "#recycle/b.jpg": "in #recycle",
        "System Volume Information/b.jpg": "in System Volume Information",
        "Trash/b.jpg": "in Trash: rename this folder to use it",
        "My.photoslibrary/resources/derivatives/b.jpg": "in resources",
        "a.jpg_original": "a backup copy",
        "sub/a.jpg~": "a backup copy",
        "x Previews.lrdata/b.jpg": "in x Previews.lrdata",
        ".thumbnails/b.jpg": "in a hidden folder",
        "sub/.b.jpg": "hidden",
        "Thumbs.db": "of the system",
        "desktop.ini": "of the system",
    }
    for name in (*outside, "a.jpg", "sub/trash.jpg"):
        picture(tmp_path / "images" / name, "JPEG")
    (tmp_path / "images" / "lost+found").mkdir()
    (tmp_path / "images" / "nothing").mkdir()
    source = open_source(str(tmp_path / "images"))
    assert source.names == ["a.jpg", "sub/trash.jpg"]
    assert reasons(source) == outside | {"nothing": "an empty folder"}
    library = shutil.copytree(tmp_path / "images" / "My.photoslibrary", tmp_path / "My.photoslibrary")
    picture(library / "originals" / "c.jpg", "JPEG")
    assert open_source(str(library)).names == ["originals/c.jpg"]
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for path in (tmp_path / "images").rglob("*"):
            file.write(path, path.relative_to(tmp_path / "images"))
    source = open_source(str(tmp_path / "images.zip"))
    assert source.names == ["a.jpg", "sub/trash.jpg"] and reasons(source) == outside
    source.close()


def test_a_set_without_images_says_what_is_there(tmp_path):
    picture(tmp_path / "images" / "@eaDir" / "a.jpg", "JPEG")
    (tmp_path / "images" / "a.txt").write_text("")
    message = r"there is no image in it \(1 in @eaDir, 1 not an image \(\.txt\)\)"
    with pytest.raises(UserError, match=message):
        open_source(str(tmp_path / "images"))


def test_the_same_file_counts_once(tmp_path):
    root = tmp_path / "images"
    for index in range(3):
        picture(root / "m" / f"{index}.png")
    (root / "a").symlink_to(root / "m")
    (root / "a.png").symlink_to(root / "m" / "0.png")
    os.link(root / "m" / "1.png", root / "z.png")
    (root / "copy.png").write_bytes((root / "m" / "0.png").read_bytes())
    (root / "m" / "up").symlink_to(tmp_path)
    source = open_source(str(root))
    assert source.names == ["copy.png", "m/0.png", "m/1.png", "m/2.png"]
    assert reasons(source) == {
        "a": "the same folder again: m",
        "a.png": "the same file again: m/0.png",
        "m/up/images": "the same folder again: the whole set",
        "z.png": "the same file again: m/1.png",
    }


def test_a_damaged_file_beside_the_images_of_a_zip_is_named(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", b"")
        file.writestr("dataset.json", b'{"labels": null}')
    path.write_bytes(path.read_bytes().replace(b'{"labels": null}', b'{"labels": NULL}'))
    source = open_source(str(path))
    assert source.read_other("other.json") is None
    with pytest.raises(UserError, match=r"dataset\.json in .*images\.zip cannot be read \(Bad CRC-32"):
        source.read_other("dataset.json")


def test_names_in_a_zip_are_normalized_and_duplicates_named(tmp_path, caplog):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file, warnings.catch_warnings(action="ignore"):
        for name, value in (
            ("set\\one\\a.png", 1),
            ("./set/two/b.png", 2),
            ("set//two/c.png", 3),
            ("set/one/a.png", 4),
        ):
            file.writestr(name, encoded(Image.new("L", (8, 8), value)))
        file.writestr("set/two/b.png", encoded(Image.new("L", (8, 8), 2)))
        file.writestr("set\\empty\\", b"")
        link = zipfile.ZipInfo("set/link.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "two/b.png")
    images = load(tmp_path, path=str(tmp_path / "images.zip"), num_classes=2)
    assert images.names == ["set/one/a.png", "set/two/b.png", "set/two/c.png"]
    assert images.images[:, 0, 0, 0].tolist() == [4, 2, 3] and images.labels.tolist() == [0, 1, 1]
    assert reasons(images.files) == {
        "set/one/a.png": "replaced by a later file of the same name in the zip",
        "set/two/b.png": "the same file again: set/two/b.png",
        "set/link.png": "a link in a zip",
    }
    assert "several files of the same name, the last is read: set/one/a.png" in caplog.text


@pytest.mark.parametrize("wrapper", ["", "one", "one/two"])
def test_folders_around_all_classes_are_seen_through(tmp_path, caplog, wrapper):
    root = tmp_path / "images" / wrapper
    for name in ("10/a.png", "2/deep/b.png", "1/c.png", "1/d.png"):
        picture(root / name)
    picture(tmp_path / "images" / "__MACOSX" / "x.png")
    with caplog.at_level(logging.INFO):
        images = load(tmp_path, path=str(tmp_path / "images"), num_classes=3)
    assert images.labels.tolist() == [0, 0, 1, 2] and dict(images.files.classes) == {"1": 0, "10": 1, "2": 2}
    assert 'classes: "1" is 0, "10" is 1, "2" is 2' in caplog.text
    (root / "3").mkdir()
    with pytest.raises(
        UserError, match=r"there are 3 subfolders .* set model\.num_classes=3; no image is taken from 3"
    ):
        load(tmp_path, path=str(tmp_path / "images"), num_classes=4)
    picture(root / "cover.png")
    with pytest.raises(UserError, match=r"cover\.png is not in a subfolder"):
        load(tmp_path, path=str(tmp_path / "images"), num_classes=3)


def test_a_class_without_a_readable_image_is_refused(tmp_path):
    for name in ("cat/a.png", "dog/b.png", "dog/c.png"):
        picture(tmp_path / "images" / name)
    for name in ("b", "c"):
        (tmp_path / "images" / "dog" / f"{name}.png").write_bytes(b"<html>")
    message = (
        r"class 1 \(dog\): none of its 2 files can be read; the first, dog/b\.png, fails with no known image format"
    )
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(UserError, match=message):
            load(tmp_path, path=str(tmp_path / "images"), num_classes=2)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.NEF", "a camera's raw file: export it as TIFF, PNG or JPEG"),
        ("a.svg", "vector graphics: export it as PNG"),
        ("a.jxl", "a format that Pillow does not read: export it as PNG"),
    ],
)
def test_images_of_other_kinds_are_refused_by_name(tmp_path, caplog, name, reason):
    """Of a raw file, which begins as a TIFF does, Pillow would read the preview."""
    picture(tmp_path / "images" / name, "TIFF")
    picture(tmp_path / "images" / "b.png")
    images = load(tmp_path, path=str(tmp_path / "images"))
    assert images.names == ["b.png"] and images.skipped == [name]
    assert f"skipped {name} ({reason})" in caplog.text
