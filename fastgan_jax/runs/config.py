"""Configurations: loading, overriding, checking and comparing them. Fields are documented in configs/base.py."""

import copy
import difflib
import functools
import importlib.util
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from fastgan_jax import configs
from fastgan_jax.errors import UserError
from fastgan_jax.metrics.registry import METRICS, output, ranked
from fastgan_jax.pretrained.registry import PIXELS
from fastgan_jax.utils.checks import LARGEST_SEED
from fastgan_jax.utils.files import user_path

FIELD_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
BOOLEANS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}

# The state of a checkpoint depends on fields with these names and beginnings: they must be the same when a run goes on.
FIXED_ON_RESUME = ("model.", "train.seed", "train.batch_size", "train.init_", "train.freeze_discriminator")
AVERAGED = ("loss.lecam", "augment.target")  # with either there are averages in the state, moved as the latter says
# Fields that must be multiples of another one, where both are set. The log shows no iteration without all losses.
LOGGED = ("train.log_every", "train.iterations")
EVENTS = {
    "train.scan": (*LOGGED, "train.sample_every", "train.checkpoint_every", "eval.every"),
    "train.generator_every": LOGGED,
    "loss.penalty_every": LOGGED,
}
# Fields of earlier versions that saved configurations and commands may name. They have no effect any more.
FORMER_FIELDS = tuple(
    f"train.{kind}_form" for kind in ("upsample", "downsample", "kernel_gradient", "spectral", "judge")
)

HUB_NAME = re.compile(r"(hf://)?(datasets/)?\w[\w.-]*(/[\w.-]+)?")  # of a data set on the hub
INIT_FROM = "a run of the author"  # published in place of its path: None would say that the networks began fresh

log = logging.getLogger(__name__)


