"""Features of images: what they tell apart, and what they do not depend on."""

import numpy as np
from PIL import Image

from fastgan_jax.evaluation.features import FeatureExtractor, scaled
from fastgan_jax.pretrained.registry import FEATURE_NETWORKS


def test_pooled_features_tell_photographs_apart(shared_dir):
    """The network has learned: nearest neighbors of photographs and drawings are of their own set."""
    path = shared_dir / "weights" / "squeezenet_v1.1_features.npz"
    extract = FeatureExtractor("squeeze_caffe", "legacy", path)
    sets = []
    for name in ("panda", "raccoon", "noto_smileys"):
        files = sorted(p for p in (shared_dir / "data" / name).rglob("*") if p.suffix.lower() in (".png", ".jpg"))[:16]
        shown = [np.asarray(Image.open(file).convert("RGB").resize((96, 96))) for file in files]
        sets.append(extract(np.stack(shown)))
    features = np.concatenate(sets)
    labels = np.repeat(range(len(sets)), [len(part) for part in sets])
    distances = np.linalg.norm(features[:, None] - features[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(1)] == labels).mean() > 0.9


def test_lengths_of_features_do_not_count_but_on_inception():
    features = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], np.float32)
    unit = scaled(features)
    np.testing.assert_allclose(unit[:2], [np.float32([0.6, 0.8]) * np.sqrt(2)] * 2, rtol=1e-6)
    assert (unit[2] == 0).all()
    assert [name for name, network in FEATURE_NETWORKS.items() if not network.unit_features] == ["inception"]
