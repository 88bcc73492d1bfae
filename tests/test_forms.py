"""The names of equal forms, and the choice between them; that they are equal is tested where they are computed."""

import pytest

from configs import base
from fastgan_jax.forms import FASTEST, PLAIN, WAYS, Forms, choose
from fastgan_jax.models.build import forms_from_config


def test_the_plain_forms_stand_first():
    assert Forms(*(names[0] for names in WAYS.values())) == PLAIN


def test_auto_is_the_fastest_where_that_was_measured_and_plain_elsewhere():
    automatic = dict.fromkeys(WAYS, "auto")
    assert choose("gpu", **automatic) == choose("tpu", **automatic) == PLAIN
    assert choose("cpu", **automatic) == Forms(**FASTEST["cpu"]) != PLAIN
    assert choose("cpu", **automatic | {"upsample": "repeat"}).upsample == "repeat"


def test_every_form_is_a_field_of_the_configuration():
    train = base.get_config().train
    for form, names in WAYS.items():
        for way in names:
            train[f"{form}_form"] = way  # refused if there is no such field
            assert getattr(forms_from_config(train), form) == way


def test_unknown_ways_are_refused():
    with pytest.raises(ValueError, match="judge form 'alone' is none of apart, joint"):
        Forms(judge="alone")
