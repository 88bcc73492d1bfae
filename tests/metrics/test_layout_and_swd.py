"""The metrics that need no network: values derived by hand, and the order of sets whose answer is known."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fastgan_jax.metrics import swd
from fastgan_jax.metrics.layout import energy_distance, shrunk
from fastgan_jax.metrics.registry import METRICS, Reference, Samples


def numbers(real, fake, *, mirrored=True):
    """Layout and patch distances of images uint8 [M, H, W, C] against real ones, as an evaluation computes them."""
    reference = Reference(real, None, None, mirrored)
    samples = Samples(None, fake, {"layout": METRICS["layout"].reduce(fake)})
    return METRICS["layout"].compute(reference, samples) | METRICS["swd"].compute(reference, samples)


def test_energy_distance_of_few_points():
    # On a line, 0 and 2 against 1 and 5: across (1 + 5 + 1 + 3) / 4, within 2 and 4.
    assert energy_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])) == pytest.approx(2 * 2.5 - 2 - 4)
    # In the plane, two points at one place against two at distance 5.
    assert energy_distance(np.zeros((2, 2)), np.array([[3.0, 4.0]] * 2)) == pytest.approx(10)


def test_energy_distance_is_unbiased_and_sees_the_spread():
    random = np.random.RandomState(0)
    same = [energy_distance(random.randn(20, 5), random.randn(30, 5)) for _ in range(300)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(300) and min(same) < 0
    # |X - Y| of normal numbers with variances 1 and 4: 2 sqrt(2 5 / pi) - 2 / sqrt(pi) - 4 / sqrt(pi).
    expected = (2 * np.sqrt(10) - 6) / np.sqrt(np.pi)
    assert energy_distance(random.randn(4000, 1), 2 * random.randn(4000, 1)) == pytest.approx(expected, abs=0.02)


def test_images_are_shrunk_by_the_mean_of_boxes():
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, 4:6, 8:12, 1] = 255  # half of the box in row 1, column 2
    values = shrunk(image).reshape(16, 16, 3)
    assert values[1, 2, 1] == 0 and (np.delete(values.ravel(), (16 + 2) * 3 + 1) == -1).all()
    gray = np.random.RandomState(0).randint(0, 256, (2, 64, 64, 1), np.uint8)
    np.testing.assert_array_equal(shrunk(gray), shrunk(np.repeat(gray, 3, -1)))
    blown_up = np.random.RandomState(0).randint(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(
        shrunk(blown_up.repeat(16, 1).repeat(16, 2)), (blown_up / 127.5 - 1).reshape(2, -1), atol=1e-6
    )


@pytest.mark.parametrize(("side", "scales"), [(64, [64, 32]), (256, [256, 128, 64, 32]), (512, [256, 128, 64, 32])])
def test_levels_of_a_pyramid(side, scales):
    image = np.random.RandomState(0).randint(0, 256, (side, side, 3), np.uint8)
    image[: side // 2] = 51  # flat: nothing but the lowest level
    levels = swd.pyramid(image)
    assert list(levels) == scales and all(level.shape == (n, n, 3) for n, level in levels.items())
    for n in scales:
        np.testing.assert_allclose(levels[n][: n // 2 - 4], -0.6 if n == 32 else 0, atol=1e-6)
    # Each value of the lowest level is the mean of a box, each level of which is rounded once per axis.
    boxes = image.reshape(32, side // 32, 32, side // 32, 3).mean((1, 3)) / 127.5 - 1
    if side <= 256:
        np.testing.assert_allclose(levels[32], boxes, atol=(len(scales) - 1) / 127.5 + 1e-6)
        assert abs(levels[side][side // 2 + 4 :].mean()) < 0.01 and levels[side][side // 2 + 4 :].std() > 0.3


def test_rounding_in_a_flat_channel_does_not_decide():
    random = np.random.RandomState(0)
    real, fake = (random.randint(0, 256, (20, 64, 64, 3), np.uint8) for _ in range(2))
    real[..., 2], fake[..., 2] = 0, random.randint(0, 2, (20, 64, 64))
    flat, rounded = (swd.distances(swd.patches(real, 0), swd.patches(x, 1))["swd_64"] for x in (real, fake))
    assert rounded < flat + 2000, "in deviations of rounding, not of nothing"


def test_patches_are_of_every_image_and_its_mirror_image():
    image = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None] * 4, (2, 64, 64, 3)).copy()
    image[1] = 9
    plain, both = swd.patches(image, 0), swd.patches(image, 0, mirrored=True)
    assert plain[32].shape == (2 * 64, 7, 7, 3) and both[64].shape == (4 * 64, 7, 7, 3)
    slopes = np.sign(np.diff(both[32], axis=2).mean((1, 2, 3)).round(5)).reshape(4, 64)
    assert slopes.tolist() == np.repeat([1, 0, -1, 0], 64).reshape(4, 64).tolist()


def test_sliced_distance_of_shifted_and_scaled_patches():
    real = np.random.RandomState(0).randn(4000, 7, 7, 3)
    assert swd.sliced_wasserstein(real, real[::-1]) == 0
    # Independent normal numbers stay normal along every direction: scaling by 2 moves quantile z to 2 z, and the mean
    # of |z| is sqrt(2 / pi).
    other = 2 * np.random.RandomState(1).randn(4000, 7, 7, 3)
    assert swd.sliced_wasserstein(real, other) == pytest.approx(np.sqrt(2 / np.pi), rel=0.03)
    # Units of the values do not count, since real patches are scaled to mean 0 and deviation 1.
    assert swd.sliced_wasserstein(5 * real + 3, 5 * other + 3) == pytest.approx(swd.sliced_wasserstein(real, other))


def test_noise_is_farther_than_blurred_images_and_these_than_others_of_the_set(shared_dir):
    paths = sorted((shared_dir / "data" / "panda").glob("*.*"))[:60]
    images = np.stack([np.asarray(Image.open(path).convert("RGB").resize((64, 64), 1)) for path in paths])
    real, other = images[::2], images[1::2]
    noise = np.random.RandomState(0).randint(0, 256, other.shape, np.uint8)
    small = [Image.fromarray(image).resize((12, 12), 4).resize((64, 64), 3) for image in other]
    sets = [numbers(real, fake) for fake in (noise, np.stack(list(map(np.asarray, small))), other)]
    for name in ("swd", "swd_64", "swd_32"):
        values = [each[name] for each in sets]
        assert values[0] > 1.5 * values[1] and values[1] > values[2], (name, values)
    assert sets[0]["layout"] > 5 and all(abs(each["layout"]) < 0.4 for each in sets[1:])
    assert numbers(real, noise)["layout"] == sets[0]["layout"] and set(sets[0]) == {"layout", "swd", "swd_64", "swd_32"}
    swapped = numbers(real, np.roll(other, 32, axis=1))  # the same pixels in other places
    assert swapped["layout"] > 5


@pytest.mark.slow
def test_numbers_agree_with_an_independent_program(shared_dir, tmp_path):
    """At 256 pixels, up to the choice of patches and directions, and the rounding of shrunk images to whole values."""
    program, folder = shared_dir / "tools" / "layout.py", shared_dir / "data" / "panda"
    if not program.is_file():
        pytest.skip("needs ../shared/tools/layout.py")
    paths = sorted(folder.glob("*.*"))[:60]
    (tmp_path / "real").mkdir()
    for path in paths:
        (tmp_path / "real" / path.name).symlink_to(path)
    real = np.stack([np.asarray(Image.open(path).convert("RGB").resize((256, 256), 1)) for path in paths])
    blurred = [Image.fromarray(image).resize((48, 48), 4).resize((256, 256), 3) for image in real]
    fakes = {"blurred": np.stack(list(map(np.asarray, blurred))), "shifted": np.roll(real, 40, axis=2)}
    for name, images in fakes.items():
        np.save(tmp_path / f"{name}.npy", images)
    command = [sys.executable, program, tmp_path / "real", *(tmp_path / f"{name}.npy" for name in fakes)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    for line, (name, images) in zip(lines, fakes.items(), strict=True):
        assert line.startswith(name)
        energy, scales = line.split("16x16 ")[1].split(", SWD x1000 ")
        own = numbers(real, images)
        assert own["layout"] == pytest.approx(float(energy), abs=0.005)
        for pair in scales.split():
            side, value = pair.split(":")
            assert own[f"swd_{side}"] == pytest.approx(float(value), rel=0.05, abs=20), (name, side)
