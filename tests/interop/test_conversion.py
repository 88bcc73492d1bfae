"""Files of the reference program to run folders and back, with PyTorch (the twin) as the judge."""

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from reference import array, assert_close, assert_trees_close, logits_rows, quick_jit, report, to_nchw, to_nhwc

import fastgan_jax
from configs import base
from fastgan_jax.build import build_discriminator, build_generator, spec_from_config
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.interop import exporting, importing
from fastgan_jax.models.spectral_norm import power_iterate
from fastgan_jax.runs import config as configuration
from fastgan_jax.runs.checkpoint import Checkpoints, load_sampler, load_state, newest_config

torch = pytest.importorskip("torch", reason="needs PyTorch (fastgan_jax[torch])")

from fastgan_jax.benchmark.pytorch import networks as torch_networks  # noqa: E402 (they import PyTorch)
from fastgan_jax.benchmark.pytorch import step as torch_step  # noqa: E402

pytestmark = pytest.mark.slow  # the twin trains

WIDTH, NZ, BATCH = 8, 32, 2
TOLERANCE = 2e-5  # float32, of the largest value
LEARNING_RATE = 1e-4  # not the default, to see it carried over


def settle(net) -> None:
    """Power iterations until the spectral vectors mean something: with random ones, evaluation is off by 1e11."""
    for module in net.modules():
        if hasattr(module, "weight_orig"):
            weight = module.weight_orig.detach()
            matrix = (weight.transpose(0, 1) if "Transpose" in type(module).__name__ else weight).flatten(1)
            for _ in range(15):
                module.weight_v.copy_(torch.nn.functional.normalize(matrix.T @ module.weight_u, dim=0))
                module.weight_u.copy_(torch.nn.functional.normalize(matrix @ module.weight_v, dim=0))


@pytest.fixture(scope="module")
def twin():
    """Small networks after one iteration, so that optimizer, averages and running statistics are all their own."""
    torch.manual_seed(0)
    nets = torch_networks.Generator(256, WIDTH, NZ), torch_networks.Discriminator(256, WIDTH)
    for net in nets:
        settle(net)
    twin = torch_step.Twin(*nets, learning_rate=LEARNING_RATE)
    real = torch.rand(BATCH, 3, 256, 256) * 2 - 1
    draws = torch_step.draw(BATCH, NZ)
    torch_step.train_iteration(twin, real, draws, lambda a, b: (a - b).abs().mean())
    for module in twin.generator.modules():  # one iteration leaves them near zero, where they would hide a mistake
        if isinstance(module, torch_networks.NoiseInjection):
            module.weight.data.fill_(0.3)
    return twin


def checkpoint(twin: torch_step.Twin) -> dict:
    """What the reference saves."""
    nets = {"g": twin.generator.state_dict(), "d": twin.discriminator.state_dict(), "g_ema": twin.ema}
    optimizers = {"opt_g": twin.generator_optimizer, "opt_d": twin.discriminator_optimizer}
    return nets | {name: optimizer.state_dict() for name, optimizer in optimizers.items()}


@pytest.fixture(scope="module")
def file(twin, tmp_path_factory) -> Path:
    """The twin as the reference saves it."""
    path = tmp_path_factory.mktemp("reference") / "all_30.pth"
    torch.save(checkpoint(twin), path)
    return path


@pytest.fixture(scope="module")
def imported(file) -> tuple[Path, importing.Imported]:
    """The run folder made from the file."""
    run = file.parent / "run"
    return run, importing.import_checkpoint(file, run, base.get_config())


@pytest.fixture(scope="module")
def bare_file(tmp_path_factory) -> Path:
    """A generator's state_dict alone, under DataParallel's names."""
    path = tmp_path_factory.mktemp("bare") / "generator.pth"
    state_dict = torch_networks.Generator(256, WIDTH, NZ).state_dict()
    torch.save({f"module.{key}": value for key, value in state_dict.items()}, path)
    return path


