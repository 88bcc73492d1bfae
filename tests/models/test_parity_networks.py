"""Both networks in float32 against numbers recorded from the reference program (256, 512) and a PyTorch twin (1024).

Tolerances are relative to the largest value of a tensor. The reference in float32 against itself in float64 shows 1e-6
(G's images), 5e-6 (D's logits), 2e-5 (reconstructions) and 1e-7 (state); the bounds leave a few times that, because
two float32 programs differ by the sum of both errors.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import (
    assert_close,
    assert_trees_close,
    logits_flat,
    quick_jit,
    recorded,
    report,
    section,
    to_nchw,
    to_nhwc,
)

from fastgan_jax.interop.pytorch import state_dict_to_variables
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.generator import Generator, noise_sides, small_side
from fastgan_jax.models.spectral_norm import power_iterate

pytestmark = pytest.mark.slow

WIDTH = 8  # ngf and ndf of the recordings
IMAGES, LOGITS, RECONSTRUCTIONS, STATE = 2e-5, 2e-5, 1e-4, 5e-6
SETTLED = 5e-5  # vectors that have not converged after forty steps carry the rounding of all of them
IMAGES_F64 = 1e-11  # at 1024 float32 shows 2e-4 against itself in float64, which would hide much


def variables_of(state_dict: dict[str, np.ndarray], network: str) -> dict:
    return jax.tree.map(jnp.asarray, state_dict_to_variables(state_dict, network))


def training_pass(module, variables: dict, *args, **kwargs) -> tuple:
    """Output of a forward pass in training mode, and the variables after it.

    As in the reference, only layers that take part have their spectral vectors moved: none of a decoder's without
    reconstructions.
    """
    moving = variables["spectral"]
    if isinstance(module, Discriminator) and len(args) < 3:
        moving = {name: vectors for name, vectors in moving.items() if not name.startswith("decoder")}
    state = variables["spectral"] | power_iterate(variables["params"], moving)
    before = variables | {"spectral": state}
    output, mutated = module.apply(before, *args, **kwargs, train=True, mutable=["batch_stats"])
    return output, before | mutated


def state_of(variables: dict) -> dict:
    return {name: variables[name] for name in ("batch_stats", "spectral")}


def recorded_state(buffers: dict[str, np.ndarray], initial: dict[str, np.ndarray], network: str) -> dict:
    """The normalization state that recorded buffers hold; `initial` has the weights, which give the layout."""
    return state_of(state_dict_to_variables(initial | buffers, network))


def generator_run(shared_dir, resolution: int) -> tuple:
    """The recorded arrays, initial variables, and compiled passes in training and in evaluation mode."""
    arrays = recorded(shared_dir, f"g_{resolution}.npz")
    module = Generator(resolution, ngf=WIDTH)
    variables = variables_of(section(arrays, "G/"), "generator")
    noise = tuple(jnp.asarray(to_nhwc(arrays[f"noise/{i}"])) for i in range(len(noise_sides(resolution))))
    train = quick_jit(lambda variables: training_pass(module, variables, arrays["z"], noise))
    evaluate = quick_jit(lambda variables: module.apply(variables, arrays["z"], noise, train=False))
    return arrays, variables, train, evaluate


def check_images(arrays: dict, prefix: str, images: tuple, resolution: int) -> None:
    full, small = map(to_nchw, images)
    found = {f"im_{resolution}": full, "im_128": small}
    if resolution > 256:
        found = {
            f"im_{resolution}_stride8": full[:, :, ::8, ::8],
            f"im_{resolution}_row0": full[:, :, 0],
            f"im_{resolution}_lastcol": full[:, :, :, -1],
            f"im_{resolution}_mean": full.mean((2, 3)),
            f"im_{resolution}_std": full.std((2, 3), ddof=1),
            "im_128": small,
        }
    expected = {name: value for name, value in section(arrays, prefix).items() if name.startswith("im_")}
    assert found.keys() == expected.keys()
    # Means and deviations are measured by the images' scale.
    scale = float(np.max(np.abs(expected["im_128"])))
    for name, value in expected.items():
        assert_close(found[name], value, rtol=0, atol=IMAGES * scale, what=f"{prefix}{name}")
    error = max(float(np.max(np.abs(found[name] - value))) for name, value in expected.items()) / scale
    report(f"G at {resolution}, {prefix.rstrip('/')}: both images", error, IMAGES)


@pytest.mark.parametrize("resolution", [256, 512])
def test_generator(shared_dir, resolution):
    """One pass in training mode and one in evaluation mode after it; then the settled state of forty passes."""
    arrays, variables, train, evaluate = generator_run(shared_dir, resolution)
    initial = section(arrays, "G/")
    images, after = train(variables)
    check_images(arrays, "G_train/", images, resolution)
    expected = recorded_state(section(arrays, "G_train/buffers/"), initial, "generator")
    error = assert_trees_close(state_of(after), expected, rtol=STATE)
    report(f"G at {resolution}, G_train: all normalization state", error, STATE)
    check_images(arrays, "G_eval1/", evaluate(after), resolution)

    # The latents of the other passes were not recorded: batch norm's averages are taken from the recording. The
    # spectral vectors do not depend on latents.
    settled = recorded_state(section(arrays, "G_eval40/buffers/"), initial, "generator")
    vectors = power_iterate(variables["params"], variables["spectral"], steps=40)
    error = assert_trees_close(vectors, settled["spectral"], rtol=SETTLED)
    report(f"G at {resolution}, spectral vectors after forty passes", error, SETTLED)
    check_images(arrays, "G_eval40/", evaluate({"params": variables["params"], **settled}), resolution)


def check_output(arrays: dict, prefix: str, output, resolution: int) -> None:
    error = assert_close(logits_flat(output.logits), arrays[f"{prefix}/logits"], rtol=LOGITS, what=prefix)
    report(f"D at {resolution}, {prefix}: logits", error, LOGITS)
    errors = [
        assert_close(to_nchw(image), arrays[f"{prefix}/rec_{name}"], rtol=RECONSTRUCTIONS, what=f"{prefix} {name}")
        for name, image in output.reconstructions.items()
    ]
    if errors:
        report(f"D at {resolution}, {prefix}: three reconstructions", max(errors), RECONSTRUCTIONS)


def check_state(arrays: dict, prefix: str, variables: dict, resolution: int) -> None:
    buffers = section(arrays, f"{prefix}/buffers/")
    if prefix.startswith("D_real_train"):  # only what the quadrant changes was recorded with each but the first
        buffers = section(arrays, "D_real_train/part0/buffers/") | buffers
    expected = recorded_state(buffers, section(arrays, "D/"), "discriminator")
    error = assert_trees_close(state_of(variables), expected, rtol=STATE, what=prefix)
    report(f"D at {resolution}, {prefix}: all normalization state", error, STATE)


@pytest.mark.parametrize("resolution", [256, 512])
def test_discriminator_on_real_images(shared_dir, resolution):
    """Training mode from the same state with each quadrant, and evaluation mode after the first."""
    arrays = recorded(shared_dir, f"d_{resolution}.npz")
    real = to_nhwc((arrays if resolution == 256 else recorded(shared_dir, "d_512_full.npz"))["real"])
    step = resolution // small_side(resolution)
    module, small = Discriminator(resolution, ndf=WIDTH), real[:, ::step, ::step]
    initial = variables_of(section(arrays, "D/"), "discriminator")
    train = quick_jit(partial(training_pass, module))
    for quadrant in range(4):
        output, variables = train(initial, real, small, jnp.int32(quadrant))
        prefix = f"D_real_train/part{quadrant}"
        check_output(arrays, prefix, output, resolution)
        check_state(arrays, prefix, variables, resolution)
        if quadrant == 0:
            evaluate = quick_jit(lambda variables: module.apply(variables, real, small, jnp.int32(0), train=False))
            check_output(arrays, "D_real_eval1/part0", evaluate(variables), resolution)
    # The quadrants differ, so that a wrong number could not pass.
    parts = [arrays[f"D_real_train/part{quadrant}/rec_part"] for quadrant in range(4)]
    assert all(np.abs(a - b).max() > 0.01 for i, a in enumerate(parts) for b in parts[:i])


@pytest.mark.parametrize("resolution", [256, 512])
def test_discriminator_on_generated_images(shared_dir, resolution):
    arrays, generated = recorded(shared_dir, f"d_{resolution}.npz"), recorded(shared_dir, f"g_{resolution}.npz")
    if resolution == 256:
        fakes = [to_nhwc(generated["G_train/im_256"]), to_nhwc(generated["G_train/im_128"])]
    else:  # the large image was not recorded in full, so that it is made again
        _, variables, train, _ = generator_run(shared_dir, resolution)
        fakes, _ = train(variables)
    module = Discriminator(resolution, ndf=WIDTH)
    initial = variables_of(section(arrays, "D/"), "discriminator")
    output, variables = quick_jit(partial(training_pass, module))(initial, *fakes)
    check_output(arrays, "D_fake_train", output, resolution)
    check_state(arrays, "D_fake_train", variables, resolution)
    evaluate = quick_jit(lambda variables: module.apply(variables, *fakes, train=False))
    check_output(arrays, "D_fake_eval1", evaluate(variables), resolution)


def twin_arrays(network) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def test_generator_at_1024():
    """No recording is at hand: the PyTorch twin stands in, the same code as at the sizes that are recorded."""
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    from fastgan_jax.benchmark.pytorch import networks as torch_twin

    torch.manual_seed(0)
    twin = torch_twin.Generator(1024, ngf=WIDTH, nz=16).double()
    sites = [module for module in twin.modules() if isinstance(module, torch_twin.NoiseInjection)]
    for index, site in enumerate(sites):
        site.weight.data.fill_(0.1 * (index + 1) * (-1) ** index)
    rng = np.random.default_rng(0)
    z, noise = rng.standard_normal((1, 16)), tuple(rng.standard_normal((1, s, s, 1)) for s in noise_sides(1024))
    with jax.enable_x64(True):
        module, variables = Generator(1024, ngf=WIDTH), variables_of(twin_arrays(twin), "generator")
        twin.inject_noise([torch.from_numpy(to_nchw(n)) for n in noise])
        with torch.no_grad():
            expected = {"train": twin.train()(torch.from_numpy(z)), "state": twin_arrays(twin)}
            expected["eval"] = twin.eval()(torch.from_numpy(z))
        images, variables = quick_jit(lambda v: training_pass(module, v, z, noise))(variables)
        found = {"train": images}
        found["eval"] = quick_jit(lambda v: module.apply(v, z, noise, train=False))(variables)
        for mode, pair in found.items():
            assert float(jnp.max(jnp.abs(pair[0]))) <= 1  # tanh
            errors = [
                assert_close(to_nchw(ours), theirs.numpy(), rtol=IMAGES_F64, what=mode)
                for ours, theirs in zip(pair, expected[mode], strict=True)
            ]
            report(f"G at 1024 in float64, {mode} mode, against the PyTorch twin: both images", max(errors), IMAGES_F64)
        state = state_of(state_dict_to_variables(expected["state"], "generator"))
        error = assert_trees_close(state_of(variables), state, rtol=IMAGES_F64)
        report("G at 1024 in float64, against the PyTorch twin: all normalization state", error, IMAGES_F64)


def test_discriminator_at_1024():
    torch = pytest.importorskip("torch", reason="needs PyTorch as the oracle")
    from fastgan_jax.benchmark.pytorch import networks as torch_twin

    torch.manual_seed(0)
    twin = torch_twin.Discriminator(1024, ndf=WIDTH)
    module, variables = Discriminator(1024, ndf=WIDTH), variables_of(twin_arrays(twin), "discriminator")
    real = np.random.default_rng(0).standard_normal((2, 1024, 1024, 3)).astype(np.float32)
    small = real[:, ::8, ::8]
    theirs = [torch.from_numpy(to_nchw(x).copy()) for x in (real, small)]
    with torch.no_grad():
        expected = {"train": twin.train()(*theirs, 2), "state": twin_arrays(twin)}
        expected["eval"] = twin.eval()(*theirs, 2)
    train = quick_jit(lambda v: training_pass(module, v, real, small, jnp.int32(2)))
    output, variables = train(variables)
    found = {"train": output}
    found["eval"] = quick_jit(lambda v: module.apply(v, real, small, jnp.int32(2), train=False))(variables)
    for mode, output in found.items():
        logits, images = expected[mode]
        error = assert_close(logits_flat(output.logits), logits.numpy(), rtol=LOGITS, what=mode)
        report(f"D at 1024, {mode} mode, against the PyTorch twin: logits", error, LOGITS)
        errors = [
            assert_close(to_nchw(output.reconstructions[name]), image.numpy(), rtol=RECONSTRUCTIONS, what=mode)
            for name, image in images.items()
        ]
        report(f"D at 1024, {mode} mode, against the PyTorch twin: reconstructions", max(errors), RECONSTRUCTIONS)
    state = state_of(state_dict_to_variables(expected["state"], "discriminator"))
    error = assert_trees_close(state_of(variables), state, rtol=STATE)
    report("D at 1024, against the PyTorch twin: all normalization state", error, STATE)
