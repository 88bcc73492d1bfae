"""Questions cost no download: the best network that is here answers them, and says how to get a better one."""

import dataclasses
import re

import numpy as np
import pytest
from random_networks import cache_random_squeezenet, perceptual_params

from fastgan_jax.configs import base
from fastgan_jax.errors import UserError
from fastgan_jax.evaluation.choice import better_networks, choose_networks, judges
from fastgan_jax.metrics.registry import METRICS
from fastgan_jax.models import lpips
from fastgan_jax.pretrained import registry, store
from fastgan_jax.pretrained.choice import best_here, choice_in_words
from fastgan_jax.pretrained.networks import PerceptualDistance, load_perceptual
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS, FILES, NETWORKS, PERCEPTUAL, PIXELS


@pytest.fixture(autouse=True)
def nothing_is_here(tmp_path, monkeypatch):
    """An empty cache, no package with weights, and no network: a download fails the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for entry in FILES.values():
        monkeypatch.setitem(FILES, entry.name, dataclasses.replace(entry, package=entry.package and "no_such_package"))
    monkeypatch.setattr(store, "_download", lambda *_: pytest.fail("a download"))


def put(file: str) -> None:
    """Lets a file of the registry be here, without its content."""
    store.cached_path(file).write_bytes(b"")


def test_every_published_file_has_its_size_and_its_whole_hash():
    for entry in FILES.values():
        assert bool(re.fullmatch("[0-9a-f]{64}", entry.sha256)) == bool(entry.address or entry.package), entry.name
        assert entry.megabytes > 0 and re.fullmatch(r"\d+ [MK]B", entry.size)


def test_the_runs_own_network_comes_first_and_then_the_best(tmp_path):
    assert best_here(PERCEPTUAL, "vgg") == PIXELS and best_here(FEATURE_NETWORKS, "inception") is None
    file = tmp_path / "inception.pth"
    assert best_here(FEATURE_NETWORKS, "inception", weights=file) is None, "the file is gone"
    file.write_bytes(b"")
    assert best_here(FEATURE_NETWORKS, "inception", weights=file) == "inception"
    assert best_here(PERCEPTUAL, "vgg", weights=file) == PIXELS, "the heads would be downloaded"
    put("lpips_vgg")
    assert best_here(PERCEPTUAL, "vgg", weights=file) == "vgg"
    put("squeezenet_caffe")
    assert best_here(PERCEPTUAL, "vgg") == best_here(FEATURE_NETWORKS, "inception") == "squeeze_caffe"
    put("squeezenet1_1")
    assert best_here(PERCEPTUAL, "vgg") == "squeeze_caffe", "the heads of squeeze are missing"
    assert best_here(FEATURE_NETWORKS, "inception") == "squeeze"
    put("lpips_squeeze")
    put("inception")
    assert best_here(PERCEPTUAL, "vgg") == "squeeze" and best_here(PERCEPTUAL, "squeeze_caffe") == "squeeze_caffe"
    assert best_here(FEATURE_NETWORKS, "squeeze") == "squeeze" and best_here(FEATURE_NETWORKS, "lost") == "inception"


def test_better_networks_are_named_with_size_and_command():
    assert choice_in_words(PERCEPTUAL, PIXELS) == (
        "pixels are compared, since no network is here; better, but not here: vgg (553 MB: fastgan weights --fetch "
        "vgg); squeeze (5 MB: fastgan weights --fetch squeeze)"
    )
    assert choice_in_words(FEATURE_NETWORKS, "efficientnet_lite0") == (
        "efficientnet_lite0 is used; better, but not here: inception (91 MB: fastgan weights --fetch inception)"
    )
    assert "; efficientnet_lite0 (19 MB: pip install 'fastgan_jax[projected]')" in choice_in_words(
        FEATURE_NETWORKS, None
    )
    assert choice_in_words(PERCEPTUAL, "vgg") == ""


def test_a_new_network_is_one_entry(monkeypatch):
    kind = {"mine": registry.Network("mine", "mine"), **PERCEPTUAL}
    mine = registry.PretrainedFile("mine", "", "https://localhost/mine", "mine.pth", 3.2, 64 * "0", "MIT")
    monkeypatch.setitem(FILES, "mine", mine)
    assert "not here: mine (3 MB: fastgan weights --fetch mine); vgg" in choice_in_words(kind, PIXELS)
    put("mine")
    assert best_here(kind, "vgg") == "mine" and choice_in_words(kind, "mine") == ""


def test_an_evaluation_takes_what_is_here(caplog):
    config = base.get_config()
    config.eval.metrics = "fid,kid,nearest"
    choose_networks(config)
    without = [name for name, metric in METRICS.items() if metric.needs not in ("features", "distance")]
    assert config.eval.metrics == ",".join([*without, "nearest"]) and config.loss.perceptual_net == PIXELS
    assert "no network is used; better, but not here: inception (91 MB: " in caplog.text
    assert "pixels are compared, since no network is here; better, but not here: vgg" in caplog.text

    put("squeezenet_caffe")
    config = base.get_config()
    config.eval.metrics = "fid,kid,nearest"
    caplog.clear()
    choose_networks(config)
    assert (config.eval.features, config.eval.metrics) == ("squeeze_caffe", "frechet,kid,nearest")
    assert config.loss.perceptual_net == "squeeze_caffe"
    assert "; evaluated: frechet,kid,nearest" in caplog.text
    assert [text.split("not here: ")[1].split(" ")[0] for text in better_networks(config)] == ["inception", "vgg"]
    caplog.clear()
    choose_networks(config)
    assert not caplog.text  # its own are here


def test_a_projected_discriminators_own_network_is_no_judge():
    put("efficientnet_lite0")
    put("squeezenet_caffe")
    for discriminator, features in (("fastgan", "efficientnet_lite0"), ("projected", "squeeze_caffe")):
        config = base.get_config()
        config.model.discriminator = discriminator
        choose_networks(config)
        assert config.eval.features == features


@pytest.mark.parametrize(
    ("given", "metrics"), [(["eval.features"], "fid"), (["eval.metrics"], "fid"), (["loss.perceptual_net"], "nearest")]
)
def test_what_is_named_stays(given, metrics):
    put("squeezenet_caffe")
    config = base.get_config()
    config.eval.metrics = metrics
    choose_networks(config, given)
    assert (config.eval.features, config.eval.metrics, config.loss.perceptual_net) == ("inception", metrics, "vgg")


@pytest.mark.parametrize(
    ("discriminator", "metrics", "message"),
    [
        (
            "fastgan",
            "kid,layout",
            "eval.metrics=kid,layout: kid needs a feature network, and none is on this machine; "
            "eval.features=inception (91 MB) or squeeze (5 MB) downloads one, pip install 'fastgan_jax[projected]' "
            "brings efficientnet_lite0, and eval.metrics=layout,swd needs none",
        ),
        (
            "projected",
            "frechet,kid",
            "eval.metrics=frechet,kid: frechet and kid need a feature network, and none but a discriminator's own is "
            "on this machine; eval.features=inception (91 MB) or squeeze (5 MB) downloads one, and "
            "eval.metrics=layout,swd needs none",
        ),
    ],
)
def test_metrics_name_no_network(discriminator, metrics, message):
    if discriminator == "projected":
        put("efficientnet_lite0")
    config = base.get_config()
    config.model.discriminator, config.eval.metrics = discriminator, metrics
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        choose_networks(config, ["eval.metrics"])


def test_runs_that_are_compared_are_evaluated_alike(caplog):
    put("efficientnet_lite0")
    put("squeezenet_caffe")
    runs = first, second = base.get_config(), base.get_config()
    first.eval.update(metrics="kid,nearest", num_samples=12, resize="clean", features="efficientnet_lite0")
    second.eval.update(metrics="kid,nearest", feature_weights="a file.pth")
    second.model.discriminator = "projected"
    choose_networks(first, ["eval.metrics"], [second])
    for config in runs:
        assert (config.eval.features, config.eval.feature_weights) == ("squeeze_caffe", None)
        assert (config.eval.num_samples, config.eval.resize) == (12, "clean")
        assert config.loss.perceptual_net == "squeeze_caffe"
    assert caplog.text.count("squeeze_caffe is used; better, but not here: inception (91 MB") == 1


def test_who_may_judge():
    without = [name for name in FEATURE_NETWORKS if name != "efficientnet_lite0"]
    assert list(judges("inception", "fastgan", "fastgan")) == list(FEATURE_NETWORKS)
    assert list(judges("inception", "projected")) == list(judges("efficientnet_lite0", "fastgan", "both")) == without
    assert list(judges("efficientnet_lite0", "both", "projected")) == list(FEATURE_NETWORKS)
    config = base.get_config()
    config.eval.update(features="squeeze", metrics="kid")
    for discriminator, advised in (("fastgan", True), ("projected", False)):
        config.model.discriminator = discriminator
        assert ("efficientnet_lite0" in better_networks(config)[0]) == advised


def test_pixels_are_a_distance_without_weights():
    images = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3), np.uint8)
    distance = PerceptualDistance(PIXELS, load_perceptual(PIXELS))
    units = images.astype(np.float64) / 127.5 - 1
    expected = np.square(units[:, None] - units[None]).mean((2, 3, 4))
    np.testing.assert_allclose(distance.matrix(images, images), expected, atol=1e-6)
    large = np.random.RandomState(1).randint(0, 256, (3, 128, 128, 3), np.uint8)  # noise, which shrinks to gray
    assert distance.pairs(large[:2], large[1:]).max() < 0.1 * expected[0, 1]
    assert distance.measure.endswith("not LPIPS") and NETWORKS[PIXELS].files == ()


def test_features_of_networks_are_still_of_unit_length():
    x = np.random.RandomState(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    for features in lpips.embed("squeeze", perceptual_params("squeeze"), x).values():
        lengths = np.linalg.norm(features, axis=-1)
        np.testing.assert_allclose(lengths[lengths > 0.5], 1, atol=1e-5)


def test_weights_of_a_whole_network_are_fetched(capsys):
    from tool_modules import run

    cache_random_squeezenet()
    assert run("weights", "--fetch", "squeeze_caffe") == 0
    assert capsys.readouterr().out == f"present: {store.cached_path('squeezenet_caffe')}\n"
    put("squeezenet1_1")
    put("lpips_squeeze")
    assert run("weights", "--fetch", "squeeze") == 0
    assert capsys.readouterr().out.count("present: ") == 2


def test_features_that_are_named_decide_on_the_metrics():
    config = base.get_config()
    config.eval.update(features="squeeze", metrics="fid,density_coverage")
    choose_networks(config, ["eval.features"])
    assert (config.eval.features, config.eval.metrics) == ("squeeze", "frechet,kid,density_coverage")
    config.eval.update(features="inception", feature_weights="/gone.pth")
    choose_networks(config, ["eval.feature_weights"])
    assert config.eval.features == "inception", "a file that is named is not passed over"
