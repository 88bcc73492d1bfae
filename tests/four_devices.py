"""What four devices compute, and one: run with XLA_FLAGS=--xla_force_host_platform_device_count=4, prints JSON.

`python tests/four_devices.py FOLDER` trains in one process, with a mesh of four devices and without. In FOLDER there is
then what four devices sampled and projected, and a checkpoint of theirs with its content, for one device to compare.
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
from fastgan_jax.gan.state import TrainState, create_train_state
from fastgan_jax.inference.options import ProjectionOptions
from fastgan_jax.inference.projection import project
from fastgan_jax.inference.sampler import Sampler
from fastgan_jax.models.init import initial_variables
from fastgan_jax.runs import checkpoint
from fastgan_jax.runs.checkpoint import Checkpoints
from fastgan_jax.utils.devices import batch_mesh, local_mesh, placed

STEPS = 20
BATCH = 8


def images(count: int = 20) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, 64, 64, 3), np.uint8)


def train(
    devices: int,
    optimizer: optax.GradientTransformation,
    *,
    width: int = 4,
    steps: int = STEPS,
    resident: bool = True,
    **options,
) -> tuple[TrainState, dict]:
    """The state after so many iterations, and {name: values at each call}."""
    mesh = batch_mesh(BATCH // options.get("accumulate", 1), devices)
    config = smoke.get_config()
    config.model.update(ngf=width, ndf=width)
    spec = dataclasses.replace(spec_from_config(config), optimizer=optimizer, mesh=mesh)
    state = placed(create_train_state(jax.random.key(0), spec), mesh)
    data = ImageSet(images(), np.zeros(20, np.int32), Accounting("random"), "random")
    per_call = options.pop("iterations", 1)
    program = make_program(spec, iterations=per_call, resident=resident, unroll=False, **options)
    values = []
    with feed(data, resident, 0, BATCH, per_call, mesh=mesh) as batches:
        inputs = next(batches)
        compiled, _ = compile_program(program, state, NO_PRETRAINED, *inputs, mesh=mesh)
        for _ in range(steps // per_call):
            state, metrics = compiled(state, NO_PRETRAINED, *inputs)
            values.append(jax.device_get(metrics))
            inputs = next(batches)
    return state, {name: [float(step[name]) for step in values] for name in values[0]}


def plain(state: TrainState) -> dict[str, np.ndarray]:
    """{path: array} of a state."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    keys = jax.dtypes.prng_key
    return {
        jax.tree_util.keystr(path): np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, keys) else x)
        for path, x in leaves
    }


def keep_checkpoint(folder: Path, state: TrainState) -> bool:
    """Writes a checkpoint of four devices; whether two read from it what four wrote, bit for bit."""
    expected = plain(state)
    np.savez(folder / "state.npz", **expected)
    with Checkpoints(folder / "checkpoints", keep=None) as checkpoints:
        checkpoints.save(STEPS, state=state, sampler=state.ema_params, config={}, data={})
    with Checkpoints(folder / "checkpoints", keep=None) as checkpoints:
        two = placed(state, batch_mesh(BATCH, 2))
        restored, _, _ = checkpoints.restore(two)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(restored)} == {2}
    return all(np.array_equal(x, expected[name]) for name, x in plain(restored).items())


def on_the_default_device() -> bool:
    """Whether what is read, and what is shared among devices, stays on a device that was made the default."""
    chosen = jax.devices()[2]
    with jax.default_device(chosen):
        read = checkpoint._abstract({"x": np.zeros(2)})["x"]
        return read.sharding.device_set == {chosen} and local_mesh() is None


def sampler() -> Sampler:
    """A generator with random weights."""
    config = smoke.get_config()
    generator = build_generator(config.model)
    latents, _ = generator.call_shapes(config.model.nz)
    variables = initial_variables(jax.random.key(1), generator, *latents, train=True)
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
    # Nearly plain gradient descent: Adam's whole steps of gradients near zero, whose sign is a matter of rounding,
    # would let runs drift apart.
    optimizer = optax.adam(1e-5, b1=0.5, eps=1.0)
    runs = {
        "whole": {},
        "parts": {"accumulate": 2, "resident": False, "steps": 2, "width": 1},  # CPUs are slow in loops
    }
    np.savez(folder / "four.npz", **results())
    found, states = {}, {}
    for name, options in runs.items():
        ran = {count: train(count, optimizer, **options) for count in (1, 4)}
        states[name], found[name] = ran[4][0], {count: numbers for count, (_, numbers) in ran.items()}
        print(name, found[name][1]["loss/d"][-1], found[name][4]["loss/d"][-1], file=sys.stderr, flush=True)
    on_two = keep_checkpoint(folder, states["whole"])
    answer = {"devices": jax.device_count(), "losses": found, "restored_on_two": on_two}
    print(json.dumps(answer | {"on_the_default_device": on_the_default_device()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
