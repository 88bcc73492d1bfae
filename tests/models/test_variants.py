"""The names of equal variants, and the choice between them; that they are equal is tested where they are computed."""

import pytest

from configs import base
from fastgan_jax.build import compute_from_config
from fastgan_jax.models.variants import FASTEST, FIELDS, REFERENCE, VARIANTS, Compute, choose


def test_the_plain_forms_stand_first():
    assert Compute(*(names[0] for names in VARIANTS.values())) == REFERENCE


def test_auto_is_the_fastest_where_that_was_measured_and_plain_elsewhere():
    automatic = dict.fromkeys(VARIANTS, "auto")
    assert choose("gpu", automatic) == choose("tpu", automatic) == REFERENCE
    assert choose("cpu", automatic) == Compute(**FASTEST["cpu"]) != REFERENCE
    assert choose("cpu", automatic | {"upsample": "repeat"}).upsample == "repeat"


def test_every_form_is_a_field_of_the_configuration():
    train = base.get_config().train
    for kind, names in VARIANTS.items():
        for name in names:
            train[FIELDS[kind]] = name  # refused if there is no such field
            assert getattr(compute_from_config(train), kind) == name


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="discriminate variant 'alone' must be one of apart, joint"):
        Compute(discriminate="alone")
