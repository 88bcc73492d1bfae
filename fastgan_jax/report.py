"""One self-contained page about a run: settings, curves, pictures and warnings, readable anywhere without network."""

import base64
import io
import json
import logging
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

from fastgan_jax.charts import line_chart
from fastgan_jax.checkpoint import find_checkpoint
from fastgan_jax.diagnosis import diagnose, evaluations
from fastgan_jax.errors import UserError
from fastgan_jax.metrics.names import BETTER, rank
from fastgan_jax.run_folder import RunFolder
from fastgan_jax.writers import read_metrics, write_text

MOST_GRIDS = 6
LARGEST_SIDE = 1000  # pixels of an embedded picture
CURVES = (
    ("Losses", ("loss/d", "loss/g")),
    ("Reconstruction of real pictures", ("loss/reconstruction",)),
    ("Mean logits", ("logits/real", "logits/fake")),
    ("Gradient norms", ("grad_norm/d", "grad_norm/g")),
)
MEANINGS = {
    "fid": "Fréchet Inception distance between samples and training pictures: lower is better.",
    "frechet": "Fréchet distance on the named features, which is no FID: lower is better, within a run.",
    "kid": "Kernel distance, unbiased also for small sets: lower is better.",
    "kid_spread": "Standard deviation of the kernel distance over its subsets.",
    "precision": "Share of samples that look like training pictures.",
    "recall": "Share of training pictures that samples come near to.",
    "density": "How densely samples lie among training pictures; about 1 for a perfect model.",
    "coverage": "Share of training pictures with a sample in their neighbourhood.",
    "diversity": "Mean perceptual distance between two samples; a collapse makes it fall.",
    "nearest": "Mean perceptual distance of a sample from its nearest training picture; memorisation makes it fall.",
    "nearest_real": "The same of a training picture from its nearest other one.",
    "nearest_flipped": "Mean distance of a training picture from its mirror image.",
    "nearest_cropped": "Mean distance of a training picture from its central crop.",
}
STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.2rem;margin-top:2em;border-bottom:1px solid #8886}
img,svg{max-width:100%;height:auto;display:block}figure{margin:1em 0}figcaption{opacity:.8;font-size:.9rem}
svg text{fill:currentColor;font-size:12px}svg .grid{stroke:currentColor;opacity:.15}
svg .mark{fill:none;stroke:currentColor;stroke-width:2}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.warning{border-left:4px solid #c60;padding:.4rem .8rem;background:#c602}
.legend span{border-left:1em solid;padding:0 1em 0 .4em}
summary{cursor:pointer}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:0 1.5rem}
@media(max-width:40rem){tr{display:block;margin:.3em 0}td:nth-child(3){display:block;opacity:.8}}
"""

log = logging.getLogger(__name__)


def write_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Writes the page about a run folder; what is missing or damaged in the folder is left out, and the page says so.

    Args:
        run: the run folder.
        out: the file; None: `report.html` in the run folder.

    Returns:
        The file.

    Raises:
        UserError: if there is no run folder, or the file cannot be written.
    """
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise UserError(f"{run} is no run folder: there is no config.json in it")
    record = _attempt(lambda: json.loads(folder.config.read_text(encoding="utf-8"))) or {}
    lines = read_metrics(folder.metrics)
    sections = {
        "": lambda: _status(folder, record, lines),
        "Samples": lambda: _grids(folder),
        "Evaluation": lambda: _evaluation(record, lines),
        "Reconstructions": lambda: _reconstructions(folder),
        "Nearest training pictures": lambda: _nearest(folder),
        "Curves": lambda: _curves(lines),
        "Settings": lambda: _settings(record),
    }
    body = "".join(_section(title, content) for title, content in sections.items())
    name = escape(folder.path.resolve().name)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{name}</h1>{body}</body></html>\n"
    )
    path = Path(out) if out else folder.path / "report.html"
    write_text(path, page)
    return path


