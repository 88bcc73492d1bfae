"""Reconstructions by a discriminator's own decoders, and reading the images for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgan_jax.data.image_files import image_files, read_images
from fastgan_jax.inference.reconstruction import CHUNK, reconstruct, reconstruct_all
from fastgan_jax.inference.restore import load_discriminator
from fastgan_jax.models.discriminator import Discriminator
from fastgan_jax.models.init import initial_variables
from fastgan_jax.utils.images import crop_cell, resize_antialias, to_uint8, to_unit


@pytest.mark.slow
@pytest.mark.parametrize("quadrant", [0, 3])
def test_every_decoder_for_any_number_of_images_and_without_classes(smoke_run_images, quadrant):
    d = Discriminator(64, ndf=2, num_classes=2, decoders=("small", "part"))
    shapes = [jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32) for side in (64, 32)]
    scalars = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((), (2,))]
    variables = initial_variables(jax.random.key(0), d, *shapes, *scalars, train=True)
    made = reconstruct_all(d, "nearest", variables, smoke_run_images[: CHUNK + 1], quadrant)
    assert list(made) == ["real", "small", "quadrant", "part"]
    assert all(x.shape == (CHUNK + 1, 64, 64, 3) and x.dtype == np.uint8 for x in made.values())
    last = np.repeat(smoke_run_images[CHUNK : CHUNK + 1], CHUNK, axis=0)
    expected = reconstruct(d, "nearest", variables, last, jnp.ones(CHUNK, jnp.int32), quadrant)
    for name in ("small", "part"):
        np.testing.assert_array_equal(made[name][CHUNK], expected[name][0])
    wanted = to_uint8(resize_antialias(crop_cell(to_unit(jnp.asarray(last)), quadrant), 64))
    np.testing.assert_allclose(np.int32(made["quadrant"][CHUNK]), np.int32(wanted[0]), atol=1)


def test_files_are_read_as_the_run_reads_its_own(smoke_run_d, image_folder, caplog):
    files = image_files([str(image_folder), image_folder / "0.png"])
    assert [file.name for file in files] == ["0.png", "1.png", "wide.jpg", "0.png"]
    config = smoke_run_d.config.copy_and_resolve_references()
    config.data.fit = "pad"
    wide = read_images(files, config)[2]
    assert (wide[0] == 255).all() and np.abs(np.int32(wide[32]) - 200).max() <= 2
    assert not caplog.messages


def test_warnings_of_decoding_are_logged(smoke_run_d, image_folder, caplog, monkeypatch):
    def warns(data, target):
        import warnings

        warnings.warn("odd block", stacklevel=1)
        return original(data, target)

    from fastgan_jax.data import decode

    original = decode.decode
    monkeypatch.setattr(decode, "decode", warns)
    read_images([image_folder / "0.png"], smoke_run_d.config)
    assert caplog.messages == [f"{image_folder / '0.png'} was decoded with a warning: odd block"]


def test_the_discriminator_of_a_checkpoint(smoke_run, smoke_run_d):
    assert smoke_run_d.step == 4 and load_discriminator(smoke_run, 2).step == 2
    assert set(smoke_run_d.variables) == {"params", "batch_stats", "spectral"}
    first = load_discriminator(smoke_run, 0).variables["params"]["head_small"]["kernel"]
    assert not np.array_equal(first, smoke_run_d.variables["params"]["head_small"]["kernel"])
