"""Mean and covariance of features, collected batch by batch in float64."""

from collections.abc import Mapping

import jax
import numpy as np

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.features import as_features


class FeatureStatistics:
    """Count, mean and covariance of all features [B, D] given to `update`, as if they had come at once.

    Kept are the mean and the scatter (sum of outer products of deviations from the mean), combined by the update of
    Chan, Golub and LeVeque (1979), which does not cancel as sums of squares do: how the features were split into
    batches changes the results by about 1e-15 relative to the largest covariance.

    Attributes:
        count: number of pictures so far.
        mean: float64 [D].
        scatter: float64 [D, D].
    """

    def __init__(self, dimensions: int):
        """Starts empty, for features of length `dimensions`."""
        self.count = 0
        self.mean = np.zeros(dimensions)
        self.scatter = np.zeros((dimensions, dimensions))

    def update(self, features: np.ndarray | jax.Array) -> None:
        """Adds features [B, D]; none at all (B = 0) is allowed.

        Each call passes over arrays [D, D], so few large batches are faster than many small ones.

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
            deviations = features - mean
            self._combine(len(features), mean, deviations.T @ deviations)

    def merge(self, other: "FeatureStatistics") -> None:
        """Adds all pictures that `other` has counted, which stays as it is.

        Raises:
            UserError: if `other` is of features of another length.
        """
        if len(other.mean) != len(self.mean):
            raise UserError(f"statistics of length {len(other.mean)} cannot be merged into those of {len(self.mean)}")
        if other.count:
            self._combine(other.count, other.mean, other.scatter)

    def _combine(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        total = self.count + count
        step = mean - self.mean
        self.scatter += scatter
        self.scatter += np.outer(step, step * (self.count * count / total))
        self.mean += step * (count / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance (divisor count - 1), float64 [D, D].

        Raises:
            UserError: for fewer than two pictures.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 pictures, there are {self.count}")
        return self.scatter / (self.count - 1)

    def to_dict(self) -> dict[str, np.ndarray]:
        """Arrays that `from_dict` restores exactly: "count" [], "mean" [D], "scatter" [D, D]."""
        return {"count": np.asarray(self.count), "mean": self.mean.copy(), "scatter": self.scatter.copy()}

    @classmethod
    def from_dict(cls, arrays: Mapping[str, np.ndarray]) -> "FeatureStatistics":
        """Statistics from the arrays of `to_dict`.

        Raises:
            UserError: if one is missing or their shapes do not fit together.
        """
        missing = {"count", "mean", "scatter"} - set(arrays)
        if missing:
            raise UserError(f"stored feature statistics lack {', '.join(sorted(missing))}: compute them again")
        count, mean, scatter = (np.asarray(arrays[name]) for name in ("count", "mean", "scatter"))
        if count.ndim != 0 or mean.ndim != 1 or scatter.shape != mean.shape * 2:
            raise UserError(
                f"stored feature statistics have shapes {count.shape}, {mean.shape}, {scatter.shape}, not (), (D,), "
                "(D, D): compute them again"
            )
        statistics = cls(len(mean))
        statistics.count = int(count)
        statistics.mean += mean
        statistics.scatter += scatter
        return statistics
