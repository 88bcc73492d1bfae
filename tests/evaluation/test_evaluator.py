"""Evaluation: equal sets are at no distance, different ones far; the same digits each time; the best checkpoint."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from random_networks import cache_random_squeezenet

import fastgan_jax
from configs import smoke
from fastgan_jax import train
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation import evaluator as evaluate
from fastgan_jax.evaluation.diagnosis import baselines, diagnose
from fastgan_jax.evaluation.features import FeatureExtractor, alternatives
from fastgan_jax.inference import restore
from fastgan_jax.inference.restore import load_training_set
from fastgan_jax.metrics import fid
from fastgan_jax.metrics.perceptual import compared_rows, real_nearness, searched_of
from fastgan_jax.metrics.registry import METRICS, output
from fastgan_jax.pretrained import store
from fastgan_jax.pretrained.formats import read_arrays, write_arrays
from fastgan_jax.pretrained.networks import PerceptualDistance, load_perceptual
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.logging import read_metrics

ALL = "frechet,kid,precision_recall,density_coverage,diversity,nearest"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache folder with a random SqueezeNet as the only weights; its input is small, to save time."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setitem(
            FEATURE_NETWORKS, "squeeze_caffe", dataclasses.replace(FEATURE_NETWORKS["squeeze_caffe"], side=48)
        )
        cache_random_squeezenet()
        yield folder


@pytest.fixture(scope="module")
def distance() -> PerceptualDistance:
    return PerceptualDistance("squeeze_caffe", load_perceptual("squeeze_caffe"))


@pytest.fixture(scope="module")
def config():
    config = smoke.get_config()
    config.eval.features = config.loss.perceptual_net = "squeeze_caffe"
    config.eval.metrics = ALL
    config.eval.best_metric = "frechet"
    config.eval.num_samples = 12
    return config


@pytest.fixture(scope="module")
def real(smoke_run) -> np.ndarray:
    """The demo images that the smoke run is trained on, uint8 [20, 64, 64, 3]."""
    (file,) = smoke_run.glob("data/*/images.npy")
    return np.load(file)


def evaluator_of(config, *args, **kwargs) -> evaluate.Evaluator:
    return evaluate.Evaluator(config, evaluate.load_networks(config), *args, **kwargs)


@pytest.fixture(scope="module")
def evaluator(config, real, tmp_path_factory):
    return evaluator_of(config, real, "content", tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def numbers(evaluator, real):
    """Numbers of the real set itself, of its mirror image, and of noise."""
    noise = np.random.RandomState(0).randint(0, 256, real.shape, np.uint8)
    return {
        name: evaluator.evaluate_images(x)
        for name, x in {"same": real, "flipped": real[:, :, ::-1], "noise": noise}.items()
    }


def test_a_set_against_itself_is_at_no_distance(numbers):
    same = numbers["same"]
    assert same["frechet"] == pytest.approx(0, abs=1e-9 * numbers["noise"]["frechet"])
    assert same["kid"] <= 0  # unbiased, so below zero for equal sets
    assert same["precision"] == same["recall"] == same["coverage"] == same["density"] == 1
    assert same["nearest"] == 0


def test_noise_is_far_and_a_mirrored_copy_near(numbers):
    same, flipped, noise = (numbers[name] for name in ("same", "flipped", "noise"))
    assert same["frechet"] < flipped["frechet"] < 0.2 * noise["frechet"]
    assert flipped["kid"] < 0.2 * noise["kid"]
    assert noise["recall"] < flipped["recall"] and noise["coverage"] < flipped["coverage"]
    assert same["nearest"] == flipped["nearest"] == 0 < noise["nearest"]  # the set is trained on with data.flip


def test_the_baselines_are_of_the_real_set_alone(numbers):
    for name in (name for name in numbers["same"] if output(name).role == "baseline"):
        values = {each[name] for each in numbers.values()}
        assert len(values) == 1 and values.pop() > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda real: real / np.float32(255), r"images to evaluate are float32 \[.*, 3\]: give uint8 \[M, 64, 64, C\]"),
        (lambda real: real[:, ::2, ::2], r"images to evaluate are uint8 \[.*, 32, 32, 3\]: give uint8"),
        (lambda real: real[:1], r"1 image\(s\) to evaluate, and \w+ needs \d"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(evaluator, real, given, message):
    with pytest.raises(UserError, match=message):
        evaluator.evaluate_images(given(real))


@pytest.mark.parametrize("flip", [True, False])
def test_mirrored_copies_are_copies_where_training_mirrors(config, real, tmp_path, flip):
    own = config.copy_and_resolve_references()
    own.eval.metrics, own.data.flip = "nearest", flip
    evaluator = evaluator_of(own, real, "content", tmp_path)
    assert ("and their mirror images" in evaluator.protocol["nearest"]) == flip
    values = evaluator.evaluate_images(real[:, :, ::-1])
    assert (values["nearest"] == 0) == flip
    assert [line.split(":")[0] for line in diagnose([values], "fid", mirrored=flip)] == ["memorization"] * flip


def test_sets_with_their_own_mirror_images_leave_something_to_compare_with(distance, real):
    """Neither images that are their own mirror images nor sets that hold each image's make everything sound."""
    half = real[:8]
    symmetric = np.concatenate([half[:, :, :32], half[:, :, 31::-1]], axis=2)
    for images in (symmetric, np.concatenate([half, half[:, :, ::-1]])):
        values = real_nearness(distance, images, mirrored=True)
        assert min(baselines(values, mirrored=True).values()) > 0
        assert len(diagnose([values | {"nearest": 0.0}], "fid", mirrored=True)) == 1
    assert real_nearness(distance, symmetric, mirrored=True)["nearest_flipped"] == 0


