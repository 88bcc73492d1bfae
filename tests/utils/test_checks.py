"""Checks of numbers that users give."""

import math

import pytest

from fastgan_jax.errors import UserError
from fastgan_jax.utils.checks import (
    LARGEST_SEED,
    check_at_least_one,
    check_not_negative,
    check_positive,
    check_seed,
)


@pytest.mark.parametrize("seed", [-1, LARGEST_SEED + 1])
def test_seeds_out_of_range_are_named(seed):
    with pytest.raises(UserError, match=f"^--seed={seed}: must be from 0 to 4294967295$"):
        check_seed(seed, "--seed")
    assert check_seed(LARGEST_SEED, "--seed") == LARGEST_SEED


def test_the_first_number_out_of_range_is_named():
    check_at_least_one(num=1)
    check_positive(rate=1e-9)
    check_not_negative(weight=0.0)
    with pytest.raises(UserError, match="^num=0: must be at least 1$"):
        check_at_least_one(num=0, others=-1)
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match=f"^rate={value:g}: must be a number above 0$"):
            check_positive(rate=value)
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(UserError, match=f"^weight={value:g}: must be 0 or more$"):
            check_not_negative(weight=value)
