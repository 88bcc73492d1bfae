"""Names, layouts and variants of the reference program's checkpoints; files and run folders: test_conversion.py."""

import json

import numpy as np
import pytest
from flax import traverse_util
from reference_checkpoints import NZ, WIDTH, adam_of, module_of, random_state_dict

from fastgan_jax.errors import UserError
from fastgan_jax.interop import names, reading
from fastgan_jax.interop.importing import STEP_IN_NAME
from fastgan_jax.interop.pytorch import (
    expected_shapes,
    state_dict_to_variables,
    variable_shapes,
    variables_to_state_dict,
)

NETS = {"generator": "G", "discriminator": "D"}
RESOLUTIONS = (64, 128, 256, 512, 1024, 2048)


def manifest(shared_dir, resolution: int, net: str) -> dict[str, dict]:
    """What the reference has: {key: {"shape", "dtype", "kind"}} in its order."""
    content = json.loads((shared_dir / "fixtures" / f"manifest_{resolution}.json").read_text())
    return {entry["key"]: entry for entry in content[NETS[net]]}


@pytest.fixture(scope="module")
def small_networks() -> dict[str, dict[str, np.ndarray]]:
    """Both networks at 64 pixels as "g" and "d"."""
    return {"g": random_state_dict("generator"), "d": random_state_dict("discriminator")}


def assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(actual) == list(expected)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype, key
        np.testing.assert_array_equal(actual[key], value, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("resolution", [256, 512, 1024])
def test_names_shapes_and_order_are_the_references(shared_dir, resolution, net):
    expected = manifest(shared_dir, resolution, net)
    assert [tensor.key for tensor in names.tensors(net, resolution)] == list(expected)
    parameters = [key for key, entry in expected.items() if entry["kind"] == "param"]
    assert names.parameter_keys(net, resolution) == parameters
    shapes = {key: tuple(entry["shape"]) for key, entry in expected.items()}
    ours = expected_shapes(net, module_of(net, resolution, width=64), nz=256)
    assert ours == {key: shape for key, shape in shapes.items() if not key.endswith(names.COUNTER)}

    zeros = {key: np.zeros(entry["shape"], entry["dtype"]) for key, entry in expected.items()}
    assert_same(variables_to_state_dict(state_dict_to_variables(zeros, net), net), zeros)


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_leaf_has_a_place_and_comes_back(resolution, net):
    state_dict = random_state_dict(net, resolution, np.float64)
    assert names.resolution_of(net, state_dict) == resolution
    variables = state_dict_to_variables(state_dict, net)
    assert set(variables) == {"params", "batch_stats", "spectral"}
    assert_same(variables_to_state_dict(variables, net), state_dict)
    # `expected_shapes` looks up every tensor's leaf in the module's variables; here, that no leaf is left over.
    leaves = {path for path, _ in traverse_util.flatten_dict(variables).items()}
    assert leaves == set(traverse_util.flatten_dict(variable_shapes(module_of(net, resolution), NZ)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_conversion_keeps_the_dtype(dtype):
    variables = state_dict_to_variables(random_state_dict("generator", 64, dtype), "generator")
    assert {leaf.dtype for leaf in traverse_util.flatten_dict(variables).values()} == {np.dtype(dtype)}


def test_kernels_and_vectors_are_transposed_as_torch_defines_them(small_networks):
    ours = state_dict_to_variables(small_networks["g"], "generator")
    theirs = small_networks["g"]
    kernel, weight = ours["params"]["up_8"]["conv_0"]["kernel"], theirs["feat_8.1.weight_orig"]
    assert kernel[1, 2, 3, 4] == weight[4, 3, 1, 2]
    transposed, weight = ours["params"]["initial"]["conv"]["kernel"], theirs["init.init.0.weight_orig"]
    assert transposed[3, 1, 2, 4] == weight[2, 4, 3, 1]
    vector, theirs_vector = ours["spectral"]["initial"]["conv"]["v"], theirs["init.init.0.weight_v"]
    assert vector.reshape(4, 4, NZ)[3, 1, 2] == theirs_vector.reshape(NZ, 4, 4)[2, 3, 1]


def test_some_collections_alone_are_converted(small_networks):
    params = state_dict_to_variables(small_networks["d"], "discriminator")["params"]
    converted = variables_to_state_dict({"params": params}, "discriminator")
    assert list(converted) == names.parameter_keys("discriminator", 64)
    assert state_dict_to_variables(converted, "discriminator").keys() == {"params"}


def test_counters_follow_the_passes_of_each_network(small_networks):
    for net, key, passes in (("generator", "g", {1}), ("discriminator", "d", {1, 3})):
        variables = state_dict_to_variables(small_networks[key], net)
        counters = {
            name: int(value)
            for name, value in variables_to_state_dict(variables, net, updates=5).items()
            if name.endswith(names.COUNTER)
        }
        assert set(counters.values()) == {5 * count for count in passes}
        assert all(value == 5 for name, value in counters.items() if name.startswith("decoder_"))


def test_variables_without_a_place_are_refused(small_networks):
    variables = state_dict_to_variables(small_networks["g"], "generator")
    variables["params"]["embed"] = {"embedding": np.zeros(3)}
    with pytest.raises(UserError, match="params/embed/embedding has no place"):
        variables_to_state_dict(variables, "generator")


def test_all_forms_in_circulation_read_the_same(small_networks):
    g, d = small_networks["g"], small_networks["d"]
    average = {key: g[key] * 2 for key in names.parameter_keys("generator", 64)}
    newer = {
        "weight_orig": "parametrizations.weight.original",
        "weight_u": "parametrizations.weight.0._u",
        "weight_v": "parametrizations.weight.0._v",
    }

    def renamed(tensors: dict) -> dict:
        parts = [(key.rpartition("."), value) for key, value in tensors.items()]
        return {f"{head}.{newer.get(tail, tail)}": value for (head, _, tail), value in parts}

    def wrapped(tensors: dict) -> dict:
        return {f"module.{key}": value for key, value in tensors.items()}

    def without_counters(tensors: dict) -> dict:
        return {key: value for key, value in tensors.items() if not key.endswith(names.COUNTER)}

    variants = [
        {"g": g, "d": d, "g_ema": list(average.values())},
        {"g": g, "d": d, "g_ema": average},
        {"g": g, "d": d, "g_ema": g | average, "epoch": 3},
        {"g": wrapped(g), "d": wrapped(d), "g_ema": wrapped(average)},
        {"g": renamed(g), "d": wrapped(renamed(d)), "g_ema": renamed(average)},
        {"g": g, "d": d, "g_ema": tuple(average.values()), "opt_g": None},
    ]
    for form in variants:
        read = reading.sort_checkpoint(form)
        assert read.sizes == {"resolution": 64, "channels": 3, "ngf": WIDTH, "nz": NZ, "ndf": WIDTH}
        assert_same(read.networks["generator"], g)
        assert_same(read.networks["discriminator"], d)
        assert_same(read.ema, average)
        assert read.moments == {} and read.notes == ()
    for bare in (g, wrapped(g), renamed(g), {"g": g}, {"g": g, "d": None}):
        read = reading.sort_checkpoint(bare)
        assert_same(read.networks["generator"], g)
        assert read.ema is None and "discriminator" not in read.networks and "ndf" not in read.sizes
    assert_same(reading.sort_checkpoint({"g_ema": wrapped(g)}).networks["generator"], g)
    assert_same(reading.sort_checkpoint(without_counters(g)).networks["generator"], without_counters(g))


def test_adams_state_is_found_by_parameter(small_networks):
    g, d = small_networks["g"], small_networks["d"]
    content = {"g": g, "d": d, "opt_g": adam_of(g, "generator"), "opt_d": adam_of(d, "discriminator", updates=8)}
    moments = reading.sort_checkpoint(content).moments
    assert [moments[net].updates for net in NETS] == [7, 8]
    assert moments["generator"].options == (1e-4, 0.4, 0.99)
    for net, state_dict in (("generator", g), ("discriminator", d)):
        first, *others = names.parameter_keys(net, 64)
        assert not moments[net].first[first].any() and not moments[net].second[first].any()
        for key in others:
            np.testing.assert_array_equal(moments[net].first[key], state_dict[key] + 1)
            np.testing.assert_array_equal(moments[net].second[key], state_dict[key] + 2)


def test_an_optimizer_that_is_not_adam_is_left_out_and_named(small_networks):
    g = small_networks["g"]
    adam = adam_of(g, "generator")
    shorter = {**adam, "param_groups": [{"params": [0, 1]}]}
    momentum = {**adam, "state": {1: {"momentum_buffer": g["init.init.1.weight"]}}}
    for optimizer, reason in (
        (shorter, "it is of 2 parameters, the network has"),
        (momentum, "it is not Adam's: init.init.1.weight has no step and exp_avg"),
        (
            {**adam, "state": {1: adam["state"][1] | {"step": "many"}}},
            "it is not the state_dict of an optimizer (invalid",
        ),
        ({"state": []}, "it is not the state_dict of an optimizer"),
    ):
        read = reading.sort_checkpoint({"g": g, "opt_g": optimizer})
        assert read.moments == {}
        (note,) = read.notes
        assert note.startswith(f"opt_g was not used: {reason}")


def test_checkpoints_that_do_not_fit_are_refused(small_networks):
    g, d = small_networks["g"], small_networks["d"]
    larger = random_state_dict("discriminator", 128)
    keys = names.parameter_keys("generator", 64)
    bad = {key: value for key, value in g.items() if key not in ("to_128.weight_u", "to_128.weight_v")}
    bad |= {"se_512.main.1.weight_u": np.zeros(3), "feat_8.1.weight_u": np.zeros(5)}
    for content, message in (
        ([g], "holds a list"),
        ({"model": g}, "no generator: it has 'model'"),
        ({}, "no generator: it has nothing"),
        (d, "no generator"),
        ({"g": [1]}, "the generator is not a state_dict"),
        ({"g": {"epoch": 3}}, "the generator is not a state_dict"),
        ({"g_ema": list(g.values())}, "no 'g', so batch norm's state is missing"),
        ({"g": {"a.weight": np.zeros(3)}}, r"init.init.0.weight_orig is missing \(of 1 tensors\)"),
        ({"g": g | {"to_big.weight_orig": np.zeros(3)}}, r"to_big.weight_orig has shape \[3\]"),
        (
            {"g": bad},
            r"2 missing \(first: to_128.weight_u\); 1 unexpected \(first: se_512.main.1.weight_u\); "
            r"1 of another shape \(first: feat_8.1.weight_u \[5\] instead of \[32\]\)",
        ),
        ({"g": g, "d": larger}, "generator is made for resolution 64, the discriminator for 128"),
        ({"g": g, "d": d | {"rf_small.weight_u": np.zeros(2)}}, "discriminator does not fit.*rf_small.weight_u"),
        ({"g": g | {"to_128.weight_u": np.full(3, np.nan)}}, r"1 with numbers that are not finite \(.*to_128.weight_u"),
        ({"g": g | {"feat_100.1.weight_u": np.zeros(2)}}, "ends at resolution 100"),
        ({"g": g, "g_ema": 3}, "'g_ema' is neither a list of tensors nor a state_dict"),
        ({"g": g, "g_ema": [np.zeros(3)]}, f"'g_ema' lists 1 tensors; this generator has {len(keys)} parameters"),
        (
            {"g": g, "g_ema": {keys[0]: g[keys[0]]}},
            rf"'g_ema' does not fit 'g': {len(keys) - 1} missing \(first: {keys[1]}",
        ),
        ({"g": g, "g_ema": [np.zeros(3)] * len(keys)}, rf"of another shape \(first: {keys[0]} \[3\] instead of"),
    ):
        with pytest.raises(UserError, match=message) as error:
            reading.sort_checkpoint(content)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *(("50000", 50000), ("all_50000", 50000), ("G_iter-7", 7), ("STEP9", 9), ("run2_all300", 300)),
        *(("panda_small_256", None), ("football-512", None), ("overall_3", None), ("art512", None)),
    ],
)
def test_the_iteration_in_a_files_name(name, step):
    found = STEP_IN_NAME.search(name)
    assert (int(found[1]) if found else None) == step