def test_the_nearest_other_image_may_be_mirrored(distance, real):
    shifted = np.roll(real[:1, :, ::-1], 1, axis=2)
    images = np.concatenate([real[:1], shifted])
    plain, both = (real_nearness(distance, images, mirrored=mirrored)["nearest_real"] for mirrored in (False, True))
    assert 0 < both < plain


def test_the_batch_size_does_not_change_the_numbers(evaluator, numbers, real, monkeypatch):
    flipped = real[:, :, ::-1]
    whole = evaluator._extract(flipped)
    parts = [evaluator._extract(flipped[start:end]) for start, end in ((0, 1), (1, 6), (6, 20))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)  # whatever comes with an image, to the last digit
    monkeypatch.setattr("fastgan_jax.evaluation.features.CHUNK", 7)  # images per device call: to rounding
    for name, value in evaluator.evaluate_images(flipped).items():
        assert value == pytest.approx(numbers["flipped"][name], rel=1e-5, abs=1e-7), name


def test_products_are_true_float32_whatever_the_default(evaluator):
    """A GPU's default keeps 10 bits of each factor, and digits would depend on the device."""
    images = np.zeros((16, 48, 48, 3), np.float32)
    with jax.default_matmul_precision("bfloat16"):
        program = str(jax.make_jaxpr(evaluator._extract._apply)(evaluator._extract._params, images))
    assert program.count("conv_general_dilated") > 20
    assert program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == program.count("conv_general_dilated")