def variables_of(network: dict) -> dict:
    return {name: network[name] for name in ("params", "batch_stats", "spectral")}


def moved(variables: dict, train: bool) -> dict:
    """Spectral vectors after the power iteration that a pass in training mode makes first."""
    return variables | {"spectral": power_iterate(variables["params"], variables["spectral"])} if train else variables


@pytest.mark.parametrize("train", [True, False], ids=["batch_statistics", "running_statistics"])
def test_imported_generator_makes_the_same_images(twin, imported, train):
    state, config, _ = load_state(imported[0])
    rng = np.random.default_rng(1)
    z = rng.standard_normal((BATCH, NZ)).astype(np.float32)
    noise = [rng.standard_normal((BATCH, 1, s, s)).astype(np.float32) for s in (8, 8, 32, 32, 128, 128)]
    before = {key: value.clone() for key, value in twin.generator.state_dict().items()}
    twin.generator.inject_noise([torch.from_numpy(map_) for map_ in noise])
    with torch.no_grad():
        theirs = twin.generator.train(train)(torch.from_numpy(z))
    twin.generator.load_state_dict(before)

    module = build_generator(ml_collections.ConfigDict(config).model)
    variables = moved(variables_of(state["generator"]), train)
    apply = quick_jit(
        lambda v, z, noise: module.apply(v, z, noise, train=train, mutable=["batch_stats"] if train else [])
    )
    ours, _ = apply(variables, z, tuple(to_nhwc(map_) for map_ in noise))
    errors = [assert_close(to_nchw(o), t, rtol=TOLERANCE, what="image") for o, t in zip(ours, theirs, strict=True)]
    report(f"imported generator, training mode {train}", max(errors), TOLERANCE)


@pytest.mark.parametrize("train", [True, False], ids=["batch_statistics", "running_statistics"])
def test_imported_discriminator_judges_and_reconstructs_the_same(twin, imported, train):
    state, config, _ = load_state(imported[0])
    real = np.random.default_rng(2).uniform(-1, 1, (BATCH, 3, 256, 256)).astype(np.float32)
    before = {key: value.clone() for key, value in twin.discriminator.state_dict().items()}
    small = torch_networks.to_128(torch.from_numpy(real))
    with torch.no_grad():
        logits, images = twin.discriminator.train(train)(torch.from_numpy(real), small, 2)
    twin.discriminator.load_state_dict(before)

    module = build_discriminator(ml_collections.ConfigDict(config).model)
    variables = moved(variables_of(state["discriminator"]), train)
    apply = quick_jit(
        lambda v, full, small: module.apply(
            v, full, small, jnp.int32(2), train=train, mutable=["batch_stats"] if train else []
        )
    )
    ours, _ = apply(variables, to_nhwc(real), to_nhwc(small.numpy()))
    errors = [assert_close(ours.logits, logits_rows(logits.numpy(), BATCH), rtol=TOLERANCE, what="logits")]
    for name, image in images.items():
        errors.append(assert_close(to_nchw(ours.reconstructions[name]), image, rtol=TOLERANCE, what=name))
    report(f"imported discriminator, training mode {train}", max(errors), TOLERANCE)


def test_round_trip_gives_every_tensor_back(twin, file, imported, tmp_path):
    out = tmp_path / "back.pth"
    assert exporting.export_checkpoint(imported[0], out) == 30
    assert_equal(torch.load(out, weights_only=True), torch.load(file, weights_only=True))
    # The file also loads as the reference loads it, into new networks and optimizers.
    content = torch.load(out, weights_only=True)
    new = torch_step.Twin(torch_networks.Generator(256, WIDTH, NZ), torch_networks.Discriminator(256, WIDTH))
    new.generator.load_state_dict(content["g"], strict=True)
    new.discriminator.load_state_dict(content["d"], strict=True)
    new.generator_optimizer.load_state_dict(content["opt_g"])
    new.discriminator_optimizer.load_state_dict(content["opt_d"])
    new.ema = content["g_ema"]
    assert_equal(checkpoint(new), checkpoint(twin))


