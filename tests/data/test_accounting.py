"""Counts of all files, and a run's data.json."""

import json

from fastgan_jax.data.accounting import Accounting, ReadFile, Unused, printable

FILES = Accounting(
    "folder x",
    [ReadFile("a/1.png", 10, 20, "RGB"), ReadFile("b/2.png", 5, 5, "L", ["odd (1)"])],
    [Unused("a/new\nline.png", "damaged")],
    [
        Unused("notes.txt", "not an image"),
        Unused("more.TXT", "not an image"),
        Unused("link.png", "the same file again: a/1.png"),
        Unused("other.png", "the same file again: b/2.png"),
        Unused("@eaDir/a.jpg", "in @eaDir"),
    ],
    {"a": 0, "b": 1},
)


def test_the_summary_counts_every_file():
    assert FILES.summary("64x64x3", "crop") == [
        "folder x: 2 decoded to 64x64x3, 1 skipped, 5 left out",
        "left out: 2 not an image (.txt), 2 the same file again, 1 in @eaDir",
        "file modes: 1 RGB, 1 L; 1 not square (crop)",
        'classes: "a" is 0, "b" is 1',
    ]


def test_the_warnings_name_files_in_one_line_each():
    assert FILES.warnings() == [
        r"skipped a/new\nline.png (damaged)",
        "b/2.png was decoded with a warning: odd (1)",
    ]
    many = [ReadFile(f"{i}.gif", 1, 1, "P", [f"the first of {i} frames is read"]) for i in range(2, 9)]
    (line,) = Accounting("x", many).warnings()
    assert line == (
        "7 files were decoded with warnings such as: the first of 2 frames is read "
        "(2.gif, 3.gif, 4.gif, 5.gif, 6.gif, ...)"
    )


def test_the_record_names_every_file():
    record = json.loads(json.dumps(FILES.record([0, 1])))
    assert record["counts"] == {"read": 2, "skipped": 1, "left_out": 5} and record["classes"] == {"a": 0, "b": 1}
    assert record["read"][0] == {"file": "a/1.png", "size": [10, 20], "mode": "RGB", "class": "a"}
    assert record["read"][1]["notes"] == ["odd (1)"]
    assert record["skipped"] == [{"file": "a/new\nline.png", "reason": "damaged"}]
    assert [entry["file"] for entry in record["left_out"]] == [file.name for file in FILES.left_out]


def test_names_are_printable():
    assert printable("日本 é\t\n\udce9") == r"日本 é\t\n\udce9"


def test_many_files_that_cannot_be_read_are_one_line():
    skipped = [Unused(f"{number}.jpg", f"cannot be read: byte {number}") for number in range(1000)]
    files = Accounting("folder x", [], [*skipped, Unused("a.png", "damaged")], [])
    assert files.warnings() == [
        "skipped 1000 files such as 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ... (cannot be read: byte 0)",
        "skipped a.png (damaged)",
    ]
