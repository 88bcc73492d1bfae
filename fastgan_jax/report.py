"""One self-contained page about a run: settings, curves, pictures and warnings, readable anywhere without network."""

import json
import logging
import math
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

from fastgan_jax.charts import embedded_picture, line_chart
from fastgan_jax.checkpoint import checkpoint_steps
from fastgan_jax.diagnosis import RISING_FOR, diagnose, evaluations
from fastgan_jax.errors import UserError
from fastgan_jax.metrics.names import BETTER, rank
from fastgan_jax.run_folder import RunFolder
from fastgan_jax.writers import read_metrics, write_text

MOST_GRIDS = 6
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
    "diversity": "Mean LPIPS distance between two samples; a collapse makes it fall.",
    "nearest": "Mean LPIPS distance of a sample from its nearest training picture; memorisation makes it fall.",
    "nearest_real": "The same of a training picture from its nearest other one.",
    "nearest_flipped": "Mean distance of a training picture from its mirror image.",
    "nearest_cropped": "Mean distance of a training picture from its central crop.",
}
NEAREST = ("nearest", "nearest_flipped", "nearest_cropped", "nearest_real")
LEFT_OUT = "could not be read and is left out."
STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.2rem;margin-top:2em;border-bottom:1px solid #8886}
img,svg{max-width:100%;height:auto;display:block}figure{margin:1em 0}figcaption{opacity:.8;font-size:.9rem}
svg text{fill:currentColor;font-size:12px}svg .grid{stroke:currentColor;opacity:.15}
svg .mark{fill:none;stroke:currentColor;stroke-width:2}
.scroll{overflow-x:auto}table{border-collapse:collapse}
h1,td,p,figcaption{overflow-wrap:anywhere}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
.warning{border-left:4px solid #c60;padding:.4rem .8rem;background:#c602}
.legend{margin:.2em 0;font-size:.9rem}
.legend span{display:inline-block;border-left:1em solid;padding:0 .4em;margin-right:.6em}
summary{cursor:pointer}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:0 1.5rem}
td:nth-child(2):not(:last-child){white-space:nowrap}
@media(max-width:40rem){td,th{font-size:.875rem}}
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
    record = _attempt(lambda: _read_record(folder.config))
    lines = _attempt(lambda: _read_lines(folder.metrics))
    config = record["config"] if record else {}
    sections = (
        _section("Status", _status, folder, record),
        _section("Warnings", _warnings, config, lines),
        _section("Samples", _grids, folder),
        _section("Evaluation", _evaluation, config, lines),
        _section("Reconstructions", _reconstructions, folder),
        _section("Nearest training pictures", _nearest, folder),
        _section("Curves", _curves, lines),
        _section("Settings", _settings, record),
    )
    name = escape(folder.path.resolve().name)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{name}</h1>{''.join(sections)}</body></html>\n"
    )
    path = Path(out) if out else folder.path / "report.html"
    write_text(path, page.encode(errors="replace").decode())  # names of files need not be Unicode
    return path