def _attempt(function: Callable[[], Any]) -> Any:
    """The result, or None if anything fails: a report is made of what can be read."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 (files of a run may be damaged in any way)
        log.warning("a part of the report is left out (%s: %s)", type(error).__name__, error)
        return None


def _section(title: str, content: Callable[[], str]) -> str:
    text = _attempt(content)
    if text is None:
        text = "<p>This part could not be read and is left out.</p>"
    heading = f"<h2>{escape(title)}</h2>" if title and text else ""
    return f"<section>{heading}{text}</section>" if text else ""


def _status(folder: RunFolder, record: dict, lines: list[dict]) -> str:
    config = record.get("config", {})
    train, model, data = (config.get(group, {}) for group in ("train", "model", "data"))
    done = find_checkpoint(folder.path).name if folder.checkpoints.is_dir() else "0"
    source = data.get("path") or data.get("tfds") or f"{data.get('demo_images')} demo pictures"
    facts = {
        "Iteration": f"{done} of {train.get('iterations')}, batch {train.get('batch_size')}",
        "Pictures": f"{source}, {model.get('resolution')} pixels",
        "Device": record.get("device"),
        "Versions": ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items()),
        "Commit": record.get("git_commit"),
    }
    warnings = diagnose(lines, config.get("eval", {}).get("best_metric", "fid"))
    told = "".join(f'<p class="warning">{escape(line[:1].upper() + line[1:])}.</p>' for line in warnings)
    if not evaluations(lines):
        told = (
            "<p>No evaluation was made, so there is nothing to tell about over-training, memorisation or collapse.</p>"
        )
    return _table(facts.items()) + (told or "<p>No sign of over-training, memorisation or collapse.</p>")


def _evaluation(record: dict, lines: list[dict]) -> str:
    history = evaluations(lines)
    if not history:
        return ""
    settings = record.get("config", {}).get("eval", {})
    described = (
        f"<p>{settings.get('num_samples')} samples; features of {escape(str(settings.get('features')))}, "
        f"{escape(str(settings.get('resize')))} resize. A ring marks the best value.</p>"
    )
    names = [name for name in history[-1] if name != "step"]
    rows = ((name, _number(history[-1][name]), MEANINGS.get(name, "")) for name in names)
    table = f"<p>At iteration {history[-1]['step']}:</p>" + _table(rows)
    charts = []
    for name in (name for name in names if name in BETTER or name == "nearest"):
        points = [(entry["step"], entry.get(name)) for entry in history]
        known = [point for point in points if point[1] is not None]
        mark = min(known, key=lambda point: rank(name, point[1])) if name in BETTER and known else None
        charts.append(_figure(line_chart(name, {name: points}, mark), name))
    return described + table + _side_by_side(charts)


def _curves(lines: list[dict]) -> str:
    charts = []
    for title, names in CURVES:
        series = {name: [(line["step"], line[name]) for line in lines if name in line] for name in names}
        charts.append(_figure(line_chart(title, series), title))
    return _side_by_side(charts)


def _grids(folder: RunFolder) -> str:
    paths = sorted(folder.samples.glob("*.png"))
    last = len(paths) - 1
    chosen = sorted({round(index * last / (MOST_GRIDS - 1)) for index in range(MOST_GRIDS)}) if paths else []
    return _side_by_side([_picture(paths[i], f"Iteration {int(paths[i].stem)}") for i in reversed(chosen)])


def _reconstructions(folder: RunFolder) -> str:
    paths = sorted(folder.reconstructions.glob("*.png"))
    caption = "Real pictures (left) and what the discriminator's decoders make of them, at iteration "
    return _picture(paths[-1], caption + str(int(paths[-1].stem))) if paths else ""


def _nearest(folder: RunFolder) -> str:
    path = folder.path / "nearest.png"
    return _picture(path, "Samples (left) and their nearest training pictures") if path.is_file() else ""


def _settings(record: dict) -> str:
    groups = []
    for group, fields in sorted(record.get("config", {}).items()):
        rows = _table((name, json.dumps(value)) for name, value in sorted(fields.items()))
        groups.append(f"<details><summary>{escape(group)}</summary>{rows}</details>")
    return "".join(groups)


def _table(rows: Iterable[tuple]) -> str:
    lines = []
    for name, *cells in rows:
        values = "".join(f"<td>{escape(str('-' if cell is None else cell))}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(str(name))}</th>{values}</tr>')
    return f"<table>{''.join(lines)}</table>"


def _side_by_side(figures: list[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>" if content else ""


def _picture(path: Path, caption: str) -> str:
    """A picture within the page, reduced if it is large."""
    from PIL import Image

    with Image.open(path) as file:
        image = file.convert("RGBA" if file.has_transparency_data else "RGB")
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return _figure(f'<img alt="{escape(caption)}" loading="lazy" src="data:image/webp;base64,{data}">', caption)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