def test_real_features_are_computed_once(evaluator, config, real, numbers, monkeypatch):
    again = evaluator_of(config, real, "content", evaluator._cache_dir)
    monkeypatch.setattr(FeatureExtractor, "__call__", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(again.real_features, evaluator.real_features)
    other = evaluator_of(config, real, "other content", evaluator._cache_dir)
    with pytest.raises(pytest.fail.Exception):
        _ = other.real_features


def test_damaged_features_in_the_cache_are_computed_again(config, real, evaluator, tmp_path, caplog):
    own = evaluator_of(config, real, "content", tmp_path)
    expected = evaluator.real_features
    damaged = False  # there is nothing in the cache at first
    for content in (b"cut off", b"cut off", None):
        for path in tmp_path.iterdir():
            path.write_bytes(content) if content else write_arrays(path, {"features": expected[:3]})
        vars(own).pop("real_features", None)
        caplog.clear()
        np.testing.assert_array_equal(own.real_features, expected)
        told_why = "the features of the real images are computed again"
        assert (told_why in caplog.text) == (damaged and content == b"cut off"), caplog.text
        damaged = True
    np.testing.assert_array_equal(read_arrays(next(tmp_path.iterdir()))["features"], expected)


def test_a_cache_that_cannot_be_written_ends_no_run(config, real, evaluator, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    own = evaluator_of(config, real, "content", tmp_path / "file")
    np.testing.assert_array_equal(own.real_features, evaluator.real_features)
    assert "will be computed again next time" in caplog.text


@pytest.mark.slow
def test_every_real_image_counts_once(evaluator, config, real, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "IMAGES_AT_ONCE", 7)  # so that they are read in parts, the last one smaller
    features = evaluator_of(config, real, "content", tmp_path).real_features
    assert features.shape == (len(real), 512)
    for index, image in enumerate(real):
        np.testing.assert_array_equal(features[index], evaluator._extract(image[None])[0])


def test_an_evaluation_does_only_what_is_asked_for(config, real, tmp_path, monkeypatch):
    asked = []

    class Generator:
        """Stands for a sampler."""

        def sample(self, num, seed, *, first, labels):
            asked.append((first, num))
            return np.zeros((num, 64, 64, 3), np.uint8)

    own = config.copy_and_resolve_references()
    own.eval.metrics = "frechet"
    evaluator = evaluator_of(own, real, "content", tmp_path)
    computed, fitted = [], fid.gaussian
    monkeypatch.setattr(fid, "gaussian", lambda features: computed.append(len(features)) or fitted(features))
    first, second = (evaluator.evaluate(Generator()) for _ in range(2))
    assert first == second and asked == [(0, 12)] * 2
    assert sorted(computed) == [12, 12, 20]  # the real images' Gaussian once


def test_an_evaluation_shows_how_far_it_is(config, real, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        evaluate, "Progress", lambda items, *, title, passing: shown.append((title, len(items))) or items
    )
    own = config.copy_and_resolve_references()
    own.eval.metrics, own.eval.num_samples = "frechet,kid", 130
    sampler = type("Generator", (), {"sample": lambda _, num, *a, **k: np.zeros((num, 64, 64, 3), np.uint8)})()
    evaluator_of(own, real, "content", tmp_path).evaluate(sampler)
    assert shown == [("samples, by 64", 3), ("real images, by 64", 1), ("metrics", 2)]


def test_an_evaluation_can_be_given_up(config, real, tmp_path):
    config = config.copy_and_resolve_references()
    config.eval.metrics = "layout"
    evaluator = evaluator_of(config, real, "content", tmp_path)
    evaluator.given_up = lambda: True
    with pytest.raises(evaluate.GivenUp):
        evaluator.evaluate_images(real)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [True, False])
def test_a_run_that_ends_while_it_evaluates_is_saved_first(config, tmp_path, monkeypatch, caplog, stopped):
    """By a signal, which ends the evaluation, or by an error in it."""

    def evaluate_one(self, sampler):
        if not stopped:
            raise RuntimeError("no evaluation")
        os.kill(os.getpid(), signal.SIGTERM)
        while not self.given_up():
            time.sleep(0.01)
        raise evaluate.GivenUp

    monkeypatch.setattr(evaluate.Evaluator, "evaluate", evaluate_one)
    config = config.copy_and_resolve_references()
    config.eval.update(metrics="layout", best_metric="layout", every=2)
    config.train.checkpoint_every = 4
    with pytest.raises(train.Interrupted if stopped else RuntimeError):
        train.train_and_evaluate(config, str(tmp_path))
    assert fastgan_jax.load(tmp_path).step == 2
    assert ("iteration 2 is not evaluated, since the run stops" in caplog.text) == stopped


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_read_is_left_out(smoke_run, config, tmp_path, caplog):
    run, own = tmp_path / "run", config.copy_and_resolve_references()
    shutil.copytree(smoke_run, run)
    own.eval.metrics = "layout"
    shutil.rmtree(run / "checkpoints" / "4" / "sampler")
    (run / "checkpoints" / "4" / "sampler").mkdir()
    evaluation = evaluate.evaluate_run(run, [0, 4], own)
    assert [row["step"] for row in evaluation.rows] == [0]
    remark = "iteration 4 cannot be read and is left out"  # why stands in the log, which nobody publishes
    assert evaluation.facts["remarks"][0] == remark and f"{remark} (checkpoint {run}" in caplog.text
    with pytest.raises(UserError, match="cannot be read"):
        evaluate.evaluate_run(run, [4], own)


@pytest.mark.slow
def test_real_images_are_called_by_what_they_are(smoke_run, config, tmp_path, monkeypatch):
    config = config.copy_and_resolve_references()
    config.eval.metrics = "layout"
    own = load_training_set(smoke_run, config)

    def facts(images: Path | None, fingerprint: str) -> tuple:
        found = dataclasses.replace(own, fingerprint=fingerprint)
        monkeypatch.setattr(evaluate, "find_training_set", lambda *_: lambda: found)
        evaluation = evaluate.evaluate_run(smoke_run, [4], config, images)
        return *(evaluation.facts[name] for name in ("real", "trained_on")), len(evaluation.facts["remarks"])

    path = str(tmp_path.resolve())
    assert facts(None, own.fingerprint) == ("training set", True, 0)
    assert facts(tmp_path, own.fingerprint) == (path, True, 0), "moved"
    assert facts(tmp_path, "other") == (path, False, 0)
    assert facts(None, "other") == ("training set", True, 1)


@pytest.mark.slow
def test_of_several_checkpoints_each_is_said_at_once(smoke_run, config, capsys, monkeypatch):
    config = config.copy_and_resolve_references()
    config.eval.metrics = "layout"
    usual = evaluate.Evaluator.evaluate

    def stopped(self, sampler):
        if sampler.step == 4:
            raise KeyboardInterrupt
        return usual(self, sampler)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluate.Evaluator, "evaluate", stopped)
        evaluate.evaluate_run(smoke_run, [0, 4], config)
    assert re.search(r"^smoke, iteration 0: layout \d", capsys.readouterr().err, re.MULTILINE)
    assert evaluate.evaluate_run(smoke_run, "latest", config).rows[0]["step"] == 4
    assert "iteration 4" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_evaluation_gives_the_same_digits(smoke_run, config):
    first, second = (evaluate.evaluate_run(smoke_run, ["latest"], config) for _ in range(2))
    assert first[:2] == second[:2]
    np.testing.assert_array_equal(first.coverage, second.coverage)
    (row,) = first.rows
    assert row["step"] == 4 and all(np.isfinite(value) for value in row.values())
    assert first.facts["num_samples"] == 12 and first.facts["num_real"] == 20
    assert (
        first.facts["networks"]
        == "squeeze_caffe, unit length, legacy resize; cosine distance (squeeze_caffe), not LPIPS"
    )
    assert first.facts["protocol"]["kid"] == "unbiased, mean of 100 subsets of 12 of each, seed 0"


