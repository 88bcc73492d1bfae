"""Mean and covariance of features, collected batch by batch in float64."""

from collections.abc import Mapping

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.features import as_features


class FeatureStatistics:
    """Count, mean and covariance of all features [B, D] given to `update`, as if they had come at once.

    Kept are the mean and a factor R of the scatter (sum of outer products of deviations from the mean) R^T R: the
    deviations themselves as long as they are fewer than D, then their triangular factor. Batches are combined by the
    update of Chan, Golub and LeVeque (1979). Nothing is squared and nothing cancels, as in sums of squares; how the
    features were split into batches changes the results by about 1e-15 relative to the largest covariance.

    Attributes:
        count: number of images so far.
        mean: float64 [D].
        factor: float64 [K, D], K <= D.
    """

    def __init__(self, dimensions: int):
        """Starts empty, for features of length `dimensions`."""
        self.count = 0
        self.mean = np.zeros(dimensions)
        self.factor = np.zeros((0, dimensions))

    def update(self, features: np.ndarray | jax.Array) -> None:
        """Adds features [B, D]; none at all (B = 0) is allowed.

        Beyond D images each call factorizes an array [D + B, D]: few large batches are faster than many small ones.

        Raises:
            UserError: if they have another shape, or hold NaN or infinity.
        """
        features = as_features("new", features)
        if features.shape[1] != len(self.mean):
            raise UserError(
                f"features have length {features.shape[1]}, these statistics are of length {len(self.mean)}"
            )
        if len(features):
            mean = features.mean(0)
            self._combine(len(features), mean, features - mean)

    def merge(self, other: "FeatureStatistics") -> None:
        """Adds all images that `other` has counted, which stays as it is.

        Raises:
            UserError: if `other` is of features of another length.
        """
        if len(other.mean) != len(self.mean):
            raise UserError(f"statistics of length {len(other.mean)} cannot be merged into those of {len(self.mean)}")
        if other.count:
            self._combine(other.count, other.mean, other.factor)

    def _combine(self, count: int, mean: np.ndarray, factor: np.ndarray) -> None:
        total = self.count + count
        step = mean - self.mean
        between = np.sqrt(self.count * count / total) * step[None]
        rows = np.concatenate([self.factor, factor, between if self.count else between[:0]])
        self.factor = np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def covariance_factor(self) -> np.ndarray:
        """R [K, D] with R^T R the unbiased covariance (divisor count - 1).

        Raises:
            UserError: for fewer than two images.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 images, there are {self.count}")
        return self.factor / np.sqrt(self.count - 1)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance, float64 [D, D]; raises as `covariance_factor`."""
        factor = self.covariance_factor
        return factor.T @ factor

    def to_dict(self) -> dict[str, np.ndarray]:
        """Arrays that `from_dict` restores exactly: "count" [], "mean" [D], "factor" [K, D]."""
        return {"count": np.asarray(self.count), "mean": self.mean.copy(), "factor": self.factor.copy()}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, np.ndarray]) -> "FeatureStatistics":
        """Statistics from the arrays of `to_dict`.

        Raises:
            UserError: if one is missing or their shapes do not fit together.
        """
        missing = {"count", "mean", "factor"} - set(arrays)
        if missing:
            raise UserError(f"stored feature statistics lack {', '.join(sorted(missing))}: compute them again")
        count, mean, factor = (np.asarray(arrays[name]) for name in ("count", "mean", "factor"))
        if count.ndim != 0 or mean.ndim != 1 or factor.ndim != 2 or factor.shape[1:] != mean.shape:
            raise UserError(
                f"stored feature statistics have shapes {count.shape}, {mean.shape}, {factor.shape}, not (), (D,), "
                "(K, D): compute them again"
            )
        statistics = cls(len(mean))
        statistics.count = int(count)
        statistics.mean = mean.astype(np.float64)
        statistics.factor = factor.astype(np.float64)
        return statistics
