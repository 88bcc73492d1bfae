"""Four devices compute what one does: training to rounding, images bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import four_devices
import jax
import numpy as np
import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.gan.state import create_train_state
from fastgan_jax.runs.checkpoint import Checkpoints
from fastgan_jax.utils.devices import batch_mesh

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def four(tmp_path_factory, process_environment):
    """The folder and the answer of tests/four_devices.py."""
    folder = tmp_path_factory.mktemp("four")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    environment = process_environment | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, four_devices.__file__, str(folder)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["devices"] == 4
    return folder, answer


@pytest.mark.slow
def test_twenty_iterations_have_the_losses_of_one_device(four):
    """Small steps of nearly plain gradient descent: float32 sums in another order differ in a late digit alone."""
    for name in ("whole", "parts"):
        one, many = (four[1]["losses"][name][count] for count in ("1", "4"))
        for loss in ("loss/d", "loss/g", "loss/reconstruction"):
            assert len(one[loss]) == {"whole": 20, "parts": 2}[name]
            np.testing.assert_allclose(many[loss], one[loss], rtol=1e-5, atol=1e-6, err_msg=f"{name}, {loss}")


@pytest.mark.slow
def test_images_and_projections_do_not_depend_on_devices(four):
    found, own = np.load(four[0] / "four.npz"), four_devices.results()
    assert set(found.files) == own.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.slow
def test_a_checkpoint_of_four_devices_is_restored_on_two_and_on_one(four, small):
    folder, answer = four
    assert answer["restored_on_two"]
    expected = np.load(folder / "state.npz")
    with Checkpoints(folder / "checkpoints", keep=None) as checkpoints:
        state, _, step = checkpoints.restore(create_train_state(jax.random.key(1), small.spec))
    assert step == four_devices.STEPS
    found = four_devices.plain(state)
    assert found.keys() == set(expected.files)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.slow
def test_a_default_device_is_heeded(four):
    assert four[1]["on_the_default_device"]


def test_devices_that_are_not_here_are_refused_and_one_needs_no_mesh():
    assert batch_mesh(8) is None and batch_mesh(8, 1) is None
    with pytest.raises(UserError, match=r"train\.devices=3: there are 1 devices, 1 of one kind: choose at most 1"):
        batch_mesh(9, 3)