def test_a_discriminator_is_not_judged_by_its_own_network_unawares(config, real, tmp_path, monkeypatch, caplog):
    own = config.copy_and_resolve_references()
    own.eval.metrics = "kid"
    with own.unlocked():
        own.model.discriminator = "projected"
    assert "own network" not in evaluator_of(own, real, "content", tmp_path).description and not caplog.text
    monkeypatch.setitem(  # the random SqueezeNet stands for the discriminator's network
        FEATURE_NETWORKS, "squeeze_caffe", dataclasses.replace(FEATURE_NETWORKS["squeeze_caffe"])
    )
    monkeypatch.setattr("fastgan_jax.evaluation.features.PROJECTED_WEIGHTS", "squeezenet_caffe")
    for discriminator, warned in (("fastgan", False), ("projected", True), ("both", True)):
        own.model.discriminator = discriminator
        caplog.clear()
        description = evaluator_of(own, real, "content", tmp_path).description
        assert description.endswith("the discriminator's own network") == warned
        assert ("flatter the run: judge it by eval.features=inception, efficientnet" in caplog.text) == warned
        assert ("squeeze_caffe" in alternatives(discriminator)) != warned
    assert alternatives("fastgan")[0] == "efficientnet_lite0"


def test_images_that_metrics_see_are_made_once(config, real, tmp_path):
    made = []

    class Generator:
        """Stands for a sampler."""

        def sample(self, num, seed, *, first, labels):
            made.append((first, num))
            return np.full((num, 64, 64, 3), first, np.uint8)

    own = config.copy_and_resolve_references()
    own.eval.num_samples = 230
    for metrics, expected, shown in (
        ("frechet,layout,swd", [(0, 64), (64, 64), (128, 64), (192, 38)], 200),
        ("swd", [(0, 64), (64, 64), (128, 64), (192, 8)], 200),
        ("nearest", [(0, 64), (64, 64)], 128),
    ):
        own.eval.metrics = metrics
        evaluator = evaluator_of(own, real, "content", tmp_path)
        made.clear()
        samples = evaluator._samples(evaluator._generated(Generator()))
        assert (
            made == expected
            and samples.images[:, 0, 0, 0].tolist() == np.repeat(range(0, 256, 64), 64)[:shown].tolist()
        )
        assert {name: len(rows) for name, rows in samples.reduced.items()} == (
            {"layout": 230} if "layout" in metrics else {}
        )
        assert (samples.features is None) == ("frechet" not in metrics)


