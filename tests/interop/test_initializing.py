"""train.init_from: what a new run takes over from another, and what it says of the rest."""

import jax
import numpy as np
import pytest
from reference_checkpoints import random_state_dict

from configs import smoke
from fastgan_jax.build import spec_from_config
from fastgan_jax.errors import UserError
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.interop import initializing
from fastgan_jax.interop.initializing import InitialNetworks, initialize, read_source
from fastgan_jax.interop.pytorch import state_dict_to_variables
from fastgan_jax.models.discriminator import layers_from_image
from fastgan_jax.runs.checkpoint import load_state


def fresh_state(**model):
    config = smoke.get_config()
    config.model.update(model)
    return create_train_state(jax.random.key(7), spec_from_config(config)), config.model


def source_of(state, model) -> InitialNetworks:
    networks = {net: getattr(state, net).variables for net in initializing.BOTH}
    return InitialNetworks("other", networks, jax.tree.map(lambda x: x + 1, state.ema_params), model.to_dict())


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def source(small) -> InitialNetworks:
    return source_of(small.state, small.config.model)


def test_networks_of_the_same_shapes_are_taken_over_and_the_rest_is_fresh(small, source):
    own, model = fresh_state()
    state, lines = initialize(own, source, model)
    assert lines == ["generator: 22 of 22 layers from other", "discriminator: 35 of 35 layers from other"]
    for net in initializing.BOTH:
        assert_equal(getattr(state, net).variables, getattr(small.state, net).variables)
        assert_equal(getattr(state, net).optimizer, getattr(own, net).optimizer)
    assert_equal(state.ema_params, source.ema_params)
    assert int(state.step) == 0 and (jax.random.key_data(state.rng) == jax.random.key_data(own.rng)).all()
    # The state is donated: no two of its leaves may share a buffer, nor with the source.
    leaves = jax.tree.leaves((state.generator.params, state.ema_params, small.state.generator.params))
    assert len({leaf.unsafe_buffer_pointer() for leaf in leaves}) == len(leaves)


def test_another_resolution_takes_over_what_has_the_same_shapes(source):
    own, model = fresh_state(resolution=128)
    state, (of_g, of_d, settings) = initialize(own, source, model)
    assert settings == "settings that differ: model.resolution=128, there 64"
    assert of_g.startswith("generator: 21 of 30 layers from other; fresh: sle_128/conv_0 (not there); ")
    assert "to_big [3, 3, 4, 3], there [3, 3, 8, 3]" in of_g
    assert "; from_big_0 [3, 3, 3, 2], there [3, 3, 3, 4]; " in of_d
    assert_equal(state.generator.params["up_32"], source.networks["generator"]["params"]["up_32"])
    assert_equal(state.ema_params["up_32"], source.ema_params["up_32"])
    assert_equal(state.ema_params["to_big"], own.generator.params["to_big"])
    with pytest.raises(UserError, match="freeze_discriminator: from_big_0.* frozen with random values, since other"):
        initialize(own, source, model, layers_from_image(128)[0])


def test_classes_come_and_go(source):
    own, model = fresh_state(num_classes=3)
    conditional, (of_g, of_d, _) = initialize(own, source, model)
    assert "embed (not there); initial/conv [4, 4, 24, 128], there [4, 4, 8, 128]" in of_g
    assert "; fresh: embed_big (not there); embed_small (not there)" in of_d
    more, model = fresh_state(num_classes=4)
    _, (of_g, *_) = initialize(more, source_of(conditional, model), model)
    assert of_g == "generator: 22 of 23 layers from other; fresh: embed [4, 16], there [3, 16]"


def test_a_source_that_does_not_fit_is_refused_by_field(source):
    own, model = fresh_state(ngf=8)
    with pytest.raises(UserError, match=r"0% have the shapes of those of other \(model.ngf=8, there 4\): set these"):
        initialize(own, source, model)


def test_a_run_is_read_at_a_step(smoke_run):
    source = read_source(smoke_run, "2")
    assert source.name == f"{smoke_run} (iteration 2)" and source.model["ngf"] == 4
    assert_equal(source.ema_params, load_state(smoke_run, 2)[0]["ema_params"])
    for path, step, message in (
        (smoke_run, "3", "has no checkpoint 3; it has 0, 2, 4"),
        (smoke_run, "best", "has no best checkpoint"),
        ("nowhere", "latest", "nowhere holds no checkpoint"),
        ("none.pth", "latest", "none.pth: no such file"),
        ("none.pth", "2", "is a file, which has no checkpoint 2: leave train.init_step out"),
    ):
        with pytest.raises(UserError, match=f"^train.init_from: .*{message}"):
            read_source(path, step)


def test_a_pytorch_checkpoint_without_a_discriminator(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch to write the file")
    tensors = random_state_dict("generator")
    torch.save({"g": {key: torch.tensor(value) for key, value in tensors.items()}}, tmp_path / "50000.pth")
    own, model = fresh_state(ngf=2, ndf=2, nz=3)
    state, (of_g, of_d) = initialize(own, read_source(tmp_path / "50000.pth"), model)
    assert of_g == f"generator: 22 of 22 layers from {tmp_path / '50000.pth'}"
    assert of_d.endswith(", which holds none; all are fresh")
    expected = state_dict_to_variables(tensors, "generator")
    assert_equal(state.generator.variables, expected)
    assert_equal(state.ema_params, expected["params"])
    assert_equal(state.discriminator.params, own.discriminator.params)
