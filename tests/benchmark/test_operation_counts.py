"""Operations are counted as the reference program executes them."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import base
from fastgan_jax.benchmark import operation_counts, workload
from fastgan_jax.gan.spec import NO_PRETRAINED
from fastgan_jax.models.variants import REFERENCE, Compute

# Operations of the reference program's iteration in 10^9 per image, at 256, 512 and 1024.
PARTS = {
    "G forward": (19.47, 26.83, 31.89),
    "D on real, forward": (10.91, 10.96, 11.33),
    "D on real, backward": (21.75, 21.80, 22.44),
    "D on fake, forward": (3.28, 3.32, 3.69),
    "D on fake, backward": (6.48, 6.53, 7.17),
    "G step: D forward": (3.28, 3.32, 3.69),
    "G step: backward through D": (6.55, 6.64, 7.38),
    "G step: backward through G": (38.92, 53.64, 63.76),
    "perceptual forward": (60.15, 60.15, 60.15),
    "perceptual backward": (30.08, 30.08, 30.08),
}
PER_ITERATION = (1607, 1786, 1932)  # at batch size 8
RESOLUTIONS = (256, 512, 1024)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3), ids=map(str, RESOLUTIONS))
def test_counts_are_those_of_the_reference(index):
    config = base.get_config()
    config.model.resolution = RESOLUTIONS[index]
    counts = workload.counted_flops(config)
    assert counts["parts"].keys() == PARTS.keys()
    for part, expected in PARTS.items():
        assert counts["parts"][part] / 1e9 == pytest.approx(expected[index], rel=0.006), part
    assert counts["counted"] / 1e9 == pytest.approx(PER_ITERATION[index], rel=0.002)


@pytest.mark.slow
def test_counts_do_not_depend_on_how_the_networks_are_computed(small):
    computes = (REFERENCE, Compute("phase", "subpixel_gradient", "by_size", "joint", jnp.bfloat16, remat=True))
    plain, special = (
        dataclasses.replace(
            small.spec,
            generator=small.spec.generator.clone(compute=compute),
            discriminator=small.spec.discriminator.clone(compute=compute),
        )
        for compute in computes
    )
    counts = operation_counts.count_iteration(plain, NO_PRETRAINED)
    assert operation_counts.count_iteration(special, NO_PRETRAINED) == counts
    assert counts["perceptual forward"] == counts["perceptual backward"] == 0


def shape(*sides: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sides, jnp.float32)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.sampled_from([1, 2]))
def test_a_convolution_and_its_gradients_count_alike(batch, width_in, width_out, stride):
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def gradients(x, kernel):
        outputs, vjp_fn = jax.vjp(convolve, x, kernel)
        return vjp_fn(outputs)

    arguments = (shape(batch, 8, 8, width_in), shape(stride + 2, stride + 2, width_in, width_out))
    forward = 2 * batch * (8 // stride) ** 2 * width_out * (stride + 2) ** 2 * width_in
    assert operation_counts.count(convolve, *arguments) == forward
    assert operation_counts.count(gradients, *arguments) == 3 * forward


def test_products_count_in_loops_and_inner_functions_but_not_with_vectors():
    def looped(x, matrix):
        return jax.lax.scan(lambda carry, _: (jax.jit(jnp.matmul)(carry, matrix), None), x, length=5)[0]

    assert operation_counts.count(looped, shape(3, 4), shape(4, 4)) == 5 * 2 * 3 * 4 * 4
    assert operation_counts.count(jnp.matmul, shape(4, 4), shape(4)) == 0

    def alternatives(x, matrix):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ matrix @ matrix, lambda: x @ matrix)

    assert operation_counts.count(alternatives, shape(3, 4), shape(4, 4)) == 2 * 2 * 3 * 4 * 4, "the larger one"
