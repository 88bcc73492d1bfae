"""The names of equal variants, and the choice between them; that they are equal is tested where they are computed."""

import pytest

from fastgan_jax.models.variants import FASTEST, REFERENCE, VARIANTS, Compute, choose


def test_the_reference_stands_first():
    assert Compute(*(names[0] for names in VARIANTS.values())) == REFERENCE


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
def test_auto_is_the_fastest_where_that_is_known_and_the_reference_elsewhere(backend):
    assert choose("auto", backend) == Compute(**FASTEST.get(backend, {}))
    assert choose("reference", backend) == REFERENCE


def test_single_variants_can_be_chosen():
    assert choose("auto,upsample=repeat", "cpu") == Compute(**(FASTEST["cpu"] | {"upsample": "repeat"}))
    assert choose("reference,discriminate=joint", "cpu") == Compute(discriminate="joint")


@pytest.mark.parametrize("ops", ["fast", "auto,upsample=fast", "auto,discriminator=joint", "", "reference,"])
def test_unknown_names_are_refused(ops):
    with pytest.raises(ValueError, match="neither auto nor reference|is none of upsample=repeat, "):
        choose(ops, "cpu")