def assert_equal(actual, expected, where: str = "") -> None:
    """Same structure, order of keys, types and values, to the bit."""
    assert type(actual) is type(expected) or isinstance(expected, dict), where
    if isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype and torch.equal(actual, expected), where
    elif isinstance(expected, dict):
        assert list(actual) == list(expected), where
        for key, value in expected.items():
            assert_equal(actual[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), where
        for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
            assert_equal(a, e, f"{where}/{index}")
    else:
        assert actual == expected, where


def test_imported_run_has_what_training_resumes_from(twin, imported):
    run, made = imported
    assert made.step == 30 and made.notes == ()
    config = made.config
    assert (config.model.resolution, config.model.ngf, config.model.ndf, config.model.nz) == (256, WIDTH, WIDTH, NZ)
    assert config.optim.learning_rate == LEARNING_RATE
    target = create_train_state(jax.random.key(0), spec_from_config(config))
    with Checkpoints(run / "checkpoints", keep=None) as checkpoints:
        state, data, step = checkpoints.restore(target)
    assert newest_config(run / "checkpoints") == configuration.to_dict(config)
    assert step == int(state.step) == data["iteration"] == 30
    assert int(state.generator.optimizer[0].count) == int(state.discriminator.optimizer[0].count) == 1
    adam = twin.discriminator_optimizer.state[twin.discriminator.rf_small.weight_orig]
    for ours, name in (("mu", "exp_avg"), ("nu", "exp_avg_sq")):
        kernel = getattr(state.discriminator.optimizer[0], ours)["head_small"]["kernel"]
        np.testing.assert_array_equal(to_nchw_weight(kernel), array(adam[name]))
    assert (run / "config.json").is_file()


def test_imported_run_samples_the_averaged_generator(twin, imported):
    variables, _, _ = load_sampler(imported[0])
    state, _, _ = load_state(imported[0])
    assert_trees_close(variables["params"], state["ema_params"], rtol=0.0)
    np.testing.assert_array_equal(to_nchw_weight(variables["params"]["to_big"]["kernel"]), average_of(twin, "to_big"))
    # `state` keeps the file's own running statistics; the averaged generator gets some that fit its parameters.
    running = array(twin.generator.init.init[1].running_mean)
    np.testing.assert_array_equal(state["generator"]["batch_stats"]["initial"]["norm"]["mean"], running)
    assert not np.allclose(variables["batch_stats"]["initial"]["norm"]["mean"], running, rtol=0.1)
    images = fastgan_jax.load(imported[0]).sample(1)
    assert images.shape == (1, 256, 256, 3) and images.std() > 0


def to_nchw_weight(kernel: jax.Array) -> np.ndarray:
    return np.asarray(kernel).transpose(3, 2, 0, 1)


def average_of(twin, layer: str) -> np.ndarray:
    keys = [key for key, _ in twin.generator.named_parameters()]
    return array(twin.ema[keys.index(f"{layer}.weight_orig")])


def test_bare_generator_gets_a_fresh_discriminator_and_says_so(bare_file, tmp_path):
    config = base.get_config()
    config.model.ndf = 4
    made = importing.import_checkpoint(bare_file, tmp_path / "run", config)
    assert made.step == 0 and made.config.model.ndf == 4
    notes = "\n".join(made.notes)
    for part in ("no discriminator", "no averaged parameters", "('opt_g') of the generator", "('opt_d') of the discr"):
        assert part in notes
    state, _, _ = load_state(tmp_path / "run")
    assert state["discriminator"]["params"]["head_big_0"]["kernel"].shape == (1, 1, 32, 64)
    assert_trees_close(state["ema_params"], state["generator"]["params"], rtol=0.0)
    assert int(state["generator"]["optimizer"][0]["count"]) == 0
