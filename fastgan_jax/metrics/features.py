"""Checks of features [N, D], one row per image, which are float64 from there on."""

import jax
import numpy as np

from fastgan_jax.errors import UserError


def as_features(name: str, features: np.ndarray | jax.Array) -> np.ndarray:
    """Features as a float64 array on the host.

    Args:
        name: what the features are of, for messages ("real").
        features: [N, D], real numbers.

    Raises:
        UserError: if they are not [N, D] or hold NaN or infinity.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or 0 in features.shape[1:]:
        raise UserError(f"{name} features have shape {features.shape}: give [N, D], one row per image")
    broken = np.count_nonzero(~np.isfinite(features))
    if broken:
        raise UserError(
            f"{name} features hold NaN or infinity in {broken} of {features.size} values: "
            "check the images and the weights of the feature network"
        )
    return features


def as_pair(real: np.ndarray | jax.Array, fake: np.ndarray | jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features of one network, as float64 on the host.

    Raises:
        UserError: if either is not a valid set of features, or their lengths D differ.
    """
    real, fake = as_features("real", real), as_features("fake", fake)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"real features have length {real.shape[1]}, fake ones {fake.shape[1]}: take both from the same network"
        )
    return real, fake
