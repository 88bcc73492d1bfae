"""What became of every file of a training set: read, skipped, or left out, and why."""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

NAMED = 5  # files that one line of the log names
NOT_AN_IMAGE = "not an image"


class Unused(NamedTuple):
    """A file that gave no image, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ReadFile:
    """A file that was read."""

    name: str  # with / between folders
    width: int  # in pixels, upright, before it was fitted
    height: int
    mode: str  # of the file: RGB, L, CMYK, ...
    notes: Sequence[str] = ()  # what was odd about it


@dataclass(frozen=True)
class Accounting:
    """Every file that a source holds, once."""

    source: str  # for messages, such as "folder /my/images"
    read: Sequence[ReadFile] = ()  # in the order of the set's rows
    skipped: Sequence[Unused] = ()  # images that could not be read
    left_out: Sequence[Unused] = ()  # no images, hidden, in system folders, or the same file again
    classes: Mapping[str, int] = field(default_factory=dict)  # name of a class: its number

    def summary(self, size: str, fit: str) -> list[str]:
        """Counts of all files, in lines for the log; `size` and `fit`: what images were decoded to."""
        unused = f"{len(self.skipped)} skipped, {len(self.left_out)} left out"
        lines = [f"{self.source}: {len(self.read)} decoded to {size}, {unused}"]
        if self.left_out:
            lines.append(f"left out: {counted_reasons(self.left_out)}")
        modes = collections.Counter(file.mode for file in self.read)
        not_square = sum(file.width != file.height for file in self.read)
        counts = ", ".join(f"{count} {mode}" for mode, count in modes.most_common())
        lines.append(f"file modes: {counts}; {not_square} not square ({fit})")
        if self.classes:
            named = (f'"{printable(name)}" is {number}' for name, number in self.classes.items())
            lines.append(f"classes: {', '.join(named)}")
        return lines

    def warnings(self) -> list[str]:
        """Skipped files with their reasons, and what was odd about files that were read, for the log."""
        lines = []
        for unread in _alike((file.name, file.reason) for file in self.skipped):
            if len(unread) <= NAMED:
                lines += [f"skipped {printable(name)} ({printable(reason)})" for name, reason in unread]
            else:
                reason, names = printable(unread[0][1]), named(name for name, _ in unread)
                lines.append(f"skipped {len(unread)} files such as {names} ({reason})")
        for noted in _alike((file.name, note) for file in self.read for note in file.notes):
            if len(noted) <= NAMED:
                lines += [f"{printable(name)} was decoded with a warning: {printable(note)}" for name, note in noted]
            else:
                note, names = printable(noted[0][1]), named(name for name, _ in noted)
                lines.append(f"{len(noted)} files were decoded with warnings such as: {note} ({names})")
        return lines

    def record(self, labels: Sequence[int]) -> dict[str, Any]:
        """The content of data.json; `labels` are the numbers of the classes of the files that were read."""
        names = {number: name for name, number in self.classes.items()}
        read = []
        for file, label in zip(self.read, labels, strict=True):
            entry = {"file": file.name, "size": [file.width, file.height], "mode": file.mode}
            entry |= {"class": names[int(label)]} if names else {}
            read.append(entry | ({"notes": list(file.notes)} if file.notes else {}))
        unused = {
            kind: [{"file": file.name, "reason": file.reason} for file in files]
            for kind, files in (("skipped", self.skipped), ("left_out", self.left_out))
        }
        counts = {"read": len(self.read), "skipped": len(self.skipped), "left_out": len(self.left_out)}
        return {"source": self.source, "counts": counts, "classes": dict(self.classes), **unused, "read": read}


def _alike(said: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    """Pairs (file, what is said of it) in groups that differ in numbers or in what stands in brackets."""
    groups = collections.defaultdict(list)
    for name, text in said:
        groups[re.sub(r"\d+|\(.*", "", text)].append((name, text))
    return groups.values()


def named(names: Iterable[str]) -> str:
    """The first few of some names, for one line."""
    listed = [printable(name) for name in names]
    return ", ".join(listed[:NAMED]) + (", ..." if len(listed) > NAMED else "")


def printable(text: str) -> str:
    """A text, such as the name of a file, fit for one line of any UTF-8 console: other characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def counted_reasons(files: Sequence[Unused]) -> str:
    """The reasons with their numbers, such as "3 hidden, 2 not an image (.txt)"."""
    counts: collections.Counter[str] = collections.Counter()
    for file in files:
        reason = file.reason.split(": ", 1)[0]  # without what is particular to one file
        kind = PurePosixPath(file.name).suffix.lower() or "no ending"
        counts[f"{reason} ({kind})" if reason == NOT_AN_IMAGE else reason] += 1
    return ", ".join(f"{count} {printable(reason)}" for reason, count in counts.most_common())
