"""The Fréchet distance and the kernel distance, against plain numpy and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_packages import import_or_skip

from fastgan_jax.errors import UserError
from fastgan_jax.metrics.fid import Gaussian, frechet_distance, gaussian
from fastgan_jax.metrics.kid import kernel_distance


def features(seed: int, count: int, dimensions: int, shift: float = 0.0) -> np.ndarray:
    """Correlated features of uneven scales."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(dimensions, dimensions)) * np.geomspace(1, 0.01, dimensions)
    return random.normal(size=(count, dimensions)) @ mixing + 3 + shift


def covariance(of: Gaussian) -> np.ndarray:
    return of.factor.T @ of.factor


def with_moments(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    return Gaussian(mean, np.linalg.cholesky(covariance).T)


@pytest.mark.parametrize("count", [5, 7, 8, 60])  # fewer images than dimensions, and more
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e6])
def test_mean_and_covariance_are_numpys(count, offset):
    values = features(0, count, 7) + offset
    found = gaussian(values)
    assert found.factor.shape == (min(count, 7), 7)
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-13)
    # np.cov itself rounds deviations from a mean of 1e6 to 1e-10
    tolerance = (1e-12 + 1e-15 * abs(offset)) * np.abs(covariance(found)).max()
    np.testing.assert_allclose(covariance(found), np.cov(values, rowvar=False), rtol=0, atol=tolerance)


def test_features_that_no_gaussian_fits_are_refused():
    with pytest.raises(UserError, match="at least 2 images, there are 1"):
        gaussian(features(0, 1, 5))
    with pytest.raises(UserError, match=r"image features have shape \(5,\)"):
        gaussian(np.zeros(5))
    for broken in (np.nan, np.inf):
        with pytest.raises(UserError, match="NaN or infinity in 1 of 10 values"):
            gaussian(np.array([[0.0] * 5, [broken, 0, 0, 0, 0]]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of scipy, for how the oracle calls it
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_frechet_distance_agrees_with_pytorch_fid(shift):
    package = import_or_skip("pytorch_fid.fid_score")
    a, b = features(0, 300, 24), features(1, 200, 24, shift)
    try:
        wanted = package.calculate_frechet_distance(
            a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
        )
    except (TypeError, ValueError) as error:  # of scipy releases whose sqrtm has lost the argument it passes
        pytest.skip(f"the installed pytorch_fid does not work with the installed scipy: {error}")
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(wanted, rel=1e-9)


def test_frechet_distance_agrees_with_the_root_of_the_product():
    from scipy.linalg import sqrtm

    a, b = gaussian(features(0, 300, 24)), gaussian(features(1, 200, 24, 0.5))
    root = sqrtm(covariance(a) @ covariance(b))
    wanted = ((a.mean - b.mean) ** 2).sum() + np.trace(covariance(a) + covariance(b) - 2 * root.real)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), dimensions=st.integers(1, 12), shift=st.floats(-3, 3))