def load_config(source: str | Path) -> ml_collections.ConfigDict:
    """The configuration of a preset such as "art1024", of a file with `get_config()`, or of a run or its config.json.

    Raises:
        UserError: if there is no such preset, file or run, or the file is not a configuration.
    """
    names = configs.preset_names()
    if str(source) in names:
        return importlib.import_module(f"fastgan_jax.configs.{source}").get_config()
    path = user_path(source)
    if path.is_dir():
        path /= "config.json"
        if not path.is_file():
            raise UserError(f"--config {source} is not a run folder: it has no config.json")
    if not path.is_file():
        near = difflib.get_close_matches(path.stem, names, n=1)
        hint = f"; nearest: {near[0]}" if near else ""
        raise UserError(f"--config {source}: no such file, run or preset{hint}; presets: {', '.join(names)}")
    if path.suffix == ".py":
        return _from_file(path)
    if path.suffix != ".json":
        raise UserError(f"--config {source}: give a .py file with get_config(), or the config.json of a run")
    try:
        return from_saved(json.loads(path.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--config {path} is not the config.json of a run ({error!r})") from None


def from_saved(saved: dict[str, Any]) -> ml_collections.ConfigDict:
    """The configuration of a run as it was saved, perhaps by another version.

    Fields that it lacks have the values of configs/base.py; unknown ones are left out.
    """
    config = load_config("base")
    known = flatten(config)
    present = flatten(upgrade(copy.deepcopy(saved)))
    config.update_from_flattened_dict({name: x for name, x in present.items() if name in known})
    return config


def _from_file(path: Path) -> ml_collections.ConfigDict:
    """What `get_config()` of a Python file returns."""
    spec = importlib.util.spec_from_file_location(f"configuration_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    root = str(path.resolve().parent.parent)
    sys.path.insert(0, root)  # so that `from configs import base` works in a checkout, from any folder
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"--config {path}: the file has no function get_config()")
        config = module.get_config()
        if not isinstance(config, ml_collections.ConfigDict):
            raise UserError(f"--config {path}: get_config() returns {type(config).__name__}, not a ConfigDict")
        if missing := [group for group in load_config("base") if group not in config]:
            problem = f"--config {path}: get_config() lacks the group {missing[0]}"
            raise UserError(f"{problem}: begin with get_config() of fastgan_jax.configs.base")
        return ml_collections.ConfigDict(config)  # not frozen
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 (the file may do anything)
        raise UserError(f"--config {path}: {type(error).__name__}: {' '.join(str(error).split())}") from None
    finally:
        sys.path.remove(root)


def apply_overrides(config: ml_collections.ConfigDict, overrides: Iterable[tuple[str, str]]) -> None:
    """Sets fields by their dotted names, each value read as the type of its field.

    Raises:
        UserError: for an unknown field (naming the nearest) or a value of another type.
    """
    base, named, reconstructed = load_config("base"), set(), config.loss.reconstruction != "none"
    present = flatten(config).keys()
    usual = {name: value for name, value in flatten(base).items() if name in present}
    for name, text in overrides:
        if name in FORMER_FIELDS:
            _announce_former(name)
            continue
        named.add(name)
        if name not in usual:
            near = difflib.get_close_matches(name, usual, n=2, cutoff=0.4)
            near = near or [field for field in usual if field.split(".")[-1] == name.split(".")[-1]]
            hint = f"; nearest: {', '.join(near)}" if near else "; fields are listed in configs/base.py"
            raise UserError(f"--config.{name}={text}: there is no field {name}{hint}")
        group, field = name.split(".")
        # None is a value of fields that are None by default, and of those whose rule allows it.
        optional = usual[name] is None or (name in rules() and rules()[name].optional)
        config[group][field] = _read(name, text, base[group].get_type(field), optional=optional)
    if "model.decoders" not in named:
        _settle_decoders(config, reconstructed)


def _settle_decoders(config: ml_collections.ConfigDict, reconstructed: bool) -> None:
    """Gives the discriminator decoders as the reconstruction loss needs them; `reconstructed`: as it was before."""
    if config.loss.reconstruction == "none":
        config.model.decoders = ""
    elif not reconstructed and not config.model.decoders:  # there were none since nothing was reconstructed
        config.model.decoders = load_config("base").model.decoders


@functools.cache
def _announce_former(name: str) -> None:
    log.warning("%s is a field of earlier versions: ignored", name)


def to_train_on(config: dict[str, Any], step: int) -> list[str]:
    """The options with which a run that is finished at an iteration goes on, at the learning rate it ended with."""
    more, last = [f"--config.train.iterations={2 * step}"], config["optim"]["final_learning_rate"]
    return more + (constant_rate(last) if last else [])


def constant_rate(rate: float) -> list[str]:
    """The options that keep a learning rate."""
    return [f"--config.optim.learning_rate={rate:g}", "--config.optim.final_learning_rate=None"]


def upgrade(saved: dict[str, Any]) -> dict[str, Any]:
    """Drops former fields of a saved configuration, in place; returns it.

    Fields that its groups lack get their values in configs/base.py, with which earlier versions computed.
    """
    for former in FORMER_FIELDS:
        group, field = former.split(".")
        if field in saved.get(group, {}):
            del saved[group][field]
            _announce_former(former)
    for group, fields in to_dict(load_config("base")).items():
        if group in saved:
            saved[group] = fields | saved[group]
    return saved


def flatten(config: Any) -> dict[str, Any]:
    """{dotted name: value} of every field of a ConfigDict or of nested dicts."""
    flat = {}
    for group, fields in config.items():
        if isinstance(fields, (ml_collections.ConfigDict, dict)):
            flat.update({f"{group}.{name}": value for name, value in flatten(fields).items()})
        else:
            flat[group] = fields
    return flat


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The configuration as nested dicts of plain values, fit for JSON."""
    return config.to_dict()


def without_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as nested dicts that can be published: a copy without paths of this machine."""
    settings = copy.deepcopy(settings)
    for field in PATHS:
        group, name = field.split(".")
        settings[group][name] = None
    if settings["train"]["init_from"]:
        settings["train"]["init_from"] = INIT_FROM
    hf = settings["data"].get("hf")
    if hf and (not HUB_NAME.fullmatch(hf) or Path(hf).exists()):
        settings["data"]["hf"] = None
    return settings


def differences(saved: dict, current: dict) -> list[str]:
    """For each field that differs a text such as "model.ngf: 64 in the checkpoint, 32 now"."""
    old, new = flatten(saved), flatten(current)
    pairs = {name: (old.get(name, "absent"), new.get(name, "absent")) for name in sorted(old.keys() | new.keys())}
    return [f"{name}: {before} in the checkpoint, {now} now" for name, (before, now) in pairs.items() if before != now]


def check_resumable(saved: dict, current: dict, *, begun: bool = True) -> None:
    """Checks that a run saved with one configuration can go on with another.

    One that has not `begun` to iterate, as where memory does not suffice, may change its batch size. The log names the
    fields of the state that this version lacks.

    Raises:
        UserError: naming every differing field that the state depends on; the others may change freely.
    """
    known, lines = flatten(current), []
    fixed = FIXED_ON_RESUME + (() if _averages(saved) == _averages(current) else AVERAGED)
    for line in differences(saved, current):
        name = line.split(":")[0]
        if not name.startswith(fixed) or name in PATHS or (name == "train.batch_size" and not begun):
            continue
        if name in known:
            lines.append(line)
        else:
            log.warning("%s of the checkpoint does not exist in this version: ignored", name)
    if lines:
        problem = f"the checkpoint does not fit this configuration ({'; '.join(lines)})"
        raise UserError(f"{problem}: set these values back, or choose another --workdir")


def _averages(config: dict) -> tuple[bool, bool]:
    """Whether the state of such a run carries averages (see `Spec.has_averages`), and whether augmentation adapts."""
    lecam, target = (config.get(group, {}).get(name) for group, name in (field.split(".") for field in AVERAGED))
    return bool(lecam) or target is not None, target is not None


def validate(config: ml_collections.ConfigDict, *, check_source: bool = True, to_train: bool = True) -> None:
    """Checks every field and their combinations.

    With `check_source` also that exactly one source of images is set, with `to_train` also what an evaluation of a
    model that is trained need not care for.

    Raises:
        UserError: one line with the field, its value and what it must be.
    """
    _validate_kinds(config)
    fields = flatten(config)
    for name, rule in rules().items():
        if not (rule.optional if fields[name] is None else rule.holds(fields[name])):
            raise UserError(f"{name}={fields[name]!r}: must be {rule.allowed}")
    model, train = config.model, config.train
    if train.batch_size % train.accumulate:
        problem = f"train.accumulate={train.accumulate} does not divide train.batch_size={train.batch_size}"
        raise UserError(f"{problem}: choose a divisor")
    for every, names in EVENTS.items():
        for name in names if fields[every] else ():
            if fields[name] and fields[name] % fields[every]:
                raise UserError(f"{every}={fields[every]} does not divide {name}={fields[name]}: choose a divisor")
    _validate_freezing(model, train)
    _validate_tasks(model, config.loss)
    reconstructs = model.decoders and model.discriminator != "projected"
    if config.loss.reconstruction == "lpips" and model.channels != 3 and reconstructs:
        problem = f"loss.reconstruction=lpips with model.channels={model.channels}: lpips takes 3 channels"
        raise UserError(f"{problem}; use loss.reconstruction=l1")
    if to_train and config.loss.reconstruction == "lpips" and config.loss.perceptual_net == PIXELS:
        raise UserError(f"loss.perceptual_net={PIXELS} is not a network: use loss.reconstruction=l2")
    _validate_metrics(config.eval, model.resolution)
    if model.num_classes and config.data.demo_images:
        raise UserError(f"model.num_classes={model.num_classes}: the demo images have no classes; set 0")
    if config.data.labels is not None and not model.num_classes:
        problem = f"data.labels={config.data.labels} with model.num_classes=0: the model has no classes"
        raise UserError(f"{problem}; set model.num_classes to their number")
    if to_train:
        if model.channels == 4 and model.discriminator == "projected":
            problem = "model.channels=4 with model.discriminator=projected, which sees images on white, not their alpha"
            raise UserError(f"{problem}: use model.discriminator=both")
        _validate_regularizers(config)
    sources = {f"data.{name}": config.data[name] for name in SOURCES}
    given = [name for name, value in sources.items() if value is not None]
    if check_source and len(given) != 1:
        listed = ", ".join(f"{name}={value}" for name, value in sources.items())
        problem = f"exactly one source of images must be set, not {len(given)} ({listed})"
        raise UserError(f"{problem}: for a folder add --config.data.path=DIR")


def _validate_kinds(config: ml_collections.ConfigDict) -> None:
    """Checks that there are the fields of configs/base.py, no others, each with a value of its kind."""
    base, fields = load_config("base"), flatten(config)
    known = flatten(base)
    for name in fields.keys() - known.keys():
        near = difflib.get_close_matches(name, known, n=1)
        raise UserError(f"{name}={fields[name]!r}: there is no such field{f'; nearest: {near[0]}' if near else ''}")
    for name, usual in known.items():
        group, field = name.split(".")
        if name not in fields:
            raise UserError(f"{name} is missing: begin with get_config() of fastgan_jax.configs.base")
        value, kind = fields[name], base[group].get_type(field)
        optional = usual is None or (name in rules() and rules()[name].optional)
        taken = (int, float) if kind is float else kind
        if not (value is None and optional) and (
            not isinstance(value, taken) or isinstance(value, bool) != (kind is bool)
        ):
            raise UserError(f"{name}={value!r}: must be {FIELD_KINDS[kind]}{' or None' if optional else ''}")


def _validate_freezing(model: ml_collections.ConfigDict, train: ml_collections.ConfigDict) -> None:
    from fastgan_jax.models.discriminator import layers_from_image

    layers, given = layers_from_image(model.resolution), f"train.freeze_discriminator={train.freeze_discriminator}"
    if train.freeze_discriminator and model.discriminator == "projected":
        raise UserError(f"{given} with model.discriminator=projected, whose feature network is frozen already: set 0")
    if train.freeze_discriminator > len(layers):
        raise UserError(f"{given}: a discriminator of {model.resolution} pixels has {len(layers)} layers to freeze")
    if train.freeze_discriminator and train.init_from is None:
        raise UserError(f"{given} would freeze random values: set train.init_from to a run, or 0")


def _validate_regularizers(config: ml_collections.ConfigDict) -> None:
    for name in ("lecam", "r1", "r2") if config.model.discriminator == "both" else ():
        if config.loss[name]:
            given = f"loss.{name}={config.loss[name]} with model.discriminator=both"
            problem = f"{given}: it would mix the logits of two discriminators"
            raise UserError(f"{problem}; set 0, or another discriminator")
    if config.augment.target is not None and not split_names(config.augment.policy):
        problem = f"augment.target={config.augment.target} with augment.policy='': there is nothing to adapt"
        raise UserError(f"{problem}; set augment.target=None, or a policy")


def _validate_tasks(model: ml_collections.ConfigDict, loss: ml_collections.ConfigDict) -> None:
    tasks, given = split_names(model.self_supervision), f"model.self_supervision={model.self_supervision}"
    if tasks and model.discriminator == "projected":
        raise UserError(
            f"{given} with model.discriminator=projected, which has no maps of its own: use fastgan or both"
        )
    if ("contrastive" in tasks) != (model.num_instances > 0):
        cure = "the number of training images" if tasks and "contrastive" in tasks else "0"
        raise UserError(f"{given} with model.num_instances={model.num_instances}: set model.num_instances to {cure}")
    if loss.reconstruction == "none" and model.decoders:
        raise UserError(f"loss.reconstruction=none with model.decoders={model.decoders}: set model.decoders to nothing")


def _validate_metrics(evaluation: ml_collections.ConfigDict, resolution: int) -> None:
    metrics, features = split_names(evaluation.metrics), evaluation.features
    given = f"eval.metrics={evaluation.metrics}"
    if "fid" in metrics and features != "inception":
        problem = f"{given} with eval.features={features}: FID is computed on the features of Inception"
        raise UserError(f"{problem}; use frechet for others")
    if "frechet" in metrics and features == "inception":
        raise UserError(f"{given} with eval.features=inception: use fid")
    outputs = [each for metric in metrics for each in METRICS[metric].outputs]
    values = [each.name for each in outputs if each.from_side <= resolution]
    if evaluation.every and evaluation.best_metric not in values:
        choices = ", ".join(value for value in values if output(value).better)
        problem = f"eval.best_metric={evaluation.best_metric}: must be one of what {given} gives"
        raise UserError(f"{problem}, {choices or 'which is nothing to rank checkpoints by'}")


def split_names(text: str) -> tuple[str, ...]:
    """The names in a field that lists them, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _read(name: str, text: str, kind: type, *, optional: bool) -> Any:
    """The value that `text` means for a field of type `kind`."""
    if optional and text in ("none", "None"):
        return None
    try:
        return BOOLEANS[text] if kind is bool else kind(text)
    except (ValueError, KeyError, OverflowError):
        raise UserError(f"--config.{name}={text}: {name} takes {FIELD_KINDS[kind]}") from None


class Rule(NamedTuple):
    """What a field may hold."""

    allowed: str  # in words, after "must be"
    holds: Callable[[Any], bool]  # the check of a value other than None
    optional: bool = False  # whether None is allowed


def _one_of(*values: Any) -> Rule:
    return Rule(f"one of {', '.join(map(str, values))}", lambda value: value in values)


def _at_least(low: int) -> Rule:
    return Rule(f"a whole number of at least {low}", lambda value: low <= value <= LARGEST_COUNT)


def _optionally(rule: Rule) -> Rule:
    return Rule(f"None or {rule.allowed}", rule.holds, optional=True)


def _is_color(text: str) -> bool:
    from PIL import ImageColor

    try:
        return bool(ImageColor.getrgb(text))
    except ValueError:
        return False


def _is_choice(ops: str) -> bool:
    from fastgan_jax.models.variants import choose

    try:
        choose(ops, "cpu")
    except ValueError:
        return False
    return True


def _names_among(*names: str) -> Rule:
    def holds(value: str) -> bool:
        parts = split_names(value)
        return set(parts) <= set(names) and len(set(parts)) == len(parts)

    return Rule(f"names among {', '.join(names)}, separated by commas, each at most once", holds)


LOCAL_PATH = Rule("a local path, not an address", lambda value: "://" not in value, optional=True)
LARGEST_COUNT = 2**31 - 1
SEED = Rule(f"a number from 0 to {LARGEST_SEED}", lambda value: 0 <= value <= LARGEST_SEED)
POSITIVE = Rule("a number above 0", lambda value: value > 0 and math.isfinite(value))
NOT_NEGATIVE = Rule("a number of at least 0", lambda value: value >= 0 and math.isfinite(value))
BELOW_ONE = Rule("a number from 0 to below 1", lambda value: 0 <= value < 1)
SOURCES = ("path", "tfds", "hf", "demo_images")  # of images: fields of the group `data`
PATHS = (
    *("data.path", "data.labels", "data.cache_dir"),
    *("model.feature_weights", "loss.perceptual_weights", "eval.feature_weights"),
)
WEIGHTS = ("lecam", "r1", "r2", "projected_weight", "self_supervision_weight")
COUNTS = (
    *("model.ngf", "model.ndf", "model.nz", "train.iterations", "train.batch_size", "train.accumulate"),
    *("train.log_every", "train.sample_every", "train.checkpoint_every", "train.num_samples"),
    *("train.generator_every", "loss.penalty_every", "augment.adaptation"),
)
OPTIONAL_COUNTS = ("data.demo_images", "train.devices", "train.scan", "train.keep", "eval.every")


def rules() -> dict[str, Rule]:
    """{field: what it may hold}; the choices are the keys of the registries, which are slow to import."""
    from fastgan_jax.gan import augment, losses
    from fastgan_jax.gan.self_supervision import TASKS
    from fastgan_jax.metrics.resizing import CONVENTIONS
    from fastgan_jax.models import projected
    from fastgan_jax.models.blocks import SLE_ACTIVATIONS
    from fastgan_jax.models.discriminator import DECODERS, PART_DIVISIONS
    from fastgan_jax.models.generator import STAGES
    from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, PERCEPTUAL
    from fastgan_jax.runs.logging import LOGGERS
    from fastgan_jax.utils.images import RESIZES

    return {
        **dict.fromkeys(COUNTS, _at_least(1)),
        **dict.fromkeys(OPTIONAL_COUNTS, _optionally(_at_least(1))),
        **dict.fromkeys(("model.num_classes", "model.num_instances"), _at_least(0)),
        **dict.fromkeys(PATHS, LOCAL_PATH),
        "train.freeze_discriminator": _at_least(0),
        "train.init_from": _optionally(Rule("a run or a .pth file", bool)),
        "data.background": Rule("a CSS color name such as white, or #rrggbb", _is_color),
        "data.fit": _one_of("squash", "crop", "pad"),
        "data.resident": _one_of("auto", "true", "false"),
        "model.resolution": _one_of(64, 128, 256, 512, 1024, 2048),
        "model.channels": _one_of(1, 3, 4),
        "model.decoders": _names_among(*DECODERS),
        "model.part": _one_of(*PART_DIVISIONS),
        "model.self_supervision": _names_among(*TASKS),
        "model.sle_activation": _one_of(*SLE_ACTIVATIONS),
        "model.stages": _one_of(*STAGES),
        "model.discriminator": _one_of(*projected.KINDS),
        "model.logits_map": _one_of(5, 1),
        "model.resize": _one_of(*RESIZES),
        "loss.adversarial": _one_of(*losses.ADVERSARIAL),
        **dict.fromkeys((f"loss.{name}" for name in WEIGHTS), NOT_NEGATIVE),
        "augment.target": _optionally(Rule("a number from -1 to 1", lambda value: -1 <= value <= 1)),
        "optim.final_learning_rate": _optionally(NOT_NEGATIVE),
        "loss.smoothing": Rule("a number from 0 to 1", lambda value: 0 <= value <= 1),
        "loss.reconstruction": _one_of(*losses.RECONSTRUCTION),
        "loss.reconstruction_weight": _optionally(NOT_NEGATIVE),
        "loss.perceptual_net": _one_of(*PERCEPTUAL),
        "augment.policy": _names_among(*augment.AUGMENTATIONS),
        "augment.probability": Rule("a number from 0 to 1", lambda value: 0 <= value <= 1),
        "optim.learning_rate": POSITIVE,
        **dict.fromkeys(("optim.beta1", "optim.beta2", "optim.ema_decay"), BELOW_ONE),
        "train.init_step": Rule("latest, best or an iteration", lambda x: x in ("latest", "best") or x.isdecimal()),
        "train.precision": _one_of("float32", "bfloat16"),
        "train.loggers": _names_among(*LOGGERS),
        "train.on_nonfinite": _one_of("stop", "rollback"),
        "train.remat": _one_of("none", "blocks", "full"),
        "train.ops": Rule("auto or reference, then perhaps variants, as in auto,upsample=repeat", _is_choice),
        "eval.metrics": _names_among(*METRICS),
        "eval.num_samples": _at_least(2),
        "eval.best_metric": _one_of(*ranked()),
        "eval.features": _one_of(*FEATURE_NETWORKS),
        "eval.resize": _one_of(*CONVENTIONS),
        **dict.fromkeys(("data.demo_seed", "train.seed", "eval.seed"), SEED),
    }