def _attempt(function: Callable[[], Any]) -> Any:
    """The result, or None if anything fails: a report is made of what can be read."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 (files of a run may be damaged in any way)
        log.warning("a part of the report is left out (%s: %s)", type(error).__name__, error)
        return None


def _section(title: str, function: Callable[..., str], *material: Any) -> str:
    """The content that `function` makes of its material, under a heading; None among it is what could not be read."""
    content = None if None in material else _attempt(lambda: function(*material))
    return f"<section><h2>{title}</h2>{_text(f'This part {LEFT_OUT}') if content is None else content}</section>"


def _read_record(path: Path) -> dict[str, Any]:
    """config.json, in which every group of settings is a dictionary."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not all(isinstance(group, dict) for group in (record["config"], *record["config"].values())):
        raise ValueError("the settings in config.json are not in groups")
    return record


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl with None for whatever is no finite number."""

    def number(value: Any) -> float | None:
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    lines = ({name: number(value) for name, value in line.items()} for line in read_metrics(path))
    return [line for line in lines if line["step"] is not None]


def _status(folder: RunFolder, record: dict) -> str:
    train, model, data = (record["config"].get(group, {}) for group in ("train", "model", "data"))
    steps = _attempt(lambda: checkpoint_steps(folder.path))
    done = f"{steps[-1]} of {train.get('iterations')}" if steps else "no checkpoint"
    source = data.get("path") or data.get("tfds") or f"{data.get('demo_images')} demo pictures"
    versions = record.get("versions") or {}
    facts = {
        "Iteration": f"{done}, batch {train.get('batch_size')}",
        "State": "finished" if steps and steps[-1] >= train.get("iterations", math.inf) else "not finished",
        "Pictures": f"{source}, {model.get('resolution')} pixels",
        "Device": record.get("device"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Commit": record.get("git_commit"),
    }
    return _table(facts.items())


def _warnings(config: dict, lines: list[dict]) -> str:
    history = evaluations(lines)
    if not history:
        return _text("No evaluation was made, so nothing is known of over-training, memorisation or collapse.")
    best = config.get("eval", {}).get("best_metric", "fid")

    def known(name: str) -> int:
        return sum(entry.get(name) is not None for entry in history)

    judged = {
        f"over-training (needs {best} of more than {RISING_FOR} evaluations)": known(best) > RISING_FOR,
        "memorisation (needs nearest)": all(history[-1].get(name) is not None for name in NEAREST[:3]),
        "collapse (needs diversity of two evaluations)": known("diversity") > 1,
    }
    found = diagnose(lines, best)
    told = [_text(f"{line[:1].upper()}{line[1:]}.", "warning") for line in found]
    signs = [name.split(" ")[0] for name, is_known in judged.items() if is_known]
    quiet = [sign for sign in signs if not any(line.startswith(sign) for line in found)]
    unknown = [name for name, is_known in judged.items() if not is_known]
    told += [_text(f"No sign of {' or '.join(quiet)}.")] if quiet else []
    told += [_text(f"Not known: {', '.join(unknown)}.")] if unknown else []
    return "".join(told)


def _evaluation(config: dict, lines: list[dict]) -> str:
    history = evaluations(lines)
    if not history:
        return _text("There are no evaluations in metrics.jsonl.")
    settings = config.get("eval", {}) | config.get("loss", {})
    count, features, resize, network = (
        settings.get(name, "unknown") for name in ("num_samples", "features", "resize", "perceptual_net")
    )
    described = _text(
        f"Samples: {count}. Feature network: {features}, resize convention: {resize}. LPIPS network: {network}. "
        f"The values are those of iteration {history[-1]['step']}; in the curves over iterations a ring marks the best."
    )
    names = list(dict.fromkeys(name for entry in history for name in entry if name != "step"))
    rows = [(name, _number(history[-1].get(name)), MEANINGS.get(name, "")) for name in names]
    table = _table(rows, ("Number", "Value", "Meaning"))
    points = {name: [(entry["step"], entry.get(name)) for entry in history] for name in names}
    charts = [_metric(name, points[name]) for name in names if name in BETTER]
    nearest = {name: points[name] for name in NEAREST if name in points}
    charts.append(_figure(line_chart("nearest", nearest), "nearest, and distances to compare it with"))
    return described + table + _side_by_side(charts)


def _metric(name: str, points: list[tuple]) -> str:
    """The curve of a number that can be judged, with its best point."""
    known = [point for point in points if point[1] is not None]
    if not known:
        return ""
    mark = min(known, key=lambda point: rank(name, point[1]))
    caption = f"{name}, {BETTER[name]} is better; best at iteration {mark[0]}: {_number(mark[1])}"
    return _figure(line_chart(name, {name: points}, mark), caption)


def _curves(lines: list[dict]) -> str:
    charts = []
    for title, names in CURVES:
        series = {name: [(line["step"], line[name]) for line in lines if name in line] for name in names}
        charts.append(_figure(line_chart(title, series), f"{title} over iterations"))
    return _side_by_side(charts) or _text("There are no numbers of training in metrics.jsonl.")


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.png") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def _grids(folder: RunFolder) -> str:
    paths = _numbered(folder.samples)
    last = len(paths) - 1
    chosen = sorted({round(index * last / (MOST_GRIDS - 1)) for index in range(MOST_GRIDS)}) if paths else []
    pictures = [_picture(paths[i], f"Samples at iteration {int(paths[i].stem)}") for i in reversed(chosen)]
    return _side_by_side(pictures) or _text("There are no sample grids in the run folder.")


def _reconstructions(folder: RunFolder) -> str:
    paths = _numbered(folder.reconstructions)
    if not paths:
        return _text("There are no reconstructions in the run folder.")
    caption = "Real pictures (left) and what the discriminator's decoders make of them, at iteration "
    return _picture(paths[-1], caption + str(int(paths[-1].stem)))


def _nearest(folder: RunFolder) -> str:
    path = folder.path / "nearest.png"
    if not path.exists():
        return _text("There is no nearest.png in the run folder; tools/nearest.py makes it.")
    return _picture(path, "Samples (left) and their nearest training pictures")


def _settings(record: dict) -> str:
    groups = []
    for group, fields in sorted(record["config"].items()):
        rows = _table((name, json.dumps(value, ensure_ascii=False)) for name, value in sorted(fields.items()))
        groups.append(f"<details><summary>{escape(group)}</summary>{rows}</details>")
    return "".join(groups)


def _text(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def _table(rows: Iterable[tuple], head: tuple[str, ...] = ()) -> str:
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = [f"<tr>{titles}</tr>"] if head else []
    for name, *cells in rows:
        values = "".join(f"<td>{escape(str('-' if cell is None else cell))}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(str(name))}</th>{values}</tr>')
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _side_by_side(figures: list[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>" if content else ""


def _picture(path: Path, caption: str) -> str:
    """A picture within the page, or a sentence that it could not be read."""
    element = _attempt(lambda: embedded_picture(path, caption))
    return _text(f"{path.parent.name}/{path.name} {LEFT_OUT}") if element is None else _figure(element, caption)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
