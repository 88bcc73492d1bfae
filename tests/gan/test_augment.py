"""Differentiable augmentation: against recorded draws and results, and by its properties."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import assert_close, recorded, report, section, to_nchw, to_nhwc

from configs import smoke
from fastgan_jax.build import spec_from_config
from fastgan_jax.gan import augment
from fastgan_jax.runs.config import validate

EVERYTHING = "color,translation,cutout,offset"
NEUTRAL = {"brightness": 0.5, "saturation": 0.5, "contrast": 0.5, "translation": 0.5, "offset": 0.0}

COLOR_STEPS = ("brightness", "saturation", "contrast")


def images(batch: int = 4, height: int = 12, width: int = 10, channels: int = 3) -> jax.Array:
    return jax.random.normal(jax.random.key(0), (batch, height, width, channels))


def uniform_for(integers: np.ndarray, count: int) -> np.ndarray:
    """Uniform numbers [B] that `augment` turns into these integers in [0, count)."""
    return (np.asarray(integers).ravel() + 0.5) / count


def recorded_draws(case: dict[str, np.ndarray], policy: str, height: int, width: int) -> dict[str, jax.Array]:
    """The recording's draws, in call order, as the uniform numbers of `augment.draw`."""
    values = iter([case[name] for name in sorted(case, key=lambda n: int(re.search(r"\d+", n).group()))])
    draws = {}
    for part in policy.split(","):
        if part == "color":
            draws |= {step: next(values).reshape(-1, 1) for step in COLOR_STEPS}
        elif part == "translation":
            # recorded as shifts in [-s, s]
            reach = [int(side * 0.125 + 0.5) for side in (height, width)]
            draws[part] = np.stack([uniform_for(next(values) + s, 2 * s + 1) for s in reach], 1)
        else:
            draws[part] = np.stack([uniform_for(next(values), count) for count in _cutout_counts(height, width)], 1)
    return {name: jnp.asarray(value, jnp.float32) for name, value in draws.items()}


def _cutout_counts(height: int, width: int) -> list[int]:
    return [side + 1 - int(side * 0.5 + 0.5) % 2 for side in (height, width)]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["color", "translation", "color,translation", "cutout", "color,translation,cutout"])
