"""Classes by a label file."""

import json
import logging
import zipfile

import pytest
from image_sets import load
from PIL import Image

from fastgan_jax.data.labels import classes_by_file
from fastgan_jax.errors import UserError

NAMES = ["a.png", "b/a.png", "b/c.png"]
LISTED = [["a.png", 0], ["b/a.png", 2], ["b/c.png", 1]]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"labels": LISTED}),
        json.dumps(LISTED),
        json.dumps(dict(LISTED)),
        json.dumps({name: str(label) for name, label in LISTED}),
        "a.png,0\nb/a.png,2\nb/c.png,1\nabsent.png,unknown",
        json.dumps({"labels": [["./a.png", [0]], ["b\\a.png", [2]], ["/b/c.png", [1]]]}),
        "a.png,0\nb/a.png,2\nb/c.png,1\n",
        "file;label\r\na.png; 0\r\nb\\a.png; 2\r\n\r\nb/c.png; 1",
        "a.png\t0\nb/a.png\t2\nb/c.png\t1",
        '"a.png","0"\nb/a.png,2\nc.png,1',
        "photos/b/a.png,2\nphotos/b/c.png,1\na.png,0",
    ],
)
def test_every_form_gives_the_same_classes(text):
    assert classes_by_file(text, NAMES, 3, "labels") == ([0, 2, 1], ["0", "1", "2"])


def test_more_labels_than_classes_are_as_many_as_are_advised():
    text = "a.png,0\nb/a.png,1\nb/c.png,2"
    with pytest.raises(UserError, match=r"they must be 0 to 1; set model\.num_classes=3"):
        classes_by_file(text, NAMES, 2, "labels")


def test_a_letter_and_its_accent_are_the_same_in_one_character_or_two():
    for file, name in (("k\u00e4.png", "ka\u0308.png"), ("ka\u0308.png", "k\u00e4.png")):
        assert classes_by_file(f"{file},0\nb.png,1", [name, "b.png"], 2, "labels")[0] == [0, 1]


def test_names_of_classes_are_numbered_in_sorted_order():
    text = "file,label\na.png,dog\nb/a.png,cat\nb/c.png,dog"
    assert classes_by_file(text, NAMES, 2, "labels") == ([1, 0, 1], ["cat", "dog"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,0\nb/a.png,1", r"1 of 3 images have no label \(b/c\.png\)"),
        ("", "3 of 3 images have no label"),
        ("a.png,\nb/a.png,cat\nb/c.png,dog", r"1 of 3 images have no label \(a\.png\)"),
        ('{"a.png": " ", "b/a.png": "cat", "b/c.png": "dog"}', r"1 of 3 images have no label \(a\.png\)"),
        ("a.png,-1\nb/a.png,0\nb/c.png,1", r"labels from -1 to 1: they must be 0 to 2; number classes from 0 on"),
        ('{"labels": null}', "3 of 3 images have no label"),
        ('{"a.png": 0, "a.png": 1}', r"\(a\.png stands in it more than once\)"),
        ("a.png,0\na.png,1\nb/a.png,2\nb/c.png,1", r"a\.png has several labels, 0 and 1"),
        ("a.png,0\nb/a.png,1\nb/c.png,5", r"model\.num_classes=3: .* labels from 0 to 5: .* number classes from 0 on"),
        ("a.png,1\nb/a.png,2\nb/c.png,3", r"labels from 1 to 3: they must be 0 to 2; number classes from 0 on"),
        ("a.png,0\nb/a.png,0\nb/c.png,2", r"no image has the label 1"),
        ("a.png,x\nb/a.png,y\nb/c.png,x", r"has 2 labels \(x, y\); set model\.num_classes=2"),
        ("a.png,0,1", "each line must be of the form file,label, and one is a.png,0,1"),
        ('a.png,"0' + "0" * 2**17, "each line must be of the form file,label .field larger than field limit"),
        ('[["a.png", 0.5]]', "the label of a.png is 0.5: it must be the number or name of a class"),
        ('{"labels": ', "is not of the form"),
        ('{"labels": [1]}', "is not of the form"),
    ],
)
def test_what_is_wrong_with_a_label_file_is_named(text, message):
    with pytest.raises(UserError, match=message):
        classes_by_file(text, NAMES, 3, "labels")


def test_the_path_with_most_folders_in_common_counts():
    names = ["b/a.png", "x/b/a.png", "c/a.png"]
    text = "photos/x/b/a.png,0\nb/a.png,1\na.png,2"
    assert classes_by_file(text, names, 3, "labels")[0] == [1, 0, 2]
    with pytest.raises(UserError, match=r"a\.png has several labels, 0 and 1"):
        classes_by_file("x/a.png,0\ny/a.png,1", ["a.png"], 2, "labels")


def test_labels_of_absent_files_are_named(caplog):
    classes_by_file("a.png,0\nb/a.png,1\nb/c.png,2\nz.png,2", NAMES, 3, "labels")
    assert "labels names 1 files that are not images of the set: z.png" in caplog.text


def test_a_set_takes_its_classes_from_a_file_or_from_one_inside(tmp_path, caplog, monkeypatch):
    root = tmp_path / "images"
    for folder, name in (("00000", "a.png"), ("00000", "b.png"), ("00001", "c.png")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / folder / name)
    (tmp_path / "labels.csv").write_text("file,label\na.png,round\nb.png,square\nc.png,round\n", encoding="utf-8-sig")
    with caplog.at_level(logging.INFO):
        images = load(tmp_path, path=str(root), num_classes=2, labels=str(tmp_path / "labels.csv"))
    assert images.labels.tolist() == [0, 1, 0] and dict(images.files.classes) == {"round": 0, "square": 1}
    assert 'classes: "round" is 0, "square" is 1' in caplog.text
    content = json.dumps({"labels": [["00000/a.png", 1], ["00000/b.png", 1], ["00001/c.png", 0]]})
    (root / "dataset.json").write_text(content)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for path in root.rglob("*.*"):
            file.write(path, path.relative_to(root))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "dataset.json").write_text("not the one among the images")
    monkeypatch.chdir(tmp_path / "here")
    for path in (root, tmp_path / "images.zip"):
        images = load(tmp_path, path=str(path), num_classes=2, labels="dataset.json")
        assert images.labels.tolist() == [1, 1, 0]
        with pytest.raises(UserError, match=r"data\.labels=none\.json: there is no such file, neither here nor in"):
            load(tmp_path, path=str(path), num_classes=2, labels="none.json")


@pytest.mark.parametrize("titles", ["", "file,label\n", "Bild;Klasse\n"])
def test_titles_are_no_image_though_files_have_no_ending(titles, caplog):
    names = [f"{number:06d}" for number in range(12)]
    delimiter = ";" if ";" in titles else ","
    text = titles + "".join(f"{name}{delimiter}{number}\n" for number, name in enumerate(names))
    assert classes_by_file(text, names, 12, "x")[0] == list(range(12)) and not caplog.records
