"""Damaged settings and files, drawn by hypothesis: each is used, or refused in one line; nothing hangs or runs code.

A property takes hypothesis' `data`. `fuzz` draws for minutes; tests/faults/test_fuzz.py draws a few, always the same.
"""

import contextlib
import functools
import io
import itertools
import json
import os
import pickle
import resource
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from fastgan_jax.build import spec_from_config
from fastgan_jax.data.decode import Decoded, Format, collected_warnings, decode_or_reason
from fastgan_jax.data.source import ZipSource
from fastgan_jax.errors import UserError
from fastgan_jax.pretrained.formats import read_arrays, write_arrays
from fastgan_jax.report.page import write_report
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.checkpoint import Checkpoints, checksum, find_checkpoint, load_sampler, load_state, newest_config
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import read_metrics
from fastgan_jax.utils import files

MEMORY = 2**31  # bytes that a case may take beyond what the process has
SECONDS = 20  # of a core that a case may take
TEXTS = (
    "",
    " ",
    "none",
    "None",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e999",
    "1_0",
    "0x10",
    "९",
    "true",
    "a,b",
    "\0",
    "é",
)
VALUES = (None, True, -1, 0, 1.5, float("nan"), 10**30, "", "x", [], [1], {}, {"a": 1})  # of other types, in JSON

random_values = st.sampled_from(VALUES)
Property = Callable[[st.DataObject], None]


