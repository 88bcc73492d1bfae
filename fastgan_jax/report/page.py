"""One self-contained page about a run: settings, curves, images and warnings, readable anywhere without network."""

import json
import logging
import math
import shlex
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.choice import judges
from fastgan_jax.evaluation.diagnosis import evaluations
from fastgan_jax.evaluation.results import read_json
from fastgan_jax.pretrained.choice import best_here, choice_in_words
from fastgan_jax.pretrained.registry import PERCEPTUAL
from fastgan_jax.report.evaluations import evaluation, evaluation_afterwards, warnings
from fastgan_jax.report.figures import embedded_image, line_chart
from fastgan_jax.report.html import STYLE, figure, folded, paragraph, side_by_side, table
from fastgan_jax.runs.checkpoint import checkpoint_steps
from fastgan_jax.runs.config import split_names
from fastgan_jax.runs.folder import RunFolder, describe_source, run_name, run_of
from fastgan_jax.runs.logging import read_metrics
from fastgan_jax.utils.files import user_path, write_text
from fastgan_jax.utils.plots import check_matplotlib

MOST_GRIDS = 6
CURVES = {
    "Losses": ("loss/d", "loss/g"),
    "Reconstruction of real images": ("loss/reconstruction",),
    "Mean logits": ("logits/real", "logits/fake"),
    "Gradient norms": ("grad_norm/d", "grad_norm/g"),
}
LEFT_OUT = "could not be read and is left out."
log = logging.getLogger(__name__)


def write_report(run: str | Path, out: str | Path | None = None) -> Path:
    """Writes the page about a run; what is missing or damaged in it is left out, and the page says so.

    `run` is its folder, that of its checkpoints or one of these. The file is `out`; None: `report.html` in the run
    folder. It is returned.

    Raises:
        UserError: if it is not a run folder, or the file cannot be written.
    """
    folder = RunFolder(user_path(run))
    if not folder.config.is_file():
        folder = run_of(run)
    if not folder.config.is_file():
        raise UserError(f"{run} is not a run folder: there is no config.json in it")
    record = _attempt(lambda: _read_record(folder.config), folder.config)
    lines = _attempt(lambda: _read_lines(folder.metrics), folder.metrics)
    config = record["config"] if record else {}
    is_evaluated = folder.evaluation.exists()
    afterwards = _attempt(lambda: read_json(folder.evaluation), folder.evaluation) if is_evaluated else {}
    history = None if lines is None else evaluations(lines)
    sections = (
        _section("Status", _status, folder, record),
        _section("Warnings", warnings, config, history, afterwards or {}),
        _section("Samples", _grids, folder),
        _section("Evaluation while training", evaluation, config, history),
        _section("Evaluation of kept checkpoints", _afterwards, folder, config, afterwards),
        _section("Reconstructions", _reconstructions, folder, config),
        _section("Real images and their nearest samples", _coverage, folder),
        _section("Nearest real images", _nearest, folder, config),
        _section("Curves", _curves, lines),
        _section("Settings", _settings, record),
    )
    name = escape(run_name(folder.path))
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{name}</h1>{''.join(sections)}</body></html>\n"
    )
    path = user_path(out) if out else folder.path / "report.html"
    write_text(path, page.encode(errors="replace").decode())  # names of files need not be Unicode
    return path


def refresh_report(run: str | Path, written: Iterable[Path]) -> Path | None:
    """Writes the page of a run folder anew if one of these files is part of it; returns its path, else None."""
    folder = run_of(run)
    shown = {path.resolve() for path in (folder.evaluation, folder.coverage, folder.nearest)}
    is_part = folder.config.is_file() and any(path.resolve() in shown for path in written)
    if is_part:
        try:
            check_matplotlib()
        except UserError as error:
            log.warning("report.html is not refreshed: %s, and fastgan report --run %s", error, run)
            return None
    as_given = user_path(run).resolve() == folder.path
    return write_report(run if as_given else folder.path) if is_part else None


