"""The state_dict of PyTorch's Adam as moments by parameter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Moments:
    """Adam's state of one network: {parameter's key: array in PyTorch's layout}."""

    first: Arrays
    second: Arrays
    updates: int
    options: tuple[float, float, float] | None = None  # learning rate, beta1 and beta2; None: not in the file


class Unusable(Exception):
    """Why an optimizer's state cannot be carried over."""


def read_moments(optimizer: Any, state_dict: Arrays, keys: list[str]) -> Moments:
    """Adam's state by parameter; parameters that never had a gradient have no entry in PyTorch's, and zeros here."""
    if not _is_optimizer(optimizer):
        raise Unusable("it is not the state_dict of an optimizer")
    order = [index for group in optimizer["param_groups"] for index in group["params"]]
    if len(order) != len(keys):
        raise Unusable(f"it is of {len(order)} parameters, the network has {len(keys)}")
    first, second, updates = {}, {}, 0
    for index, key in zip(order, keys, strict=True):
        zeros = np.zeros_like(state_dict[key])
        entry = optimizer["state"].get(index, {"exp_avg": zeros, "exp_avg_sq": zeros, "step": 0})
        for name, moments in (("exp_avg", first), ("exp_avg_sq", second)):
            if "step" not in entry or np.shape(entry.get(name)) != zeros.shape:
                raise Unusable(f"it is not Adam's: {key} has no step and {name} of shape {list(zeros.shape)}")
            moments[key] = entry[name]
        updates = max(updates, _number(entry["step"], int))
    options = optimizer["param_groups"][0]
    if "lr" not in options or len(options.get("betas", ())) != 2:
        return Moments(first, second, updates)
    return Moments(first, second, updates, tuple(_number(value, float) for value in (options["lr"], *options["betas"])))


def _number(value: Any, kind: type) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise Unusable(f"it has {str(value)[:40]!r} where a number belongs") from None


def _is_optimizer(optimizer: Any) -> bool:
    return (
        isinstance(optimizer, Mapping)
        and isinstance(entries := optimizer.get("state"), Mapping)
        and isinstance(groups := optimizer.get("param_groups"), Sequence)
        and all(isinstance(entry, Mapping) for entry in entries.values())
        and all(isinstance(group, Mapping) and "params" in group for group in groups)
    )
