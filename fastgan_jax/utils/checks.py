"""Checks of numbers that users give, here because commands and library make the same ones. Quick to import."""

import math

from fastgan_jax.errors import UserError

LARGEST_SEED = 2**32 - 1


def whole(value: float, name: str) -> int:
    """A whole number, perhaps given as 4.0; a UserError that names the option or argument if it is not one."""
    if value != int(value):
        raise UserError(f"{name}={value}: must be a whole number")
    return int(value)


def check_seed(seed: float, name: str) -> int:
    """The seed as an int; a UserError that names the option or argument if it is not from 0 to LARGEST_SEED."""
    seed = whole(seed, name)
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"{name}={seed}: must be from 0 to {LARGEST_SEED}")
    return seed


def check_at_least_one(**numbers: int) -> None:
    """Checks that whole numbers are at least 1; a UserError names the first that is not."""
    for name, value in numbers.items():
        if value < 1:
            raise UserError(f"{name}={value}: must be at least 1")


def check_positive(**numbers: float) -> None:
    """Checks that numbers are finite and above 0; a UserError names the first that is not."""
    for name, value in numbers.items():
        if not 0 < value < math.inf:
            raise UserError(f"{name}={value:g}: must be a number above 0")


def check_not_negative(**numbers: float) -> None:
    """Checks that numbers are finite and at least 0; a UserError names the first that is not."""
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise UserError(f"{name}={value:g}: must be 0 or more")