def _attempt(function: Callable[[], Any], path: Path | None = None) -> Any:
    """The result, or None if anything fails, such as reading `path`: a report is made of what can be read."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 (files of a run may be damaged in any way)
        log.warning("a part of the report is left out (%s: %s)", path or type(error).__name__, error)
        return None


def _section(title: str, function: Callable[..., str], *material: Any) -> str:
    """The content that `function` makes of its material, under a heading; None stands for what could not be read."""
    content = None if None in material else _attempt(lambda: function(*material))
    return f"<section><h2>{title}</h2>{paragraph(f'This part {LEFT_OUT}') if content is None else content}</section>"


def _read_record(path: Path) -> dict[str, Any]:
    """config.json, in which every group of settings is a dictionary."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not all(isinstance(group, dict) for group in (record["config"], *record["config"].values())):
        raise ValueError("the settings in config.json are not in groups")
    return record


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl with None for whatever is not a finite number."""

    def number(value: Any) -> float | None:
        return value if isinstance(value, int | float) and math.isfinite(value) else None

    lines = ({name: number(value) for name, value in line.items()} for line in read_metrics(path))
    return [line for line in lines if line["step"] is not None]


def _afterwards(folder: RunFolder, config: dict, results: dict[str, Any]) -> str:
    if not results:
        own, model = config.get("eval", {}), config.get("model", {})
        features = own.get("features", "inception")
        kind = judges(features, model.get("discriminator", "fastgan"))
        remark = choice_in_words(kind, best_here(kind, features, own.get("feature_weights")))
        return _not_there(folder, folder.evaluation, "evaluate", "--step all --json", remark)
    return evaluation_afterwards(results)


def _not_there(folder: RunFolder, path: Path, command: str, option: str, remark: str = "") -> str:
    whole = f"fastgan {command} --run {shlex.quote(str(folder.path))} {option} {shlex.quote(str(path))}"
    made = paragraph(f"There is no {path.name} in the run folder; this command makes it: {whole}")
    return made + paragraph(f"Its network: {remark}.") if remark else made


def _status(folder: RunFolder, record: dict) -> str:
    train, model, data = (record["config"].get(group, {}) for group in ("train", "model", "data"))
    steps = _attempt(lambda: checkpoint_steps(folder.path))
    done = f"{steps[-1]} of {train.get('iterations')}" if steps else "no checkpoint"
    versions = record.get("versions") or {}
    facts = {
        "Iteration": f"{done}, batch {train.get('batch_size')}",
        "State": "finished" if steps and steps[-1] >= train.get("iterations", math.inf) else "not finished",
        "Images": f"{describe_source(data) or 'not recorded'}, {model.get('resolution')} pixels",
        "Device": record.get("device"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Commit": record.get("git_commit"),
    }
    return table(facts.items(), kind="facts")


def _curves(lines: list[dict]) -> str:
    charts = []
    for title, names in CURVES.items():
        series = {name: [(line["step"], line[name]) for line in lines if name in line] for name in names}
        charts.append(figure(line_chart(title, series), title=title))
    return side_by_side(charts) or paragraph("There are no numbers of training in metrics.jsonl.")


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.png") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def _grids(folder: RunFolder) -> str:
    paths = _numbered(folder.samples)
    last = len(paths) - 1
    chosen = sorted({round(index * last / (MOST_GRIDS - 1)) for index in range(MOST_GRIDS)}) if paths else []
    images = [_image(paths[i], f"Samples at iteration {int(paths[i].stem)}") for i in reversed(chosen)]
    return side_by_side(images) or paragraph("There are no sample grids in the run folder.")


def _reconstructions(folder: RunFolder, config: dict) -> str:
    paths = _numbered(folder.reconstructions)
    if not paths:
        return paragraph("There are no reconstructions in the run folder.")
    decoders = split_names(str(config.get("model", {}).get("decoders", "")))
    part = config.get("model", {}).get("part", "quadrant")
    corner = {"quadrant": "quarter", "eighth": "64th"}.get(part, "corner")
    columns = ", ".join(f"part (of the top-left {corner})" if name == "part" else name for name in decoders)
    shown = f"the real image, and what the discriminator's decoders make of it: {columns}"
    return _image(paths[-1], f"From left to right: {shown}. Iteration {int(paths[-1].stem)}.", "tall")


def _coverage(folder: RunFolder) -> str:
    if not folder.coverage.exists():
        return _not_there(folder, folder.coverage, "evaluate", "--coverage")
    caption = (
        "Real images above their nearest samples, the nearest pair first. A distance below 1 is nearer than the real "
        "image's 5th nearest other one: covered"
    )
    return _image(folder.coverage, caption)


def _nearest(folder: RunFolder, config: dict) -> str:
    if not folder.nearest.exists():
        own = config.get("loss", {})
        used = best_here(PERCEPTUAL, own.get("perceptual_net", "vgg"), own.get("perceptual_weights"))
        return _not_there(folder, folder.nearest, "nearest", "--out", choice_in_words(PERCEPTUAL, used))
    beside = folder.nearest.with_suffix(".json")
    trained_on = not beside.exists() or _attempt(lambda: read_json(beside).get("trained_on", True))
    kind = "real" if trained_on is False else "training"
    return _image(folder.nearest, f"Samples (left) and their nearest {kind} images, with distances", "tall")


def _settings(record: dict) -> str:
    groups = []
    for group, fields in sorted(record["config"].items()):
        values = ((name, json.dumps(value, ensure_ascii=False)) for name, value in sorted(fields.items()))
        groups.append(folded(group, table(values, kind="facts")))
    return "".join(groups)


def _image(path: Path, caption: str, kind: str = "") -> str:
    """An image within the page, or a sentence that it could not be read."""
    element = _attempt(lambda: embedded_image(path, caption))
    if element is None:
        return paragraph(f"{path.parent.name}/{path.name} {LEFT_OUT}")
    return figure(element, caption, kind=kind)