@functools.cache
def folder() -> Path:
    """A folder for the files of all cases."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


def refused(function: Callable[[], Any]) -> UserError | None:
    """Runs a function: None, or the UserError that it raised, which must have one line. Others are findings."""
    try:
        function()
    except UserError as error:
        assert str(error) and "\n" not in str(error), f"not one line: {error}"
        return error
    return None


def changed(data: st.DataObject, content: bytes) -> bytes:
    """The bytes with a few changed, or cut off, or with others put in between."""
    kind = data.draw(st.sampled_from(("change", "change", "cut", "insert", "remove")))
    place = data.draw(st.integers(0, max(0, len(content) - 1)))
    if kind == "cut":
        return content[:place]
    if kind == "insert":
        return content[:place] + data.draw(st.binary(min_size=1, max_size=8)) + content[place:]
    if kind == "remove":
        return content[:place] + content[place + data.draw(st.integers(1, 64)) :]
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        if damaged:
            damaged[place % len(damaged)] = data.draw(st.integers(0, 255))
            place = data.draw(st.integers(0, len(damaged) - 1))
    return bytes(damaged)


def changed_json(data: st.DataObject, content: bytes) -> bytes:
    """JSON with one of its values replaced by one of another type, or removed."""
    value = json.loads(content)
    holder, key = None, None
    inside = value
    while isinstance(inside, dict | list) and inside and (holder is None or data.draw(st.integers(0, 4))):
        holder = inside
        key = data.draw(st.sampled_from([*holder] if isinstance(holder, dict) else range(len(holder))))
        inside = holder[key]
    if holder is None or not data.draw(st.integers(0, 9)):
        value = data.draw(random_values)
    elif data.draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = data.draw(random_values)
    return json.dumps(value).encode()


# Settings.


def checked(config: Any) -> None:
    """What `fastgan train` does with a configuration before it reads images."""
    configuration.validate(config, check_source=False)
    json.dumps(configuration.to_dict(config))
    spec_from_config(config)


def overrides(data: st.DataObject) -> None:
    """Any field, also one that does not exist, set to any text on the command line."""
    config = configuration.load_config("smoke")
    names = sorted(configuration.flatten(config))
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(
            st.sampled_from(names) | st.text(max_size=8) | st.sampled_from(names).map(lambda name: name[:-1])
        )
        text = data.draw(st.sampled_from(TEXTS) | st.text(max_size=8) | st.integers().map(str) | st.floats().map(str))
        refused(lambda name=name, text=text: configuration.apply_overrides(config, [(name, text)]))
    refused(lambda: checked(config))


def values_of_other_types(data: st.DataObject) -> None:
    """A field that a user's file or a run's config.json sets to any value, or a group that is something else."""
    values = configuration.to_dict(configuration.load_config("smoke"))
    group = data.draw(st.sampled_from(sorted(values)))
    if data.draw(st.integers(0, 9)):
        values[group][data.draw(st.sampled_from(sorted(values[group])))] = data.draw(random_values | st.integers())
    else:
        values[group] = data.draw(random_values)
    path = folder() / "config.json"
    path.write_text(json.dumps({"config": values}), encoding="utf-8")
    refused(lambda: checked(configuration.load_config(path)))
    python = folder() / "config.py"
    head = "import ml_collections\nfrom math import inf, nan\n\n\ndef get_config():\n"
    python.write_text(f"{head}    return ml_collections.ConfigDict({values!r})\n", encoding="utf-8")
    refused(lambda: checked(configuration.load_config(python)))


# Run folders.


def small_state(step: int) -> dict[str, Any]:
    values = np.random.RandomState(step).standard_normal((40, 50)).astype(np.float32)
    return {"a": {"kernel": jnp.asarray(values)}, "rng": jax.random.key(step), "step": jnp.int32(step)}


@functools.cache
def small_run() -> Path:
    """A run folder with two small checkpoints, of which the first was evaluated, and a log."""
    run = folder() / "run"
    config = configuration.to_dict(configuration.load_config("smoke"))
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        for step in (1, 2):
            state, metrics = small_state(step), {"fid": 3.0} if step == 1 else None
            parts = {"state": state, "sampler": state["a"], "config": config, "data": {"iteration": step}}
            checkpoints.save(step, **parts, metrics=metrics)
    RunFolder(run).write_config(config, device="cpu")
    lines = [{"step": step, "wall_time": 1.0 + step, "loss/d": 1.0, "eval/fid": 3.0} for step in (1, 2)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (run / "data.json").write_text(json.dumps({"read": [{"file": "a.png"}], "skipped": []}), encoding="utf-8")
    evaluation = {"steps": [1], "values": [{"fid": 3.0}]}
    (run / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    return run


def damaged_copy(data: st.DataObject, patterns: tuple[str, ...], change: Callable | None = None) -> tuple[Path, Path]:
    """A copy of `small_run` of which one file is changed, and the name of that file."""
    source, run = small_run(), folder() / "copy"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(source, run)
    files = {file.relative_to(run) for pattern in patterns for file in run.glob(pattern) if file.is_file()}
    # Names that Orbax draws at random must not decide which case this is.
    ordered = sorted(files, key=lambda name: (len(name.parts), name.parent, (source / name).stat().st_size, name))
    name = data.draw(st.sampled_from(ordered), label="file")
    content = (run / name).read_bytes()
    if change is None and data.draw(st.integers(0, 7)) == 7:
        (run / name).unlink()
    else:
        (run / name).write_bytes((change or changed)(data, content))
    return run, name


def same(tree: Any, expected: Any) -> bool:
    return checksum(tree) == checksum(expected)


def bytes_of_a_run(data: st.DataObject) -> None:
    """A changed byte in any file of a run: what is read is what was written, or it is refused, or an older one."""
    run, name = damaged_copy(data, ("checkpoints/**/*", "*.json*"))
    read_run(run)
    use_checkpoints(run, name)


def values_of_a_run(data: st.DataObject) -> None:
    """Another value in any JSON file of a run."""
    patterns = (
        "*.json",
        "checkpoints/*/config/metadata",
        "checkpoints/*/data/metadata",
        "checkpoints/*/metrics/metrics",
    )
    run, name = damaged_copy(data, patterns, changed_json)
    read_run(run)
    use_checkpoints(run, name)


def read_run(run: Path) -> None:
    """What commands read of a run beside its checkpoints."""
    refused(lambda: configuration.load_config(run))
    RunFolder(run).source()
    RunFolder(run).image_names()
    refused(lambda: read_metrics(run / "metrics.jsonl"))
    refused(lambda: find_checkpoint(run, "best"))
    refused(lambda: write_report(run))


def use_checkpoints(run: Path, name: Path) -> None:
    """Samples from the checkpoints and resumes from them, as they are after file `name` was changed."""
    for step in (1, 2):
        refused(lambda step=step: read_and_compare(load_sampler, run, step, small_state(step)["a"]))
        refused(lambda step=step: read_and_compare(load_state, run, step, small_state(step)))
    newest_config(run / "checkpoints")
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        restored = []
        error = refused(lambda: restored.append(checkpoints.restore(small_state(0))))
        assert error is None, f"one of two checkpoints is intact, but: {error}"
        state, _, step = restored[0]
        assert same(state, small_state(step)), "another state than was written"
        assert step == 2 or "2" in name.parts, "an intact checkpoint was not used"
        assert {"1", "2"} <= {path.name.split(".")[0] for path in (run / "checkpoints").iterdir()}, "it was deleted"


def read_and_compare(read: Callable, run: Path, step: int, expected: Any) -> None:
    assert same(read(run, step)[0], expected), "other weights than were written"


# Files of weights.

STORED = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b.c": np.ones(5, np.int64)}


@functools.cache
def weights(suffix: str) -> bytes:
    """A small file of weights."""
    path = folder() / f"weights{suffix}"
    if suffix == ".npz":
        write_arrays(path, STORED)
    elif suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(STORED, path)
    elif suffix == ".pth":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", torch_pickle())
            for key, array in enumerate(STORED.values()):
                archive.writestr(f"archive/data/{key}", array.tobytes())
    else:
        legacy = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        blocks = [len(array.ravel()).to_bytes(8, "little") + array.tobytes() for array in STORED.values()]
        path.write_bytes(b"".join([*legacy, torch_pickle(), pickle.dumps(["0", "1"], 2), *blocks]))
    return path.read_bytes()


def torch_pickle() -> bytes:
    """The pickle of STORED as PyTorch writes it: calls by name, and storages by reference."""

    def tensor(key: int, kind: str, array: np.ndarray) -> bytes:
        strides = tuple(step // array.itemsize for step in array.strides)
        shape, strides = (pickle.dumps(value, 2)[2:-1] for value in (array.shape, strides))
        reference = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(str(key)) + text("cpu")
        reference += b"K" + bytes([array.size]) + b"tQ"
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n("
            + reference
            + b"K\0"
            + shape
            + strides
            + b"\x89ccollections\nOrderedDict\n)RtR"
        )

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    kinds = ("FloatStorage", "LongStorage")
    items = [
        text(name) + tensor(key, kinds[key], array).replace(b"q\0", b"").replace(b"q\1", b"")
        for key, (name, array) in enumerate(STORED.items())
    ]
    return b"\x80\x02}(" + b"".join(items) + b"u."


def bytes_of_weights(data: st.DataObject) -> None:
    """A changed file of weights."""
    suffix = data.draw(st.sampled_from((".npz", ".safetensors", ".pth", ".pt")))
    path = folder() / f"changed{suffix}"
    path.write_bytes(changed(data, weights(suffix)))
    refused(lambda: read_arrays(path))


OPCODES = [getattr(pickle, name) for name in dir(pickle) if isinstance(getattr(pickle, name), bytes)]


def any_pickle(data: st.DataObject) -> None:
    """A .pth whose pickle is any sequence of instructions, some of which call."""
    touched = folder() / "ran"
    command = f"touch {touched}".encode()
    harmful = [
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"cbuiltins\ngetattr\n",
        b"ccollections\nOrderedDict\n",
        b"cbuiltins\nset\n",
    ]
    parts = (
        st.sampled_from([*OPCODES, *harmful])
        | st.binary(max_size=4)
        | st.just(b"X" + len(command).to_bytes(4, "little") + command)
    )
    content = b"\x80\x04" + b"".join(data.draw(st.lists(parts, max_size=24))) + b"."
    path = folder() / "any.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    refused(lambda: read_arrays(path))
    assert not touched.exists()


def bombs(data: st.DataObject) -> None:
    """Files that unpack to far more than they are."""
    kind = data.draw(st.sampled_from((".npz", ".pth", ".zip")))
    path = bomb(kind, data.draw(st.sampled_from((2**20, 2**24))))
    with mock.patch.object(files, "LARGEST_UNPACKED", 2**16):  # so that megabytes stand for gigabytes
        if kind == ".zip":
            source = ZipSource(path)
            assert "it would unpack to" in decode_or_reason_of(lambda: source.read(0))
            assert "it would unpack to" in str(refused(lambda: source.read_other("dataset.json")))
            source.close()
        else:
            assert "unpack" in str(refused(lambda: read_arrays(path)))


@functools.cache
def bomb(kind: str, size: int) -> Path:
    path = folder() / f"bomb-{size}{kind}"
    names = {".npz": ("a.npy",), ".pth": ("archive/data.pkl",), ".zip": ("a.png", "dataset.json")}[kind]
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (size,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(header.getvalue() if kind == ".npz" else b"\x80\x02")
                member.write(bytes(size))
    return path


# Images.

TARGET = Format(16, 3, "squash", "white")


def decode_or_reason_of(read: Callable[[], bytes]) -> Decoded | str:
    with collected_warnings() as thread:
        return decode_or_reason(read, TARGET, thread, "x")[0]


@functools.cache
def images() -> list[bytes]:
    """Small files of many formats with EXIF blocks, profiles and text."""
    from PIL import ImageCms, PngImagePlugin

    pixels = Image.fromarray(np.random.RandomState(0).randint(0, 256, (24, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    text.add_itxt("a", "b" * 50, zip=True)
    files = []
    for kind, options in (
        *(
            ("JPEG", {}),
            ("PNG", {"pnginfo": text}),
            ("WEBP", {"lossless": True}),
            ("TIFF", {}),
            ("GIF", {}),
            ("BMP", {}),
        ),
        *(("JPEG2000", {}), ("TIFF", {"compression": "tiff_lzw"}), ("PPM", {}), ("TGA", {}), ("ICO", {}), ("PCX", {})),
    ):
        file = io.BytesIO()
        pixels.save(file, kind, exif=exif, icc_profile=profile, **options)
        files.append(file.getvalue())
    return files


def bytes_of_images(data: st.DataObject) -> None:
    """A changed image file."""
    content = data.draw(st.sampled_from(range(len(images()))))
    result = decode_or_reason_of(lambda: changed(data, images()[content]))
    assert isinstance(result, Decoded) or (result and "\n" not in result)


def zips(data: st.DataObject) -> None:
    """A zip of images with any names, some of which lead elsewhere, of which bytes are changed."""
    path = folder() / "images.zip"
    names = st.sampled_from(
        ("../a.png", "/etc/a.png", "a/../../b.png", "C:\\a.png", "a.png", "..", "a/", "\0.png", "con.png")
    )
    with zipfile.ZipFile(path, "w", data.draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))) as archive:
        for name in data.draw(st.lists(names | st.text(max_size=6), min_size=1, max_size=4, unique=True)):
            archive.writestr(zipfile.ZipInfo(name) if name else "x", images()[1])
    if data.draw(st.booleans()):
        path.write_bytes(changed(data, path.read_bytes()))

    def read() -> None:
        source = ZipSource(path)
        for index, name in enumerate(source.names):
            assert ".." not in name.split("/") and not name.startswith("/")
            decode_or_reason_of(lambda index=index: source.read(index))
        source.read_other("dataset.json")
        refused(lambda: source.labels(2))
        source.close()

    refused(read)


PROPERTIES: tuple[Property, ...] = (
    *(overrides, values_of_other_types, bytes_of_a_run, values_of_a_run, bytes_of_weights, any_pickle, bombs),
    *(bytes_of_images, zips),
)
SLOW = {bytes_of_a_run: 3, values_of_a_run: 3}  # examples in the fast profile, of those that take long


def bounded(check: Property) -> Property:
    """The property, of which a case fails that takes much memory or time."""

    @functools.wraps(check)
    def run(data: st.DataObject) -> None:
        before, started = fresh_peak(), time.process_time()
        check(data)
        assert peak() - before < MEMORY, f"{(peak() - before) / 2**20:.0f} MiB"
        assert time.process_time() - started < SECONDS, f"{time.process_time() - started:.0f} s"

    return run


def peak() -> int:
    """The most bytes of main memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fresh_peak() -> int:
    """`peak`, from here on counted anew where the system can: else what once was hides what is taken below it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def draw_cases(check: Property, examples: int, number: int | None = None) -> None:
    """Runs a property on so many cases: with a `number` other ones each, else always the same.

    Raises:
        AssertionError: or what else a case raised.
    """
    options = {"deadline": None, "database": None, "suppress_health_check": [*HealthCheck], "max_examples": examples}
    test = settings(derandomize=number is None, **options)(given(st.data())(bounded(check)))
    (test if number is None else seed(number)(test))()


def fuzz(minutes: float, first_seed: int) -> int:
    """Draws cases of all properties in turn for so long, and prints what was found; returns 1 if anything was."""
    ends, counts, found = time.monotonic() + 60 * minutes, dict.fromkeys(PROPERTIES, 0), {}
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (4 * MEMORY, most))  # what takes all memory is a finding, and no end
    for number in itertools.count(first_seed):
        for check in PROPERTIES:
            if time.monotonic() > ends:
                print("cases: " + ", ".join(f"{each.__name__} {count}" for each, count in counts.items()))
                print(f"findings: {len(found)}")
                return int(bool(found))
            examples = {bytes_of_a_run: 20, values_of_a_run: 20, bombs: 2}.get(check, 200)
            try:
                draw_cases(check, examples, number)
            except Exception as error:  # noqa: BLE001 (a finding)
                kind = (check.__name__, type(error).__name__, str(error)[:80])
                if kind not in found:
                    found[kind] = error
                    notes = "; ".join(getattr(error, "__notes__", ()))
                    print(f"{check.__name__}, seed {number}: {type(error).__name__}: {error} ({notes})", flush=True)
            counts[check] += examples