@pytest.mark.parametrize("case", ["sq64", "odd33x50"])
def test_recorded_draws_give_the_recorded_images_and_gradients(shared_dir, case, policy):
    arrays = section(recorded(shared_dir, "diffaug.npz"), f"{case}/")
    x, cotangent = jnp.asarray(to_nhwc(arrays["x"])), jnp.asarray(to_nhwc(arrays["cotangent"]))
    run = section(arrays, f"{policy.replace(',', '+')}/")
    draws = recorded_draws({k: v for k, v in run.items() if k.startswith("draw")}, policy, *x.shape[1:3])

    @jax.jit
    def both(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, pull_back = jax.vjp(lambda x: augment.apply(x, draws, policy), x)
        return value, *pull_back(cotangent)

    value, gradient = both(x, cotangent)
    # float32: four operations per pixel and means over an image; without color, numbers are only moved
    rtol = 2e-6 if "color" in policy else 0.0
    error = max(
        assert_close(to_nchw(value), run["out"], rtol=rtol, what="value"),
        assert_close(to_nchw(gradient), run["grad_x"], rtol=rtol, what="gradient"),
    )
    report(f"DiffAugment {policy}, {case}: value and gradient", error, rtol)


@pytest.mark.parametrize("case", ["sq64", "odd33x50"])
def test_recorded_color_steps_one_after_another(shared_dir, case):
    arrays = section(recorded(shared_dir, "diffaug.npz"), f"{case}/")
    x = jnp.asarray(to_nhwc(arrays["x"]))
    for index, step in enumerate(COLOR_STEPS):
        draws = {name: jnp.full((len(x), 1), 0.5) for name in COLOR_STEPS}
        draws[step] = jnp.asarray(arrays[f"color/draw{index}_rand"].reshape(-1, 1))
        x = augment.apply(x, draws, "color")
        # float32: the steps that draw 0.5 change nothing but the last bit
        assert_close(to_nchw(x), arrays[f"color_steps/rand_{step}"], rtol=2e-6, what=step)


@pytest.mark.parametrize("case", ["sq64", "odd33x50"])
def test_recorded_extreme_shifts_and_squares(shared_dir, case):
    arrays = section(recorded(shared_dir, "diffaug.npz"), f"{case}/")
    x = jnp.asarray(to_nhwc(arrays["x"]))
    height, width = x.shape[1:3]
    shifts = {"draw0": arrays["translation_forced/tx"], "draw1": arrays["translation_forced/ty"]}
    moved = augment.apply(x, recorded_draws(shifts, "translation", height, width), "translation")
    np.testing.assert_array_equal(to_nchw(moved), arrays["translation_forced/out"])
    centers = {"draw0": arrays["cutout_forced/ox"], "draw1": arrays["cutout_forced/oy"]}
    holed = augment.apply(x, recorded_draws(centers, "cutout", height, width), "cutout")
    np.testing.assert_array_equal(to_nchw(holed), arrays["cutout_forced/out"])
    # The recording does hold the extremes.
    assert np.abs(arrays["translation_forced/tx"]).max() == int(height * 0.125 + 0.5)
    assert {0, _cutout_counts(height, width)[0] - 1} <= set(arrays["cutout_forced/ox"].ravel().tolist())


def test_color_by_hand():
    """An image of two pixels and two channels: means and factors worked out on paper."""
    x = jnp.array([[1.0, 0.0], [0.0, -1.0]]).reshape(1, 1, 2, 2)
    half, draws = jnp.full((1, 1), 0.5), {}
    draws = {"brightness": jnp.full((1, 1), 0.75), "saturation": half, "contrast": half}
    np.testing.assert_allclose(augment.apply(x, draws, "color"), x + 0.25)
    draws = {"brightness": half, "saturation": jnp.full((1, 1), 0.25), "contrast": half}
    # each pixel halfway to the mean of its channels, 0.5 and -0.5
    np.testing.assert_allclose(augment.apply(x, draws, "color").ravel(), [0.75, 0.25, -0.25, -0.75])
    draws = {"brightness": half, "saturation": half, "contrast": jnp.full((1, 1), 0.75)}
    # 1.25 times the distance from the mean of the image, 0
    np.testing.assert_allclose(augment.apply(x, draws, "color").ravel(), [1.25, 0, 0, -1.25])


def test_translation_by_hand():
    x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    moved = augment.translate(x, jnp.array([[1, -1]]), False)
    np.testing.assert_array_equal(moved[0, :, :, 0], [[0, 4, 5], [0, 7, 8], [0, 0, 0]])
    wrapped = augment.translate(x, jnp.array([[1, -1]]), True)
    np.testing.assert_array_equal(wrapped[0, :, :, 0], [[6, 4, 5], [9, 7, 8], [3, 1, 2]])


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**31 - 1), st.booleans())
def test_translate_has_the_gradient_of_its_plain_form(seed, wrap):
    """Against autodiff of a gather (or roll) by indices, in float64: equal to the bit, as numbers are only moved."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x, cotangent = (jnp.asarray(rng.standard_normal((2, 5, 4, 1))) for _ in range(2))
        shifts = rng.integers(-6, 7, (2, 2))

        def plain(x: jax.Array) -> jax.Array:
            padded = x if wrap else jnp.pad(x, ((0, 0), (6, 6), (6, 6), (0, 0)))
            moved = [jnp.roll(one, (-dy, -dx), (0, 1)) for one, (dy, dx) in zip(padded, shifts, strict=True)]
            return jnp.stack(moved) if wrap else jnp.stack(moved)[:, 6:-6, 6:-6]

        value, pull_back = jax.vjp(lambda x: augment.translate(x, jnp.asarray(shifts), wrap), x)
        expected, pull_back_plain = jax.vjp(plain, x)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(pull_back(cotangent)[0], pull_back_plain(cotangent)[0])


@pytest.mark.slow
def test_gradient_of_everything_matches_finite_differences():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 3)))
        direction = jnp.asarray(np.random.default_rng(1).standard_normal(x.shape))
        cotangent = jnp.asarray(np.random.default_rng(2).standard_normal(x.shape))
        draws = augment.draw(jax.random.key(3), EVERYTHING, 2)

        def value(step: float) -> jax.Array:
            return jnp.vdot(augment.apply(x + step * direction, draws, EVERYTHING), cotangent)

        # The augmentation is affine in the image, so that a central difference is exact to rounding.
        expected = (value(1.0) - value(-1.0)) / 2
        np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [EVERYTHING, "offset_h,cutout", "color,offset_v"])
def test_the_draws_of_one_image_change_that_image_alone(policy):
    x = images()
    draws, others = (augment.draw(jax.random.key(seed), policy, len(x)) for seed in (0, 1))
    mixed = {name: value.at[2].set(others[name][2]) for name, value in draws.items()}
    before, after = augment.apply(x, draws, policy), augment.apply(x, mixed, policy)
    changed = [bool(jnp.any(a != b)) for a, b in zip(before, after, strict=True)]
    assert changed == [False, False, True, False]


@pytest.mark.slow
def test_an_image_does_not_see_its_batch_mates():
    x, draws = images(), augment.draw(jax.random.key(0), EVERYTHING, 4)
    whole = augment.apply(x, draws, EVERYTHING)
    for index in range(4):
        alone = augment.apply(x[index, None], {k: v[index, None] for k, v in draws.items()}, EVERYTHING)
        np.testing.assert_allclose(alone[0], whole[index], rtol=1e-5, atol=1e-6)


def test_neutral_draws_leave_images_unchanged():
    x = images()
    policy = "color,translation,offset"
    draws = {name: jnp.full_like(value, NEUTRAL.get(name, 0)) for name, value in _drawn(policy).items()}
    np.testing.assert_allclose(augment.apply(x, draws, policy), x, rtol=1e-5, atol=1e-6)


def _drawn(policy: str) -> dict[str, jax.Array]:
    return augment.draw(jax.random.key(0), policy, 4)


def test_no_policy_returns_the_images():
    x = images()
    np.testing.assert_array_equal(augment.apply(x, _drawn(""), ""), x)


def test_the_gate_passes_the_stated_share_unchanged():
    x, draws = images(), _drawn("color")
    draws = {**draws, "gate": jnp.array([[0.1], [0.29], [0.31], [0.9]])}
    augmented = augment.apply(x, draws, "color", probability=0.3)
    full = augment.apply(x, draws, "color")
    np.testing.assert_array_equal(augmented[2:], x[2:])
    np.testing.assert_array_equal(augmented[:2], full[:2])
    assert bool(jnp.all(jnp.any(full != x, axis=(1, 2, 3))))
    np.testing.assert_array_equal(augment.apply(x, draws, "color", probability=0.0), x)


@settings(deadline=None, max_examples=6)
@given(st.integers(2, 17), st.integers(2, 17), st.integers(0, 2**31 - 1))
def test_cutout_removes_one_rectangle_of_bounded_area(height, width, seed):
    ones = jnp.ones((8, height, width, 1))
    draws = augment.draw(jax.random.key(seed), "cutout", 8)
    kept = np.asarray(augment.apply(ones, draws, "cutout"))[..., 0]
    for image in kept:
        rows, columns = (image == 0).any(1), (image == 0).any(0)
        # A full rectangle, with contiguous sides between a quarter (clipped at a corner) and half of the image's.
        np.testing.assert_array_equal(image == 0, rows[:, None] & columns[None])
        for line, side in ((rows, height), (columns, width)):
            size, (places,) = int(side * 0.5 + 0.5), np.nonzero(line)
            assert max(1, size // 2) <= len(places) <= size
            assert places[-1] - places[0] + 1 == len(places)


def test_cutout_centre_reaches_every_position():
    """Over the whole range of the draw, the first pixel of the hole takes every value and so does the last."""
    uniforms = (np.arange(900) + 0.5) / 900
    draws = {"cutout": jnp.asarray(np.stack([uniforms, np.full(900, 0.5)], 1), jnp.float32)}
    rows = np.asarray(augment.apply(jnp.ones((900, 8, 8, 1)), draws, "cutout"))[:, :, 4, 0] == 0
    spans = {(int(np.nonzero(row)[0][0]), int(np.nonzero(row)[0][-1])) for row in rows}
    # squares of side 4 centered at 0 to 8
    assert spans == {(max(0, c - 2), min(7, c + 1)) for c in range(9)}


@pytest.mark.parametrize(
    ("part", "shift"), [("offset", (4, 6)), ("offset_h", (0, 6)), ("offset_v", (4, 0))], ids=lambda value: str(value)
)
def test_offsets_roll_the_image(part, shift):
    x = images(batch=1, height=8, width=8)
    uniforms = {"offset": [[0.55, 0.8]], "offset_h": [[0.8]], "offset_v": [[0.55]]}[part]
    rolled = augment.apply(x, {part: jnp.array(uniforms)}, part)
    np.testing.assert_array_equal(rolled, jnp.roll(x, (-shift[0], -shift[1]), (1, 2)))


def test_shifts_reach_an_eighth_of_the_side_or_a_32nd_and_no_more():
    uniforms = jnp.stack([jnp.linspace(0, 1, 500, endpoint=False)] * 2, 1)
    marker = jnp.zeros((500, 20, 12, 1)).at[:, 10, 6].set(1)  # reach int(2.5 + 0.5) = 3 and int(1.5 + 0.5) = 2
    moved = np.asarray(augment.apply(marker, {"translation": uniforms}, "translation"))
    _, rows, columns, _ = np.nonzero(moved)
    assert (set(rows.tolist()), set(columns.tolist())) == (set(range(7, 14)), set(range(4, 9)))
    marker = jnp.zeros((500, 64, 32, 1)).at[:, 10, 6].set(1)  # reach 2 and 1
    moved = np.asarray(augment.apply(marker, {"small_translation": uniforms}, "small_translation"))
    _, rows, columns, _ = np.nonzero(moved)
    assert (set(rows.tolist()), set(columns.tolist())) == (set(range(8, 13)), {5, 6, 7})


def test_the_largest_uniform_number_stays_in_range():
    """In float32, 0.99999994 * count may round to count."""
    draws = {"offset": jnp.full((1, 2), np.nextafter(np.float32(1), np.float32(0)))}
    x = images(batch=1, height=8, width=8)
    np.testing.assert_array_equal(augment.apply(x, draws, "offset"), jnp.roll(x, (-7, -7), (1, 2)))


def test_alpha_keeps_its_values_under_color_and_moves_with_the_image():
    x = images(channels=4)
    draws = _drawn("color,translation")
    colored = augment.apply(x, draws, "color")
    np.testing.assert_array_equal(colored[..., 3], x[..., 3])
    np.testing.assert_allclose(colored[..., :3], augment.apply(x[..., :3], draws, "color"), rtol=1e-6)
    moved = augment.apply(x, draws, "translation")
    np.testing.assert_array_equal(moved[..., 3:], augment.apply(x[..., 3:], draws, "translation"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_part_keeps_shape_and_type(channels):
    x = images(channels=channels).astype(jnp.bfloat16)
    policy = ",".join(augment.AUGMENTATIONS)
    result = jax.eval_shape(lambda x: augment.apply(x, _drawn(policy), policy, 0.5), x)
    assert (result.shape, result.dtype) == (x.shape, x.dtype)


def test_draws_are_uniform_and_apart():
    draws = augment.draw(jax.random.key(0), ",".join(augment.AUGMENTATIONS), 2000)
    assert sorted(draws) == sorted(["gate", *COLOR_STEPS, *list(augment.AUGMENTATIONS)[1:]])
    columns = np.concatenate([np.asarray(value) for value in draws.values()], axis=1)
    assert columns.min() >= 0 and columns.max() < 1
    # standard errors: 0.0065 of the means, about 0.022 of the correlations
    np.testing.assert_allclose(columns.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(columns.T), np.eye(columns.shape[1]), atol=0.1)


def test_policy_is_parsed_with_blanks_and_in_order():
    assert augment.parse_policy(" cutout, color ,") == ("cutout", "color")
    assert augment.parse_policy("") == ()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("color,blur", "augmentation 'blur' in policy 'color,blur' must be one of color, translation, small"),
        ("color,color", "policy 'color,color' names a part twice"),
    ],
)
def test_bad_policies_are_refused(policy, message):
    with pytest.raises(ValueError, match=message):
        augment.parse_policy(policy)


def test_a_new_augmentation_is_one_entry(monkeypatch):
    """An inversion of each image with probability 1/2: drawn, applied and accepted in a configuration."""

    def invert(images, draws):
        sign = jnp.where(draws["invert"] < 0.5, -1, 1).astype(images.dtype)
        return images * sign[:, :, None, None]

    monkeypatch.setitem(augment.AUGMENTATIONS, "invert", augment.Part({"invert": 1}, invert))
    images = jnp.ones((64, 8, 8, 3))
    draws = augment.draw(jax.random.key(0), "invert,translation", 64)
    assert draws["invert"].shape == (64, 1)
    signs = np.unique(augment.apply(images, draws, "invert"))
    assert signs.tolist() == [-1, 1]
    config = smoke.get_config()
    config.augment.policy = "invert,translation"
    validate(config)
    assert spec_from_config(config).policy == "invert,translation"
