"""Loading a run's generator."""

import numpy as np
import pytest
from PIL import Image

import fastgan_jax
from fastgan_jax.errors import UserError
from fastgan_jax.inference import restore


def test_load_gives_a_sampler_of_the_run(smoke_run):
    sampler = fastgan_jax.load(str(smoke_run))
    assert (sampler.resolution, sampler.z_dim, sampler.step) == (64, 8, 4)
    assert sampler.config.train.batch_size == 4
    images = sampler.sample(3, seed=1)
    np.testing.assert_array_equal(images, sampler.generate(sampler.latents(3, seed=1)))
    assert restore.load(smoke_run, 2).step == 2
    with pytest.raises(UserError, match="it has 0, 2, 4"):
        fastgan_jax.load(str(smoke_run), step=3)


def test_load_takes_running_statistics_on_request(smoke_run):
    from fastgan_jax.runs.checkpoint import load_state

    state, _, _ = load_state(smoke_run)
    sampler = fastgan_jax.load(str(smoke_run), statistics="running")
    stats = sampler.variables["batch_stats"]["initial"]["norm"]["mean"]
    np.testing.assert_array_equal(stats, state["generator"]["batch_stats"]["initial"]["norm"]["mean"])
    kernel = sampler.variables["params"]["to_big"]["kernel"]
    np.testing.assert_array_equal(kernel, state["ema_params"]["to_big"]["kernel"])
    assert not np.array_equal(sampler.sample(2), fastgan_jax.load(str(smoke_run)).sample(2))
    with pytest.raises(UserError, match="statistics='batch': must be one of standing, running"):
        fastgan_jax.load(str(smoke_run), statistics="batch")


def test_the_runs_own_grid_is_what_load_samples(smoke_run):
    """The grid written while training equals a sample of the restored generator: seed train.seed, indices from 0."""
    from fastgan_jax.utils.grids import image_grid

    with Image.open(smoke_run / "samples" / "000000004.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid), image_grid(fastgan_jax.load(str(smoke_run)).sample(4, seed=0)))
