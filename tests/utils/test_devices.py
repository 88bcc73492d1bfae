"""Out-of-memory errors in words, kept programs, full precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.utils import devices
from fastgan_jax.utils.devices import (
    check_device,
    driver_advice,
    in_full_precision,
    keep_compiled_programs,
    memory_advice,
)


def test_out_of_memory_says_what_to_lower():
    with (
        pytest.raises(UserError, match=r"out of device memory on .* \(this program needs about 12\.0 GB\): lower it$"),
        memory_advice("lower it", 12 * 10**9),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with pytest.raises(UserError, match=r"out of device memory on [^(]*: lower it$"), memory_advice("lower it"):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")


def test_a_driver_that_fails_is_told_from_a_bug():
    error = "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above for more details.\nmore"
    with (
        pytest.raises(UserError, match=r"does not work \(FAILED.* details.\): update its driver.*JAX_PLATFORMS=cpu"),
        driver_advice(),
    ):
        raise jax.errors.JaxRuntimeError(error)
    with pytest.raises(jax.errors.JaxRuntimeError), driver_advice():
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")


@pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError("INTERNAL: broken"), ValueError("RESOURCE_EXHAUSTED")])
def test_other_errors_pass(error):
    with pytest.raises(type(error), match=str(error)), memory_advice("lower it"):
        raise error


def test_programs_are_kept_in_the_cache_unless_a_folder_is_set(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(devices, "cache_folder", lambda kind, to_write: tmp_path / kind)
    keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == before, "a folder was set already"
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_compiled_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_products_are_in_full_precision():
    def product(x):
        return x @ x

    with jax.default_matmul_precision("bfloat16"):
        program = jax.make_jaxpr(in_full_precision(product))(jnp.ones((2, 2)))
        np.testing.assert_array_equal(in_full_precision(product)(jnp.ones((2, 2))), np.full((2, 2), 2.0))
    assert "HIGHEST" in str(program)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError(), "no such device|no device"),
        (RuntimeError(f"Unable to initialize backend 'tpu': no libtpu.so {devices.AUTOMATIC}"), "no libtpu.so"),
    ],
)
def test_a_device_that_is_not_here_is_named(monkeypatch, error, reason):
    check_device()

    def absent():
        raise error

    monkeypatch.setattr(jax, "devices", absent)
    with pytest.raises(UserError, match=rf"({reason}\)?): ") as raised:
        check_device()
    assert "JAX finds no" in str(raised.value) and "fastgan_jax[cuda]" in str(raised.value)
    with pytest.raises(UserError, match="JAX finds no"):
        keep_compiled_programs()
