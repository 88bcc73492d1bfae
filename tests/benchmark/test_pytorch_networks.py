"""The PyTorch twin against numbers recorded from the reference program: it may then stand in for that program."""

import json
import zlib

import numpy as np
import pytest
from reference import FIXTURES, assert_close, recipe, recorded, section

torch = pytest.importorskip("torch", reason="needs PyTorch (fastgan_jax[torch])")

from fastgan_jax.benchmark.pytorch import networks as torch_networks  # noqa: E402 (they import PyTorch)
from fastgan_jax.benchmark.pytorch import step as torch_step  # noqa: E402

SEED, BATCH, WIDTH, NZ = 7, 4, 8, 32
STRICT = 1e-9  # float64: far above rounding, far below any mistake
ROUNDING = 2e-5  # float32


def tensor(values: np.ndarray) -> "torch.Tensor":
    return torch.as_tensor(np.asarray(values))


def twin_networks(resolution: int = 256) -> tuple:
    return torch_networks.Generator(resolution, WIDTH, NZ), torch_networks.Discriminator(resolution, WIDTH)


def load(net, arrays: dict) -> None:
    net.load_state_dict({key: tensor(value) for key, value in arrays.items()}, strict=True)


@pytest.mark.parametrize("resolution", [256, 512, 1024])
def test_state_dicts_are_the_references_key_for_key(shared_dir, resolution):
    manifest = json.loads((shared_dir / "fixtures" / f"manifest_{resolution}.json").read_text())
    with torch.device("meta"):  # no values needed
        nets = {"G": torch_networks.Generator(resolution), "D": torch_networks.Discriminator(resolution)}
    for name, net in nets.items():
        found = [(key, list(value.shape)) for key, value in net.state_dict().items()]
        assert found == [(entry["key"], entry["shape"]) for entry in manifest[name]]
        parameters = [entry["key"] for entry in manifest[name] if entry["kind"] == "param"]
        assert [key for key, _ in net.named_parameters()] == parameters


def test_generator_gives_the_recorded_images(shared_dir):
    arrays = recorded(shared_dir, "g_256.npz")
    net, _ = twin_networks()
    load(net, section(arrays, "G/"))
    net.inject_noise([tensor(arrays[f"noise/{index}"]) for index in range(6)])
    for mode, case in ((True, "G_train"), (False, "G_eval1")):
        net.train(mode)
        with torch.no_grad():
            images = net(tensor(arrays["z"]))
        for image, side in zip(images, (256, 128), strict=True):
            assert_close(image, arrays[f"{case}/im_{side}"], rtol=ROUNDING, what=f"{case} {side}")


@pytest.mark.slow
def test_discriminator_gives_the_recorded_logits_and_reconstructions(shared_dir):
    arrays = recorded(shared_dir, "d_256.npz")
    _, net = twin_networks()
    real = tensor(arrays["real"])
    for quadrant in range(4):
        load(net, section(arrays, "D/"))
        with torch.no_grad():
            logits, images = net(real, torch_networks.to_128(real), quadrant)
        case = f"D_real_train/part{quadrant}"
        assert_close(logits, arrays[f"{case}/logits"], rtol=ROUNDING, what=case)
        for name, image in images.items():
            assert_close(image, arrays[f"{case}/rec_{name}"], rtol=ROUNDING, what=f"{case} {name}")


@pytest.mark.slow
def test_iteration_is_the_recorded_one():
    recording = np.load(FIXTURES / "compact_256_f64.npz")
    values = recipe()
    g, d = (net.double() for net in twin_networks())
    for name, net in (("G", g), ("D", d)):
        shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
        load(net, {key: values.state_value(SEED, name, key, shape) for key, shape in shapes.items()})
    twin = torch_step.Twin(g, d)

    def uniforms(name: str) -> "torch.Tensor":
        return tensor(np.random.RandomState(zlib.crc32(f"{SEED}/{name}/0".encode())).random_sample(50 * BATCH))

    draws = torch_step.Draws(
        z=tensor(values.arr(SEED, "z/0", (BATCH, NZ))),
        quadrant=int(recording["parts"][0]),
        real_margins=uniforms("smooth_real"),
        fake_margins=uniforms("smooth_fake"),
        noise=[
            tensor(values.arr(SEED, f"noise/0/{index}", (BATCH, 1, side, side)))
            for index, side in enumerate((8, 8, 32, 32, 128, 128))
        ],
    )
    blocks = np.tanh(values.arr(SEED, "real/0", (BATCH, 3, 32, 32)))
    real = tensor(blocks.repeat(8, axis=2).repeat(8, axis=3))
    losses = torch_step.train_iteration(twin, real, draws, lambda a, b: (a - b).abs().mean())

    assert_close([float(losses[name]) for name in ("d_real", "d_fake", "g")], recording["iter0/losses"], rtol=STRICT)
    for name, net in (("G", g), ("D", d)):
        parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
        for kind, tensors, keys in (
            ("param", parameters, recording[f"names/{name}"]),
            ("buffer", buffers, recording[f"buffer_names/{name}"]),
        ):
            check_projections(tensors, keys, recording[f"iter0/{kind}/{name}"], values)
    ema = dict(zip(dict(g.named_parameters()), twin.ema, strict=True))
    check_projections(ema, recording["names/G"], recording["iter0/ema/G"], values)


def check_projections(tensors: dict, keys: np.ndarray, expected: np.ndarray, values) -> None:
    """Norm, sum and a random projection of each tensor, relative to its norm."""
    for key, row in zip(keys, expected, strict=True):
        found = values.proj(str(key), tensors[str(key)].detach().numpy())
        assert_close(found, row, rtol=STRICT, what=str(key))


def test_augmentation_is_the_recorded_one(shared_dir, monkeypatch):
    arrays = recorded(shared_dir, "diffaug.npz")
    for case in ("sq64", "odd33x50"):
        draws = section(arrays, f"{case}/color+translation/draw")
        uniforms = iter([draws[f"{index}_rand"] for index in range(3)])
        integers = iter([draws[f"{index}_randint"] for index in (3, 4)])

        def rand(*shape, values=uniforms, **_):
            return tensor(next(values)).reshape(shape)

        def randint(low, high, shape, values=integers, **_):
            drawn = tensor(next(values)).reshape(shape)
            assert low <= int(drawn.min()) and int(drawn.max()) < high
            return drawn

        monkeypatch.setattr(torch, "rand", rand)
        monkeypatch.setattr(torch, "randint", randint)
        augmented = torch_step.diff_augment(tensor(arrays[f"{case}/x"]))
        assert_close(augmented, arrays[f"{case}/color+translation/out"], rtol=1e-6, what=case)


def test_draws_and_noise_have_the_shapes_of_an_iteration():
    draws = torch_step.draw(batch=2, nz=NZ)
    assert draws.z.shape == (2, NZ) and draws.quadrant in range(4)
    assert draws.real_margins.shape == draws.fake_margins.shape == (100,)
    site = torch_networks.NoiseInjection()
    site.weight.data.fill_(1.0)
    x = torch.zeros(2, 3, 8, 8)
    first, second = site(x), site(x)
    assert not torch.equal(first, second)
    assert torch.equal(first[:, :1].expand_as(first), first)  # one map for all channels
