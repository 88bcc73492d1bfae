"""What four devices compute, and one: run with XLA_FLAGS=--xla_force_host_platform_device_count=4, prints JSON.

`python tests/four_devices.py FOLDER` compares training in one process, with a mesh of four devices and without; then it
leaves in FOLDER what four devices sampled, judged and projected, for a process with one device to compare.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import optax

from configs import smoke
from fastgan_jax.build import build_generator, spec_from_config
from fastgan_jax.data.accounting import Accounting
from fastgan_jax.data.dataset import ImageSet
from fastgan_jax.data.feed import feed
from fastgan_jax.gan.program import compile_program, make_program
from fastgan_jax.gan.spec import NO_PRETRAINED
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.inference.projection import project
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.generator import input_shapes
from fastgan_jax.models.init import initial_variables
from fastgan_jax.utils.devices import batch_mesh, placed

STEPS = 20
BATCH = 8


def images(count: int = 20) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, 64, 64, 3), np.uint8)


def losses(devices: int, optimizer: optax.GradientTransformation, *, resident: bool = True, **options) -> dict:
    """{name: values at each call} of STEPS iterations."""
    mesh = batch_mesh(BATCH // options.get("accumulate", 1), devices)
    spec = dataclasses.replace(spec_from_config(smoke.get_config()), optimizer=optimizer, mesh=mesh)
    state = placed(create_train_state(jax.random.key(0), spec), mesh)
    data = ImageSet(images(), np.zeros(20, np.int32), Accounting("random"), "random")
    per_call = options.pop("iterations", 1)
    program = make_program(spec, iterations=per_call, resident=resident, unroll=False, **options)
    values = []
    with feed(data, resident, 0, BATCH, per_call, mesh=mesh) as batches:
        inputs = next(batches)
        compiled, _ = compile_program(program, state, NO_PRETRAINED, *inputs, mesh=mesh)
        for _ in range(STEPS // per_call):
            state, metrics = compiled(state, NO_PRETRAINED, *inputs)
            values.append(jax.device_get(metrics))
            inputs = next(batches)
    return {name: [float(step[name]) for step in values] for name in values[0]}


def sampler() -> Sampler:
    """A generator with random weights."""
    config = smoke.get_config()
    generator = build_generator(config.model)
    variables = initial_variables(jax.random.key(1), generator, *input_shapes(generator, config.model.nz), train=True)
    return Sampler(generator, variables, z_dim=config.model.nz)


def results() -> dict[str, np.ndarray]:
    """What is generated and found, which must not depend on the devices."""
    own, options = sampler(), ProjectionOptions(updates=3, starts=10, batch_size=2)
    z = own.latents(5, 1)
    found = project(own, images(11), None, options=options)
    return {
        "samples": own.sample(37, seed=3),
        "few": own.sample(3, seed=3),
        "mixed": own.style_mix(z[:3], z),
        "projected": found.z,
        "projection_losses": found.losses,
    }


def main(folder: Path) -> None:
    sgd, adam = optax.sgd(1e-3), optax.adam(2e-4, b1=0.5)
    runs = {
        "sgd": (sgd, {}),
        "adam": (adam, {}),
        "parts": (sgd, {"accumulate": 2, "iterations": 2, "resident": False}),
    }
    found = {name: {n: losses(n, optimizer, **options) for n in (1, 4)} for name, (optimizer, options) in runs.items()}
    np.savez(folder / "four.npz", **results())
    print(json.dumps({"devices": jax.device_count(), "losses": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
