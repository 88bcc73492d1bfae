"""Configurations: every field documented and ruled, bad values named, runs comparable."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs import base, demo
from fastgan_jax.cli.options import split_overrides
from fastgan_jax.errors import UserError
from fastgan_jax.gan import augment, losses
from fastgan_jax.runs import config as configuration

CONFIGS = Path(base.__file__).resolve().parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(CONFIGS.parent)}


def changed(**fields):
    config = demo.get_config()
    for name, value in fields.items():
        group, field = name.split("__")
        config[group][field] = value
    return config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_every_preset_is_valid(path):
    config = configuration.load_config(str(path))
    configuration.validate(config, check_source=False)
    assert configuration.flatten(config).keys() == configuration.flatten(base.get_config()).keys()


def test_every_field_has_a_comment():
    for line in (CONFIGS / "base.py").read_text().splitlines():
        if re.match(r"    \w+\.\w+ = ", line) and "ConfigDict()" not in line:
            assert "  # " in line, line


def test_rules_name_fields_that_exist():
    assert configuration.rules().keys() <= configuration.flatten(base.get_config()).keys()


def test_an_entry_in_a_registry_is_a_value_of_its_field(monkeypatch):
    monkeypatch.setitem(losses.ADVERSARIAL, "mine", losses.Adversarial(losses.hinge))
    monkeypatch.setitem(augment.AUGMENTATIONS, "mine", augment.AUGMENTATIONS["cutout"])
    configuration.validate(changed(loss__adversarial="mine", augment__policy="color,mine"))
    with pytest.raises(UserError, match="must be one of hinge, relativistic_hinge, .*, mine$"):
        configuration.validate(changed(loss__adversarial="yours"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model__resolution", 100),
        ("model__resolution", 32),
        ("model__channels", 2),
        ("model__ngf", 0),
        ("model__decoders", "big,huge"),
        ("model__decoders", "big,big"),
        ("model__logits_map", 3),
        ("data__fit", "stretch"),
        ("data__background", "whiteish"),
        ("data__resident", "maybe"),
        ("loss__adversarial", "wasserstein"),
        ("loss__reconstruction_weight", -1.0),
        ("augment__policy", "colour"),
        ("augment__probability", 1.5),
        ("optim__learning_rate", 0.0),
        ("optim__beta1", 1.0),
        ("optim__ema_decay", -0.1),
        ("train__batch_size", 0),
        ("train__keep", 0),
        ("train__scan", 0),
        ("train__precision", "float16"),
        ("train__remat", "some"),
        ("train__init_step", "newest"),
        ("train__freeze_discriminator", -1),
        ("train__iterations", None),
        ("train__loggers", "tensorboard,mlflow"),
        ("data__path", "s3://bucket/images"),
        ("data__cache_dir", "gs://bucket/cache"),
        ("loss__perceptual_weights", "https://host/vgg.pth"),
        ("eval__feature_weights", "hf://me/inception"),
    ],
)
def test_impossible_values_are_named(field, value):
    name = field.replace("__", ".")
    with pytest.raises(UserError, match=rf"^{re.escape(f'{name}={value!r}')}: must be \S"):
        configuration.validate(changed(**{field: value}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data__path": "x"}, r"exactly one source .* not 2 \(data.path=x, .*, data.demo_images=400\)"),
        ({"data__demo_images": None}, "exactly one source .* not 0"),
        ({"loss__reconstruction": "lpips", "model__channels": 4}, "lpips takes 3 channels; use loss.reconstruction=l1"),
        ({"model__num_classes": 2}, "the demo images have no classes"),
        ({"train__scan": 3}, "train.scan=3 does not divide train.log_every"),
        ({"train__generator_every": 3}, "train.generator_every=3 does not divide train.log_every"),
        ({"loss__penalty_every": 16}, "loss.penalty_every=16 does not divide train.log_every"),
        ({"model__self_supervision": "contrastive"}, "set model.num_instances to the number of training images"),
        ({"model__num_instances": 5}, "with model.num_instances=5: set model.num_instances to 0"),
        ({"loss__reconstruction": "none"}, "with model.decoders="),
        (
            {"model__self_supervision": "aspect", "model__discriminator": "projected"},
            "model.self_supervision=aspect with model.discriminator=projected",
        ),
        ({"train__freeze_discriminator": 1}, "freeze_discriminator=1 would freeze random values: set train.init_from"),
        ({"train__freeze_discriminator": 5, "train__init_from": "x"}, "a discriminator of 64 pixels has 4 layers to"),
        (
            {"train__freeze_discriminator": 1, "train__init_from": "x", "model__discriminator": "projected"},
            "whose feature network is frozen already",
        ),
        ({"loss__reconstruction": "lpips", "loss__perceptual_net": "pixels"}, "use loss.reconstruction=l2"),
        ({"loss__lecam": 0.3, "model__discriminator": "both"}, "loss.lecam=0.3 with model.discriminator=both: .*set 0"),
        ({"augment__target": 0.6, "augment__policy": ""}, "augment.target=0.6 with augment.policy='': .*nothing"),
    ],
)
def test_impossible_combinations_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        configuration.validate(changed(**fields))


def test_overrides_take_the_type_of_their_field():
    config = demo.get_config()
    words = ["--config.train.batch_size=4", "--config.data.path", "some where", "--config.optim.learning_rate=1e-3"]
    words += ["--config.model.output_tanh=true", "--config.data.flip=false", "--config.data.demo_images=None"]
    words += ["--config.train.iterations=50_000", "--config.train.keep=none"]
    overrides, _ = split_overrides(words)
    configuration.apply_overrides(config, overrides)
    assert (config.train.batch_size, config.data.path, config.optim.learning_rate) == (4, "some where", 1e-3)
    assert config.model.output_tanh is True and config.data.flip is False
    assert config.data.demo_images is None and config.train.keep is None
    assert config.train.iterations == 50_000


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            ("train.batchsize", "4"),
            r"^--config\.train\.batchsize=4: there is no field train\.batchsize; nearest: train\.batch_size",
        ),
        (("batch_size", "4"), r"nearest: train\.batch_size"),
        (("qqqq", "4"), r"fields are listed in configs/base\.py"),
        (("train.batch_size", "four"), r"train\.batch_size takes a whole number"),
        (("optim.beta1", "x"), r"optim\.beta1 takes a number"),
        (("data.flip", "perhaps"), r"data\.flip takes true or false"),
        (("model.ngf", "None"), r"model\.ngf takes a whole number"),
    ],
)
def test_bad_overrides_are_named(override, message):
    with pytest.raises(UserError, match=message):
        configuration.apply_overrides(demo.get_config(), [override])


def test_presets_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configuration.load_config("art1024").model.resolution == 1024
    program = "from fastgan_jax.configs import art512; print(art512.get_config().model.resolution)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT)
    assert result.stdout == "512\n"


@pytest.mark.parametrize("package", ["fastgan_jax.configs", "configs"])
def test_a_users_file_starts_from_a_preset(tmp_path, monkeypatch, package):
    file = tmp_path / "mine.py"
    file.write_text(
        f"from {package} import demo\n\ndef get_config():\n    config = demo.get_config()\n"
        "    config.model.nz = 7\n    return config\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    before = list(sys.path)
    assert configuration.load_config("~/mine.py").model.nz == 7
    assert sys.path == before


def test_what_a_users_file_returns_may_be_frozen(tmp_path):
    (tmp_path / "frozen.py").write_text(
        "from fastgan_jax.configs import demo\nfrom ml_collections import FrozenConfigDict\n\n"
        "def get_config():\n    return FrozenConfigDict(demo.get_config())\n"
    )
    config = configuration.load_config(tmp_path / "frozen.py")
    configuration.apply_overrides(config, [("model.nz", "7")])
    assert config.model.nz == 7


def test_a_saved_configuration_of_another_version_is_completed(tmp_path):
    saved = demo.get_config().to_dict()
    del saved["augment"]["shared"]
    saved["train"]["of_another_version"] = 1
    saved["train"]["seed"] = 5
    for folder, content in (("run", {"config": saved}), ("damaged", {"config": 3}), ("other", [])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(content))
    for source in (tmp_path / "run", tmp_path / "run" / "config.json"):
        config = configuration.load_config(source)
        assert (config.train.seed, config.augment.shared, config.data.demo_images) == (5, False, 400)
        assert configuration.flatten(config).keys() == configuration.flatten(base.get_config()).keys()
    for folder in ("damaged", "other"):
        with pytest.raises(UserError, match=f"{folder}/config.json is not the config.json of a run"):
            configuration.load_config(tmp_path / folder)


def test_files_that_are_not_a_configuration_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file, run or preset; nearest: art1024; presets: art1024, art512"):
        configuration.load_config("art1204")
    with pytest.raises(UserError, match="is not a run folder: it has no config.json"):
        configuration.load_config(str(tmp_path))
    for content, message in (
        ("", r"has no function get_config\(\)"),
        ("get_config = (", "was never closed"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("from ml_collections import ConfigDict as get_config", "get_config.. lacks the group .*: begin with"),
    ):
        (tmp_path / "wrong.py").write_text(content)
        with pytest.raises(UserError, match=f"--config .*wrong.py: .*{message}"):
            configuration.load_config(str(tmp_path / "wrong.py"))


def test_none_can_be_set_and_taken_back_where_it_has_a_meaning(tmp_path):
    config = demo.get_config()
    given = {
        "train.keep": "None",
        "train.init_from": "runs/other",
        "data.hf_column": "photo",
        "model.output_tanh": "false",
    }
    configuration.apply_overrides(config, given.items())
    assert (config.train.keep, config.train.init_from, config.model.output_tanh) == (None, "runs/other", False)
    configuration.apply_overrides(config, [("train.keep", "5"), *((name, "None") for name in list(given)[1:])])
    assert config.train.keep == 5
    assert config.train.init_from is config.data.hf_column is config.model.output_tanh is None
    with pytest.raises(UserError, match="train.batch_size=None: train.batch_size takes a whole number"):
        configuration.apply_overrides(config, [("train.batch_size", "None")])


def test_checkpoints_are_ranked_by_a_number_that_there_will_be():
    config = demo.get_config()
    config.eval.update(metrics="swd", best_metric="swd_64", every=100)
    configuration.validate(config)
    config.eval.best_metric = "swd_128"
    with pytest.raises(
        UserError, match="best_metric=swd_128: must be one of what eval.metrics=swd gives, swd, swd_64, swd_32"
    ):
        configuration.validate(config)


def test_a_projected_discriminator_alone_cannot_see_transparency():
    config = demo.get_config()
    config.model.update(channels=4, discriminator="projected")
    configuration.validate(config, to_train=False)
    with pytest.raises(UserError, match="model.channels=4 .* use model.discriminator=both"):
        configuration.validate(config)
    config.model.discriminator = "both"
    configuration.validate(config)


def test_only_fields_that_the_state_depends_on_must_stay():
    saved = configuration.to_dict(demo.get_config())
    free = copy.deepcopy(saved)
    free["train"]["iterations"] = 7
    free["optim"]["learning_rate"] = 1.0
    assert len(configuration.differences(saved, free)) == 2
    configuration.check_resumable(saved, free)
    fixed = copy.deepcopy(saved)
    fixed["model"]["nz"] = 7
    fixed["train"]["seed"] = 7
    with pytest.raises(
        UserError, match=r"model\.nz: 32 in the checkpoint, 7 now; train\.seed: 0 in the checkpoint, 7 now"
    ):
        configuration.check_resumable(saved, fixed)


def test_files_may_have_other_places_when_a_run_goes_on():
    saved, current = base.get_config().to_dict(), base.get_config().to_dict()
    for name in configuration.PATHS:
        group, field = name.split(".")
        saved[group][field], current[group][field] = "/old/file", "/new/file"
    configuration.check_resumable(saved, current)


def test_the_reconstruction_decides_on_the_decoders_unless_they_are_named():
    def decoders(first: str, *overrides: tuple[str, str]) -> str:
        own = base.get_config()
        own.loss.reconstruction = first
        own.model.decoders = "" if first == "none" else own.model.decoders
        configuration.apply_overrides(own, overrides)
        configuration.validate(own, check_source=False)
        return own.model.decoders

    usual = base.get_config().model.decoders
    assert decoders("l1", ("loss.reconstruction", "none")) == "" == decoders("none", ("model.ngf", "8"))
    assert decoders("none", ("loss.reconstruction", "l1")) == usual
    assert decoders("l1", ("model.decoders", "")) == "", "chosen, and kept"
    assert decoders("l1", ("loss.reconstruction", "l2"), ("model.decoders", "big")) == "big"
    with pytest.raises(UserError, match="set model.decoders to nothing"):
        decoders("l1", ("loss.reconstruction", "none"), ("model.decoders", "big"))


def test_an_evaluation_needs_no_network_that_training_needs():
    own = base.get_config()
    own.loss.perceptual_net = "pixels"
    configuration.validate(own, check_source=False, to_train=False)
    with pytest.raises(UserError, match="pixels is not a network"):
        configuration.validate(own, check_source=False)


def test_the_batch_may_become_smaller_before_the_first_iteration():
    """As is advised where memory does not suffice for it, and the checkpoint of iteration 0 is written already."""
    saved = configuration.to_dict(demo.get_config())
    current = copy.deepcopy(saved)
    current["train"]["batch_size"] //= 2
    configuration.check_resumable(saved, current, begun=False)
    with pytest.raises(UserError, match="train.batch_size"):
        configuration.check_resumable(saved, current)


def test_averages_cannot_be_switched_on_or_off_when_a_run_goes_on():
    saved = configuration.to_dict(demo.get_config())
    saved["augment"]["target"], saved["optim"]["final_learning_rate"] = None, None
    current = copy.deepcopy(saved)
    current["optim"]["final_learning_rate"] = 1e-5
    configuration.check_resumable(saved, current)
    current["augment"]["target"] = 0.6
    for pair in ((saved, current), (current, saved)):
        with pytest.raises(UserError, match=r"configuration \(augment\.target: \S+ in the checkpoint, \S+ now\): set"):
            configuration.check_resumable(*pair)
    saved["loss"]["lecam"] = 0.1  # there are averages before and after, but that of augmentation has stood still
    with pytest.raises(UserError, match=r"augment\.target: None in the checkpoint, 0\.6 now"):
        configuration.check_resumable(saved, current)
    saved["augment"]["target"] = 0.5
    configuration.check_resumable(saved, current)


@pytest.fixture
def former(monkeypatch):
    """A version in which a field of the group train is gone, and a whole group."""
    monkeypatch.setattr(configuration, "FORMER_FIELDS", ("train.speed", "old.x"))
    configuration._announce_former.cache_clear()


def test_former_fields_of_saved_configurations_are_dropped(former, caplog):
    saved = configuration.to_dict(demo.get_config())
    saved["train"] |= {"speed": "fast"}
    assert configuration.upgrade(saved) is saved
    assert "speed" not in saved["train"]
    assert [record.getMessage() for record in caplog.records] == ["train.speed is a field of earlier versions: ignored"]


def test_overrides_of_former_fields_are_accepted_and_said_once(former, caplog):
    config = demo.get_config()
    for _ in range(2):
        configuration.apply_overrides(config, [("train.batch_size", "6"), ("train.speed", "fast")])
    assert config.train.batch_size == 6 and "speed" not in config.train
    assert len(caplog.records) == 1


def test_a_run_with_a_field_that_no_longer_exists_goes_on(caplog):
    current = configuration.to_dict(demo.get_config())
    saved = copy.deepcopy(current)
    saved["model"]["forgotten"] = 3
    configuration.check_resumable(saved, current)
    assert caplog.messages == ["model.forgotten of the checkpoint does not exist in this version: ignored"]
