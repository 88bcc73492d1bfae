"""Classes by a label file: JSON as StyleGAN's dataset.json, or CSV with a file and its label a line."""

import collections
import csv
import json
import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from fastgan_jax.data.accounting import named, printable
from fastgan_jax.errors import UserError

log = logging.getLogger(__name__)


def classes_by_file(text: str, names: Sequence[str], num_classes: int, where: str) -> tuple[list[int], list[str]]:
    """The class of each image of a set, and the names of the classes in the order of their numbers.

    A line of the file is about the image of that path; else about the images whose paths end so, or that it ends with,
    so that folders around either do not matter; of several lines, the one with most folders in common counts. Labels
    are numbers from 0 on, or names, which are numbered in sorted order; an empty one is none. The log names files that
    are not in the set.

    Args:
        text: JSON `{"labels": [["folder/a.png", 0], ...]}`, or that list alone, or `{"folder/a.png": 0, ...}`; or CSV
            lines `folder/a.png,0`, with comma, semicolon or tab between, and perhaps a line of titles.
        names: of the images, with / between folders.
        num_classes: how many classes there must be.
        where: names the file in messages.

    Raises:
        UserError: if the text is neither, an image has no label or several, or there are not `num_classes` classes.
    """
    rows = _json_rows(text, where) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text, names, where)
    by_path: dict[str, list[Any]] = collections.defaultdict(list)
    for file, label in rows:
        path = _composed("/".join(part for part in str(file).replace("\\", "/").split("/") if part not in ("", ".")))
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise UserError(
                f"{where}: the label of {printable(path)} is {label!r}: it must be the number or name of a class"
            )
        by_path[path] += [label] if str(label).strip() else []
    longer: dict[str, list[str]] = collections.defaultdict(list)  # paths, by what they end with
    for path in by_path:
        for end in _ends(path)[1:]:
            longer[end].append(path)
    labels, used = {}, set()
    for original in names:
        name = _composed(original)
        near = longer.get(name, []) if name not in by_path else [name]
        near = near or [end for end in _ends(name) if end in by_path][:1]
        given = list(dict.fromkeys(label for path in near for label in by_path[path]))
        if len(given) > 1:
            raise UserError(f"{where}: {printable(name)} has several labels, {given[0]} and {given[1]}: keep one")
        if given:
            labels[original] = given[0]
            used.update(near)
    if without := [name for name in names if name not in labels]:
        raise UserError(f"{where}: {len(without)} of {len(names)} images have no label ({named(without)}): add theirs")
    if absent := sorted({*by_path} - used):
        log.warning("%s names %d files that are not images of the set: %s", where, len(absent), named(absent))
    return _numbered([labels[name] for name in names], num_classes, where)


def _json_rows(text: str, where: str) -> list[tuple[Any, Any]]:
    try:
        content = json.loads(text, object_pairs_hook=_unique)
        rows = content.get("labels", content) if isinstance(content, dict) else content
        pairs = list(rows.items()) if isinstance(rows, dict) else [(file, label) for file, label in rows or []]
    except (ValueError, TypeError) as error:
        raise UserError(f'{where} is not of the form {{"labels": [["a.png", 0], ...]}} ({error})') from None
    return [(file, label[0] if isinstance(label, list) and len(label) == 1 else label) for file, label in pairs]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if repeated := [name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"{named(repeated)} stands in it more than once")
    return dict(pairs)


def _csv_rows(text: str, names: Sequence[str], where: str) -> list[tuple[str, Any]]:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise UserError(f"{where}: each line must be of the form file,label ({error})") from None
    if wrong := next((line for line, row in zip(lines, rows, strict=False) if len(row) != 2), None):
        raise UserError(f"{where}: each line must be of the form file,label, and one is {printable(wrong[:80])}")
    # Titles name no image, and have no ending where files have one, or no number where labels are numbers.
    images = {_composed(name).rsplit("/", 1)[-1] for name in names}
    if len(rows) > 1 and _composed(rows[0][0]).rsplit("/", 1)[-1] not in images:
        endings = [bool(PurePosixPath(file).suffix) for file, _ in rows[:2]]
        if endings == [False, True] or (_are_numbers(rows[1:]) and not _are_numbers(rows[:1])):
            rows = rows[1:]
    return [(file, label) for file, label in rows]


def _are_numbers(rows: Sequence[Sequence[str]]) -> bool:
    return all(_is_number(label) for _, label in rows)


def _is_number(label: int | str) -> bool:
    return isinstance(label, int) or bool(re.fullmatch(r"-?[0-9]+", label))


def _composed(path: str) -> str:
    """A path with each accented letter as one character: a Mac's file names have two, and look the same."""
    return unicodedata.normalize("NFC", path)


def _ends(path: str) -> list[str]:
    """The path, and what is left of it without its first folder, its first two and so on."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _numbered(labels: list[Any], num_classes: int, where: str) -> tuple[list[int], list[str]]:
    problem = f"model.num_classes={num_classes}:"
    if not all(map(_is_number, labels)):
        classes = sorted({str(label) for label in labels})
        if len(classes) != num_classes:
            raise UserError(
                f"{problem} {where} has {len(classes)} labels ({named(classes)}); set model.num_classes={len(classes)}"
            )
        numbers = {name: number for number, name in enumerate(classes)}
        return [numbers[str(label)] for label in labels], classes
    labels = [int(label) for label in labels]
    if min(labels) < 0 or max(labels) >= num_classes:
        some, count = f"{where} has labels from {min(labels)} to {max(labels)}", len(set(labels))
        cure = f"set model.num_classes={count}" if {*labels} == {*range(count)} else "number classes from 0 on"
        raise UserError(f"{problem} {some}: they must be 0 to {num_classes - 1}; {cure}")
    if empty := sorted(set(range(num_classes)) - set(labels)):
        raise UserError(
            f"{problem} in {where}, no image has the label {named(map(str, empty))}: number classes from 0 on"
        )
    return labels, [str(number) for number in range(num_classes)]
