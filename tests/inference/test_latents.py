"""Latents of files."""

import numpy as np
import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.inference.latents import read_latents


def test_files_without_latents_are_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"x")
    np.savez(tmp_path / "y.npz", w=np.zeros(3))
    for name in ("x.npz", "y.npz"):
        with pytest.raises(UserError, match=f"{name} holds no latents z"):
            read_latents(tmp_path / name)
    for shape in (3, (0, 4)):
        np.savez(tmp_path / "z.npz", z=np.zeros(shape))
        with pytest.raises(UserError, match=r"z has shape \[.*3|0, 4\], not \[N, nz\]"):
            read_latents(tmp_path / "z.npz")


def test_a_file_of_latents_says_their_noise_and_their_class(tmp_path):
    for labels, label in (([2, 2], 2), ([1, 2], None)):
        np.savez(tmp_path / "z.npz", z=np.ones((2, 3)), noise_seed=5, labels=labels)
        z, *facts = read_latents(tmp_path / "z.npz")
        assert z.dtype == np.float32 and facts == [5, label, tmp_path / "z.npz"]


def test_damaged_files_and_values_are_named(tmp_path):
    path = tmp_path / "z.npz"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="holds no latents z"):
        read_latents(path)
    np.savez_compressed(path, z=np.zeros((4, 8), np.float32))
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="holds no latents z"):
        read_latents(path)
    np.savez(path, z=np.full((4, 8), np.nan, np.float32))
    with pytest.raises(UserError, match="not finite"):
        read_latents(path)
    np.savez(path, z=np.zeros((4, 8), np.float32), noise_seed=-1)
    with pytest.raises(UserError, match="noise_seed=-1: must be from 0"):
        read_latents(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"z": np.array([["a"]])}, "z holds values of type <U1, not numbers"),
        ({"noise_seed": np.array([5])}, r"noise_seed=\[5\]: must be one whole number"),
        ({"noise_seed": 5.5}, r"noise_seed=5\.5: must be one whole number"),
        ({"labels": np.array(["cat", "dog"])}, "labels hold values of type <U3: must be whole numbers"),
        ({"labels": np.array([1.5, 2])}, "labels hold values of type float64: must be whole numbers"),
    ],
)
def test_each_field_is_named(tmp_path, fields, message):
    np.savez(tmp_path / "z.npz", **({"z": np.ones((2, 3))} | fields))
    with pytest.raises(UserError, match=rf"z\.npz: {message}"):
        read_latents(tmp_path / "z.npz")


def test_a_field_that_cannot_be_read_is_named(tmp_path):
    np.savez(tmp_path / "z.npz", z=np.ones((2, 3)), labels=np.array([None, 1], object))
    with pytest.raises(UserError, match=r"z\.npz holds no labels that can be read: give the projected"):
        read_latents(tmp_path / "z.npz")
