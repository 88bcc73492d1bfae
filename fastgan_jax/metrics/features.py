"""Checks of features [N, D], one row per image, which are float64 from there on."""

import jax
import numpy as np

from fastgan_jax.errors import UserError

Array = np.ndarray | jax.Array


def as_features(name: str, features: Array) -> np.ndarray:
    """Features [N, D] as a float64 array on the host; `name` says what they are of, for messages ("real").

    Raises:
        UserError: if they are not [N, D] or hold NaN or infinity.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or 0 in features.shape[1:]:
        raise UserError(f"{name} features have shape {features.shape}: give [N, D], one row per image")
    broken = np.count_nonzero(~np.isfinite(features))
    if broken:
        raise UserError(
            f"{name} features hold NaN or infinity in {broken} of {features.size} values: check the images and the "
            "weights of the feature network"
        )
    return features


def as_pair(real: Array, fake: Array) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features as `as_features`; a UserError also if their lengths D differ."""
    real, fake = as_features("real", real), as_features("fake", fake)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"real features have length {real.shape[1]}, fake ones {fake.shape[1]}: take both from the same network"
        )
    return real, fake
