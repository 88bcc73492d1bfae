"""What is published of a run: its model card, samples, settings, numbers and one checkpoint."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.choice import networks_in_words
from fastgan_jax.evaluation.diagnosis import diagnose, evaluations, ranking
from fastgan_jax.evaluation.evaluator import TRAINING_SET
from fastgan_jax.evaluation.results import of_training_set, read_json
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.metrics.registry import output
from fastgan_jax.runs.checkpoint import find_checkpoint
from fastgan_jax.runs.config import without_paths
from fastgan_jax.runs.folder import RunFolder
from fastgan_jax.runs.logging import read_metrics
from fastgan_jax.utils.grids import encode_png, image_grid

SAMPLES = 16  # images on the card
SEED = 0  # of these
ITEMS = ("sampler", "config", "data", "metrics")  # of a checkpoint that are published; the state on request
OTHER_IMAGES = "other images"  # what an evaluation compared with, in place of a path

SOURCES = {"hf": "Hugging Face hub", "tfds": "tensorflow-datasets", "demo_images": "procedural images of fastgan_jax"}

Files = dict[str, Path | bytes]  # {path in the repository: file or content}


def published_files(run: str | Path, sampler: Sampler, name: str, *, state: bool) -> Files:
    """The files of a run's checkpoint as the repository `name` (USER/NAME) has them.

    Paths of this machine are taken out of the settings. Neither training images nor their names are in the files.

    Args:
        run: as for `find_checkpoint`.
        sampler: the generator of the checkpoint.
        name: of the repository, for the card.
        state: whether to publish the state of training too.

    Raises:
        UserError: if the checkpoint has no parts of its own to publish.
    """
    checkpoint = find_checkpoint(run, sampler.step)
    folder = RunFolder(checkpoint.parent.parent)
    files: Files = {}
    for item in (*ITEMS, *(["state"] if state else [])):
        for path in sorted((checkpoint / item).rglob("*")):
            if path.is_file():
                files[f"checkpoints/{sampler.step}/{path.relative_to(checkpoint).as_posix()}"] = path
    if not any("/sampler/" in path for path in files):
        raise UserError(f"{checkpoint} holds no generator: give a run folder such as runs/demo")
    settings = without_paths(sampler.config.to_dict())
    files[f"checkpoints/{sampler.step}/config/metadata"] = json.dumps(settings).encode()
    if data := _read(checkpoint / "data" / "metadata"):
        data.get("checksums", {}).pop("config", None)  # which was that of the settings with their paths
        files[f"checkpoints/{sampler.step}/data/metadata"] = json.dumps(data).encode()
    record = _read(folder.config) | {"config": settings}
    files["config.json"] = json.dumps(record, indent=2).encode()
    numbers = [line for line in read_metrics(folder.metrics) if line["step"] <= sampler.step]
    if numbers:
        files["metrics.jsonl"] = "".join(json.dumps(line) + "\n" for line in numbers).encode()
    evaluation = _published_evaluation(folder.evaluation, name, sampler.step)
    if evaluation:
        files["evaluation.json"] = json.dumps(evaluation, indent=2).encode()
    files["samples.png"] = encode_png(image_grid(sampler.sample(SAMPLES, SEED)))
    history, facts = _evaluations(numbers, evaluation, sampler)
    files["README.md"] = model_card(name, sampler, record, history, facts).encode()
    return files


def model_card(
    name: str, sampler: Sampler, record: dict[str, Any], history: Sequence[dict[str, Any]], facts: dict[str, Any]
) -> str:
    """The card, Markdown with the hub's metadata in front.

    Args:
        name: USER/NAME.
        sampler: the generator.
        record: content of config.json.
        history: evaluations up to the generator's iteration, the latest last; [] for none.
        facts: "num_samples", "real" and "networks" of these evaluations, as in evaluation.json.
    """
    settings, side = record["config"], sampler.resolution
    model, train, data = (settings[group] for group in ("model", "train", "data"))
    metadata = ["library_name: fastgan_jax", "pipeline_tag: unconditional-image-generation"]
    metadata += ["tags:", *(f"- {tag}" for tag in ("fastgan", "gan", "few-shot", "jax", "flax"))]
    sources = [f"{data[kind]} ({where})" for kind, where in SOURCES.items() if data.get(kind)]
    reconstructs = model["decoders"] and model["discriminator"] != "projected"
    training = {
        "Images": f"{side}x{side}, {model['channels']} channels"
        + (f", {model['num_classes']} classes" if model["num_classes"] else ""),
        "Training set": "".join(sources) or "images of the author",
        "Training": f"{sampler.step:,} iterations of {train['batch_size']} images, {train['precision']}",
        "Loss": settings["loss"]["adversarial"]
        + (f", reconstruction by {settings['loss']['reconstruction']}" if reconstructs else ""),
        "Width": f"ngf {model['ngf']}, ndf {model['ndf']}, latents of {model['nz']}",
        "Device": record.get("device"),
        "Versions": ", ".join(f"{library} {version}" for library, version in (record.get("versions") or {}).items()),
    }
    parts = [
        "\n".join(["---", *metadata, "---"]),
        f"# {name.split('/')[-1]}",
        f"A FastGAN ([Liu et al., ICLR 2021](https://openreview.net/forum?id=1Fqg133qRaI)) that makes images of "
        f"{side}x{side} pixels, trained with fastgan_jax.",
        f"![Samples](samples.png)\n\n*{SAMPLES} samples of seed {SEED}, not selected.*",
        "## Use\n\nIn a checkout of fastgan_jax:\n\n```\npip install '.[hf]'\n```\n\n```python\nimport fastgan_jax\n\n"
        f'g = fastgan_jax.load("hf://{name}")\nimages = g.sample(16, seed={SEED})'
        f"  # uint8 [16, {side}, {side}, {model['channels']}]\n```",
        "## Training\n\n" + _table(training, ("", "")),
        "## Evaluation\n\n" + _evaluation(history, facts, settings),
    ]
    return "\n\n".join(parts) + "\n"


def _published_evaluation(path: Path, name: str, step: int) -> dict[str, Any]:
    """The evaluation.json of a run as the repository `name` has it, up to an iteration; {} if none is left.

    Names of training images, and names and paths of this machine, are taken out.
    """
    try:
        evaluation = read_json(path)
    except (OSError, ValueError):
        return {}
    known = evaluation["checkpoints"]
    rows = [row for row in known if row["step"] <= step]
    if not rows:
        return {}
    if len(rows) < len(known):
        for of_latest in ("warnings", "coverage"):
            evaluation.pop(of_latest, None)
    evaluation.get("coverage", {}).pop("uncovered", None)
    real = evaluation["real"] if of_training_set(evaluation["real"]) else OTHER_IMAGES
    return evaluation | {"run": name, "real": real, "checkpoints": rows}


def _evaluations(
    numbers: Sequence[dict[str, Any]], evaluation: dict[str, Any], sampler: Sampler
) -> tuple[Sequence[dict[str, Any]], dict[str, Any]]:
    """The evaluations to show, and how these were made.

    They are those of evaluation.json if it has one of the generator or training made none, else those of training.
    """
    afterwards, trained = evaluation.get("checkpoints", []), evaluations(numbers)
    if afterwards and (afterwards[-1]["step"] == sampler.step or not trained):
        return afterwards, evaluation
    config, networks = sampler.config, networks_in_words(sampler.config)
    own = {"real": TRAINING_SET, "trained_on": True}
    return trained, own | {"num_samples": config.eval.num_samples, "networks": networks}


def _evaluation(history: Sequence[dict[str, Any]], facts: dict[str, Any], settings: dict[str, Any]) -> str:
    """The latest evaluation as a table, how it was done, and what it warns of."""
    if not history:
        return "This model was not evaluated."
    latest, real = history[-1], facts["real"]
    values = {
        name: f"{value:.4g}" + (f" ({output(name).better} is better)" if output(name).better else "")
        for name, value in latest.items()
        if name != "step" and value is not None
    }
    against = f"the {real}" if real == TRAINING_SET else real
    how = f" ({facts['networks']})" if facts.get("networks") else ""
    rows, best = list(history), ranking(list(history), settings["eval"]["best_metric"])
    how_compared = {"mirrored": bool(settings["data"].get("flip")), "trained_on": facts["trained_on"]}
    said = "".join(f"\n\nNote: {line}." for line in diagnose(rows, best, **how_compared))
    return f"At iteration {latest['step']:,}, {facts['num_samples']:,} samples against {against}{how}:\n\n" + (
        _table(values, ("metric", "value")) + said
    )


def _table(rows: dict[str, Any], head: tuple[str, str]) -> str:
    lines = [head, ("---", "---"), *((name, value) for name, value in rows.items() if value)]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of a run; {} if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