def test_frechet_distance_of_commuting_gaussians_is_the_closed_form(seed, dimensions, shift):
    """Where covariances share their axes, it is |shift|^2 plus the squared differences of standard deviations."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(dimensions, dimensions)))[0]
    first, second = random.uniform(0.1, 3, (2, dimensions))
    mean = random.normal(size=dimensions)
    a = with_moments(mean, axes * first**2 @ axes.T)
    b = with_moments(mean + shift, axes * second**2 @ axes.T)
    wanted = shift**2 * dimensions + ((first - second) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-10, abs=1e-11)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000), sizes=st.tuples(st.integers(2, 40), st.integers(2, 40)), dimensions=st.integers(1, 20)
)
def test_frechet_distance_is_symmetric_nonnegative_and_zero_for_equals(seed, sizes, dimensions):
    """Also with fewer images than dimensions."""
    a = gaussian(features(seed, sizes[0], dimensions))
    b = gaussian(features(seed + 1, sizes[1], dimensions))
    forth, back = frechet_distance(a, b), frechet_distance(b, a)
    scale = np.trace(covariance(a)) + np.trace(covariance(b))
    assert forth >= 0 and forth == pytest.approx(back, abs=1e-7 * scale)
    assert frechet_distance(a, a) <= 1e-13 * scale


def test_frechet_distance_of_few_images_is_that_of_the_images_themselves():
    """With singular covariances the trace of the root is the nuclear norm of the cross product of centered features."""
    a, b = features(0, 9, 30), features(1, 12, 30)
    centered_a, centered_b = (x - x.mean(0) for x in (a, b))
    root = np.linalg.norm(centered_a @ centered_b.T, "nuc") / np.sqrt(8 * 11)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + (centered_a**2).sum() / 8 + (centered_b**2).sum() / 11 - 2 * root
    assert frechet_distance(gaussian(a), gaussian(b)) == pytest.approx(wanted, rel=1e-12)


def test_frechet_distance_of_constant_features_is_that_of_the_means():
    a, b = gaussian(np.ones((4, 3))), gaussian(np.zeros((5, 3)))
    assert frechet_distance(a, b) == pytest.approx(3)


def test_frechet_distance_refuses_other_lengths():
    with pytest.raises(UserError, match="length 3 and 4 cannot be compared"):
        frechet_distance(gaussian(np.ones((4, 3))), gaussian(np.ones((4, 4))))


def plain_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate as its definition is written: sums over pairs."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    n = len(x)
    within = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within - 2 * sum(kernel(a, b) for a in x for b in y) / n**2


def test_kernel_distance_is_the_double_sum_over_pairs():
    real, fake = features(0, 12, 6), features(1, 12, 6, 0.5)
    value, spread = kernel_distance(real, fake, subsets=3)
    assert value == pytest.approx(plain_mmd(real, fake), rel=1e-10)
    assert spread == pytest.approx(0, abs=1e-10 * abs(value))  # every subset is the whole set


def test_kernel_distance_averages_over_subsets_without_repeats():
    real, fake = features(0, 3, 4), features(1, 4, 4)
    value, spread = kernel_distance(real, fake, subsets=400, subset_size=3, seed=1)
    every = [plain_mmd(real, np.delete(fake, i, 0)) for i in range(4)]  # the only subsets there are
    assert value == pytest.approx(np.mean(every), abs=4 * np.std(every) / np.sqrt(400))
    assert spread == pytest.approx(np.std(every), rel=0.15)


def test_kernel_distance_repeats_with_its_seed_alone():
    real, fake = features(0, 30, 4).astype(np.float32), features(1, 40, 4).astype(np.float32)
    first = kernel_distance(real, fake, subsets=5, subset_size=10, seed=3)
    assert kernel_distance(real, fake, subsets=5, subset_size=10, seed=3) == first
    assert kernel_distance(real, fake, subsets=5, subset_size=10, seed=4)[0] != first[0]


def test_kernel_distance_is_unbiased():
    """Two samples of one distribution: small beside its spread; of two distributions: large."""
    sample = np.random.default_rng(0).normal(size=(900, 8))
    same, spread = kernel_distance(sample[:300], sample[300:600], subsets=50, subset_size=100)
    other, _ = kernel_distance(sample[:300], sample[600:] + 0.5, subsets=50, subset_size=100)
    assert abs(same) < 3 * spread < other


def test_kernel_distance_refuses_what_it_cannot_compare():
    real = features(0, 5, 4)
    with pytest.raises(UserError, match="real features have length 4, fake ones 3"):
        kernel_distance(real, features(0, 5, 3))
    with pytest.raises(UserError, match="the fake set is 1"):
        kernel_distance(real, real[:1])
    with pytest.raises(UserError, match="subset_size is 1"):
        kernel_distance(real, real, subset_size=1)
    with pytest.raises(UserError, match="at least 1 subset, not 0"):
        kernel_distance(real, real, subsets=0)
    with pytest.raises(UserError, match="fake features hold NaN or infinity in 4 of 20"):
        kernel_distance(real, np.where(np.arange(5)[:, None] == 2, np.nan, real))