@pytest.mark.parametrize(
    ("metrics", "num_samples", "num_real", "message"),
    [
        ("precision_recall", 3, 20, "eval.num_samples is 3, and precision_recall needs 4"),
        ("kid,density_coverage", 12, 5, "the number of real images is 5, and density_coverage needs 6"),
        ("frechet", 12, 1, "the number of real images is 1, and frechet needs 2"),
    ],
)
def test_too_few_images_are_refused_before_training(config, real, tmp_path, metrics, num_samples, num_real, message):
    own = config.copy_and_resolve_references()
    own.eval.metrics, own.eval.num_samples = metrics, num_samples
    with pytest.raises(UserError, match=f"{message}: leave it out of eval.metrics"):
        evaluator_of(own, real[:num_real], "content", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_the_fewest_images_are_enough(config, real, tmp_path, metric):
    own = config.copy_and_resolve_references()
    own.eval.metrics = metric if metric != "fid" else "frechet"
    samples, reals = METRICS[metric].fewest
    own.eval.num_samples = max(samples, 2)
    values = evaluator_of(own, real[:reals], "content", tmp_path).evaluate_images(real[-samples:])
    assert all(np.isfinite(value) for name, value in values.items() if output(name).role != "baseline")


def test_classes_are_asked_for_in_the_shares_of_the_real_images(config, real, tmp_path):
    asked = []

    class Conditional:
        """Stands for a sampler."""

        def sample(self, num, seed, *, first, labels):
            asked[first : first + num] = labels
            return np.zeros((num, 64, 64, 3), np.uint8)

    own = config.copy_and_resolve_references()
    own.eval.metrics, own.eval.num_samples = "frechet", 40
    evaluator_of(own, real, "content", tmp_path, labels=np.repeat([0, 1], [15, 5])).evaluate(Conditional())
    assert len(asked) == 40 and sum(asked) == 10
    assert sum(asked[:20]) > 0 and asked[:20] == asked[20:]


def test_searched_and_compared_images_are_spread_over_the_set(distance, real):
    numbers = np.arange(2500)
    assert searched_of(numbers).tolist() == list(range(0, 2500, 3))
    assert searched_of(numbers[:1000]).tolist() == list(range(1000))
    rows = compared_rows(1000)
    assert len(rows) == len(set(rows)) == 64 and rows[0] == 0 and rows[-1] == 999
    assert compared_rows(3).tolist() == [0, 1, 2]
    assert np.isnan(real_nearness(distance, real[:1], mirrored=True)["nearest_real"])


def test_a_matrix_holds_the_distances_of_pairs(distance, real):
    matrix = distance.matrix(real[:3], real[:10])
    assert matrix.shape == (3, 10)
    np.testing.assert_allclose(np.diag(matrix[:, 1:]), distance.pairs(real[:3], real[1:4]), rtol=1e-4)
    assert distance.pairs(real[:0], real[:0]).shape == (0,)


@pytest.mark.parametrize("name", FEATURE_NETWORKS)
def test_without_feature_weights_the_alternative_is_named(name, monkeypatch, tmp_path):
    monkeypatch.setattr(
        store, "find", lambda weights, path: (_ for _ in ()).throw(UserError(f"{weights} is not there"))
    )
    with pytest.raises(UserError, match=r"eval\.feature_weights=FILE.*frechet,kid.*squeeze_caffe.*not FID") as error:
        FeatureExtractor(name, "legacy")
    others = [network.weights for other, network in FEATURE_NETWORKS.items() if other != name]
    assert ("here already" in str(error.value)) == any(map(store.local_path, others))
    # What the line, and the pages, advise is a configuration that passes.
    root = Path(__file__).parents[2]
    for text in (str(error.value), (root / "README.md").read_text(), (root / "docs" / "evaluation.md").read_text()):
        advised = re.search(
            r"(eval\.metrics=frechet[\w,]*\w)`?(?:,|\s+with)\s+`?(?:--config\.)?(eval\.best_metric=\w+)`?"
            r"\s+(?:on|and)\s+`?(?:--config\.)?(eval\.\w+=\w+)",
            text,
        )
        config = smoke.get_config()
        configuration.apply_overrides(config, [("eval.every", "2"), *(item.split("=") for item in advised.groups())])
        configuration.validate(config)


def test_weights_are_missed_before_images_are_decoded(config, smoke_run, monkeypatch, tmp_path):
    own = config.copy_and_resolve_references()
    own.eval.every, own.eval.feature_weights = 1, str(tmp_path / "none.npz")
    for module in (restore, train):
        monkeypatch.setattr(module, "load_image_set", lambda *_, **__: pytest.fail("the images are decoded"))
    with pytest.raises(UserError, match="none.npz: no such file"):
        evaluate.evaluate_run(smoke_run, ["latest"], own)
    with pytest.raises(UserError, match="none.npz: no such file"):
        train.train_and_evaluate(own, str(tmp_path / "run"))


def test_images_are_missed_before_networks_are_loaded(config, smoke_run, monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate, "load_networks", lambda *_: pytest.fail("networks are loaded"))
    with pytest.raises(UserError, match="none: no such folder or zip"):
        evaluate.evaluate_run(smoke_run, ["latest"], config, tmp_path / "none")


def test_without_perceptual_weights_the_alternative_is_named(config, real, monkeypatch, tmp_path):
    own = config.copy_and_resolve_references()
    own.loss.perceptual_net, own.loss.perceptual_weights = "vgg", str(tmp_path / "none.npz")
    with pytest.raises(UserError) as error:
        evaluator_of(own, real, "content", tmp_path)
    message = str(error.value)
    assert "none.npz: no such file (here already: squeeze_caffe); or set loss.perceptual_weights=FILE" in message
    assert (
        message.endswith("or leave diversity and nearest out of eval.metrics") and "loss.reconstruction" not in message
    )


@pytest.mark.slow
def test_training_evaluates_and_keeps_the_best(config, tmp_path, smoke_run, monkeypatch):
    scores = iter([3.0, 1.0, 2.0, 5.0])
    monkeypatch.setattr(evaluate.Evaluator, "evaluate", lambda *_: {"frechet": next(scores)})
    config = config.copy_and_resolve_references()
    config.eval.metrics = "frechet"
    config.eval.every, config.train.checkpoint_every, config.train.keep = 1, 4, 1
    train.train_and_evaluate(config, str(tmp_path / "run"))
    assert sorted(int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()) == [0, 2, 4]
    assert fastgan_jax.load(tmp_path / "run", "best").step == 2
    assert fastgan_jax.load(tmp_path / "run").step == 4
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "eval/frechet" in line]
    assert [(line["step"], line["eval/frechet"]) for line in lines] == [(1, 3.0), (2, 1.0), (3, 2.0), (4, 5.0)]
    # Evaluation leaves training as it is.
    plain, evaluated = (fastgan_jax.load(run).variables["params"] for run in (smoke_run, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, plain, evaluated)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_samples": 14}, "eval.num_samples: 12 in the checkpoint, 14 now"),
        ({"resize": "clean", "every": 3}, "eval.resize: legacy in the checkpoint, clean now"),
        ({"num_samples": 14, "every": None}, ""),
        ({"metrics": "kid", "every": 3}, ""),
    ],
)
def test_who_goes_on_with_another_way_to_judge_is_told(config, caplog, changes, expected):
    saved = config.copy_and_resolve_references()
    saved.eval.every = 2
    current = saved.copy_and_resolve_references()
    current.eval.update(changes)
    train._warn_of_other_evaluation(saved.to_dict(), current.to_dict(), of_0_2=False)
    assert expected in caplog.text and ("cannot be compared" in caplog.text) == bool(expected)


def test_who_goes_on_with_a_run_of_version_0_2_is_told(config, caplog):
    current = config.to_dict()
    current["eval"] |= {"every": 2, "features": "squeeze"}
    train._warn_of_other_evaluation(current, current, of_0_2=True)
    assert "lengths of features" in caplog.text


@pytest.mark.slow
def test_a_run_from_before_there_were_evaluations_goes_on(config, smoke_run, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(smoke_run, run)
    for item, absent in (("config", "eval"), ("data", "checksums")):
        for path in run.glob(f"checkpoints/*/{item}/metadata"):
            saved = json.loads(path.read_text())
            del saved[absent]
            path.write_text(json.dumps(saved))
    own = smoke.get_config()
    own.train.iterations = 5
    train.train_and_evaluate(own, str(run))
    assert fastgan_jax.load(run).step == 5 and "cannot be compared" not in caplog.text
