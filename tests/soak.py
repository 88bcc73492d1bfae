"""Long reading and training on many small images: does memory stay flat, and speed?

`python -m tests.soak FOLDER --images 100000` writes a zip of generated PNGs of 32x32 pixels into FOLDER, reads them in
the order of training for some epochs, then trains a small model on them, and prints a table of both.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
SETTINGS = ("--preset=smoke", "--config.data.resident=false", "--config.train.batch_size=16")
EVERY = {"log_every": 20, "sample_every": 1_000_000, "checkpoint_every": 500}


def write_images(path: Path, count: int) -> None:
    """A zip of colored discs on slopes of color, each different."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            draws = np.random.default_rng(index)
            one, other, disc = draws.integers(0, 256, (3, 3))
            x, y, radius = draws.uniform(0.2, 0.8), draws.uniform(0.2, 0.8), draws.uniform(0.1, 0.4)
            slope = one + (other - one) * rows[..., None]
            inside = ((rows - x) ** 2 + (columns - y) ** 2 < radius**2)[..., None]
            content = io.BytesIO()
            Image.fromarray(np.uint8(np.where(inside, disc, slope))).save(content, "png")
            archive.writestr(f"{index // 1000:03d}/{index:06d}.png", content.getvalue())


def memory(process: int | str = "self") -> dict[str, float]:
    """MB of a process in memory: its own, and of mapped files, which the system takes back where it needs room."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    sizes = {name: int(rest.split()[0]) / 1e3 for name, rest in (line.split(":", 1) for line in lines) if "kB" in rest}
    return {"own_mb": sizes["RssAnon"], "mapped_mb": sizes["RssFile"]}


def read_epochs(path: Path, epochs: int, cache: Path) -> list[dict[str, float]]:
    """Reads the whole set so many times through the feed of training, in batches of 64 at 64 pixels."""
    from configs import base
    from fastgan_jax.data.dataset import load_image_set
    from fastgan_jax.data.feed import feed

    data = base.get_config().data
    data.update(path=str(path), cache_dir=str(cache))
    rows, batch = [], 64
    for start in ("first", "second"):  # the second finds the decoded images
        begun, computed = time.perf_counter(), time.process_time()
        images = load_image_set(data, resolution=64, channels=3, num_classes=0, run_dir=cache)
        facts = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - computed}
        rows.append({"part": f"{start} start", **facts, **memory()})
    calls = len(images.images) // batch
    with feed(images, False, 0, batch, 1) as batches:
        for epoch in range(epochs):
            begun, computed = time.perf_counter(), time.process_time()
            for _ in range(calls):
                next(batches)[0].block_until_ready()
            seconds = time.perf_counter() - begun
            facts = {"seconds": seconds, "cpu_seconds": time.process_time() - computed}
            rows.append({"part": f"epoch {epoch}", **facts, **memory()})
    return rows


def train(path: Path, iterations: int, cache: Path, run: Path, every_seconds: float) -> Iterator[dict[str, float]]:
    """Trains, and tells now and then of the process and its log."""
    fields = {f"train.{name}": value for name, value in EVERY.items()} | {"train.iterations": iterations}
    overrides = [f"--config.{name}={value}" for name, value in fields.items()] + [f"--config.data.cache_dir={cache}"]
    command = [sys.executable, "-m", "fastgan_jax", "train", str(path), *SETTINGS, *overrides, "--workdir", str(run)]
    last = (0, time.perf_counter())
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(every_seconds)
            log = run / "metrics.jsonl"
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
            if not lines or process.poll() is not None:
                continue
            step, now = json.loads(lines[-1])["step"], time.perf_counter()
            facts = {"rate": (step - last[0]) / (now - last[1]), "cpu_seconds": cpu_seconds(process.pid)}
            yield {"part": f"iteration {step}", **facts, **memory(process.pid)}
            last = (step, now)


def cpu_seconds(process: int) -> float:
    """Time that a process has computed, on all cores: on a busy machine it tells more than the clock."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60, help="between two looks at training")
    arguments = parser.parse_args(argv)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path, cache = arguments.folder / f"{arguments.images}.zip", arguments.folder / "cache"
    if not path.exists():
        write_images(path, arguments.images)
    for row in read_epochs(path, arguments.epochs, cache):
        print(json.dumps(row), flush=True)
    for row in train(path, arguments.iterations, cache, arguments.folder / "run", arguments.seconds):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
