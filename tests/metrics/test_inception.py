"""Inception-v3 for FID: agreement with pytorch_fid on random weights, and what conversion accepts and refuses."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import inception_state
from torch_packages import import_or_skip

from fastgan_jax.errors import UserError
from fastgan_jax.metrics import inception
from fastgan_jax.pretrained.layouts import by_layer, convert


def params_of(state: dict[str, np.ndarray]) -> inception.Params:
    return by_layer(convert("inception", state))


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return inception_state()


@pytest.fixture(scope="module")
def oracle(state):
    """pytorch_fid's network with the random tensors, every one of which it must know by that name and shape."""
    package = import_or_skip("pytorch_fid.inception")
    import torch

    with pytest.MonkeyPatch.context() as patch:
        # The constructor would load weights from an address; the tensors are set below instead.
        patch.setattr(package, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        whole = package.fid_inception_v3()
        patch.setattr(package, "fid_inception_v3", lambda: whole)
        network = package.InceptionV3(resize_input=False, normalize_input=False).eval()
    names = {name for name in whole.state_dict() if not name.startswith("fc.") and "num_batches" not in name}
    assert names == set(state)
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}
    assert not whole.load_state_dict(tensors, strict=False).unexpected_keys
    return network


def test_features_agree_with_pytorch_fid(oracle, state):
    import torch

    images = np.random.default_rng(1).uniform(-1, 1, (2, 299, 299, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = oracle(torch.from_numpy(images.transpose(0, 3, 1, 2)))[0][..., 0, 0].numpy()
    found = np.asarray(jax.jit(inception.features)(params_of(state), images))
    assert found.shape == (2, 2048) and found.dtype == np.float32
    assert wanted.std() > 0.01  # features that vanish would agree whatever the network
    # measured: 5e-7 of the largest feature; average pooling that counts padding gives 7e-2, averaging in the last block
    # instead of the maximum 2e-1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-6 * np.abs(wanted).max())


def test_average_pooling_counts_only_pixels_inside():
    ones = jnp.ones((1, 4, 5, 2))
    np.testing.assert_allclose(inception.POOLINGS["average"](ones), ones, rtol=1e-6)


def test_other_tensors_are_ignored_and_other_types_converted(state):
    more = state | {
        "fc.weight": np.zeros((1008, 2048), np.float32),
        "fc.bias": np.zeros(1008, np.float32),
        "AuxLogits.conv0.conv.weight": np.zeros((128, 768, 1, 1), np.float32),
        "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), np.int64),
    }
    more["Conv2d_1a_3x3.conv.weight"] = more["Conv2d_1a_3x3.conv.weight"].astype(np.float64)
    wanted, found = params_of(state), params_of(more)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var"])
def test_a_missing_or_misshapen_tensor_is_named(state, name):
    with pytest.raises(UserError, match=f"lacks the array {re.escape(name)}; "):
        params_of({key: value for key, value in state.items() if key != name})
    with pytest.raises(
        UserError, match=rf"{re.escape(name)} has shape \[{len(state[name]) - 1}\b.*, which does not give"
    ):
        params_of(state | {name: state[name][1:]})


def test_weights_of_a_thousand_class_classifier_are_refused(state):
    with pytest.raises(UserError, match="fc.weight has 1000 classes, not 1008"):
        params_of(state | {"fc.weight": np.zeros((1000, 2048), np.float32)})


def test_stored_parameters_are_checked_and_stay_as_they_are(state):
    stored = convert("inception", state)
    again = convert("inception", stored)
    assert again.keys() == stored.keys()
    for name, array in stored.items():
        np.testing.assert_array_equal(again[name], array)
    with pytest.raises(UserError, match="lacks the array Mixed_6a.branch3x3/bias"):
        convert("inception", {key: value for key, value in stored.items() if key != "Mixed_6a.branch3x3/bias"})


@pytest.mark.parametrize("shape", [(1, 256, 256, 3), (1, 3, 299, 299), (299, 299, 3), (1, 299, 299, 1)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(UserError, match="resize them first"):
        inception.features({}, jnp.zeros(shape))
