"""The Fréchet distance between two Gaussians; on Inception features it is FID (Heusel et al., 2017, equation 6)."""

from typing import NamedTuple

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.features import Array, as_features


class Gaussian(NamedTuple):
    """The Gaussian fitted to a set of features."""

    mean: np.ndarray  # float64 [D]
    factor: np.ndarray  # R with R^T R the unbiased covariance (divisor N - 1), float64 [K, D], K <= D


def gaussian(features: Array) -> Gaussian:
    """Fits a Gaussian to features [N, D] of at least two images, in float64.

    The factor consists of the deviations from the mean, triangularized where they are more than D. No covariance is
    formed, so nothing is squared and nothing cancels.

    Raises:
        UserError: for fewer than two images, or features that are not [N, D] or hold NaN or infinity.
    """
    features = as_features("image", features)
    count, dimensions = features.shape
    if count < 2:
        raise UserError(f"a covariance needs at least 2 images, there are {count}")
    mean = features.mean(0)
    deviations = features - mean
    factor = np.linalg.qr(deviations, mode="r") if count > dimensions else deviations
    return Gaussian(mean, factor / np.sqrt(count - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), at least 0, without a covariance, their product or its root.

    With S = R^T R, the trace of that root is the sum of the singular values of R_a R_b^T: they are those of
    S_a^(1/2) S_b^(1/2), whose squares are the eigenvalues of S_a^(1/2) S_b S_a^(1/2). So nothing is ever complex,
    covariances may be singular (fewer images than dimensions), and equal Gaussians give 0 to about 1e-13 of
    tr(S), where forming the product first would give 1e-8.

    Raises:
        UserError: if the lengths of the features differ.
    """
    if len(a.mean) != len(b.mean):
        raise UserError(f"features of length {len(a.mean)} and {len(b.mean)} cannot be compared: take one network")
    cross = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    shift = a.mean - b.mean
    distance = shift @ shift + (a.factor**2).sum() + (b.factor**2).sum() - 2 * cross
    # The exact value is never negative; what is, comes from rounding in the difference of nearly equal traces.
    return max(float(distance), 0.0)
