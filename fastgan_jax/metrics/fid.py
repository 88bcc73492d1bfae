"""The Fréchet distance between two Gaussians; on Inception features it is FID (Heusel et al., 2017, equation 6)."""

import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.statistics import FeatureStatistics


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), without forming a covariance, their product or its root.

    With S = R^T R, the trace of that root is the sum of the singular values of R_a R_b^T: they are those of
    S_a^(1/2) S_b^(1/2), whose squares are the eigenvalues of S_a^(1/2) S_b S_a^(1/2). So nothing is ever complex,
    covariances may be singular (fewer images than dimensions), and equal statistics give 0 to about 1e-13 of
    tr(S), where forming the product first would give 1e-8.

    Args:
        a, b: statistics of at least two images each, of features of the same network; the result is the same for
            (b, a) to rounding.

    Returns:
        The distance (not its root), at least 0.

    Raises:
        UserError: if the lengths differ, or either has fewer than two images.
    """
    if len(a.mean) != len(b.mean):
        raise UserError(f"features of length {len(a.mean)} and {len(b.mean)} cannot be compared: take one network")
    factor_a, factor_b = a.covariance_factor, b.covariance_factor
    cross = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    step = a.mean - b.mean
    distance = step @ step + (factor_a**2).sum() + (factor_b**2).sum() - 2 * cross
    # The exact value is never negative; what is, comes from rounding in the difference of nearly equal traces.
    return max(float(distance), 0.0)
