"""Sizes, shapes and near-duplicates of a set."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from fastgan_jax.data.accounting import ReadFile
from fastgan_jax.data.demo import draw_demo_image
from fastgan_jax.data.statistics import describe_shapes, near_duplicates


def described(*sizes: tuple[int, int], resolution: int = 256) -> str:
    files = [ReadFile(f"{index}.png", *size, "RGB") for index, size in enumerate(sizes)]
    return "\n".join(describe_shapes(files, resolution, "squash"))


def test_sizes_and_shapes_are_counted():
    text = described((300, 300), (600, 400), (600, 400), (200, 900))
    assert "sizes: from 300x300 to 600x400" in text
    assert "shapes: 25 % square, 50 % landscape, 25 % portrait" in text
    assert "1 of 4 images are smaller than 256 pixels" in text
    assert "4 images are few" in text


def test_advice_follows_the_shapes():
    assert "nearly all are square: data.fit=squash does little" in described(*[(512, 512)] * 60)
    same = described(*[(600, 400)] * 60)
    assert "1.50 wide to 1 high" in same and "crop loses 33 % of each" in same and "few" not in same
    mixed = described(*[(600, 400), (400, 600)] * 30)
    assert "shapes differ" in mixed and "1.5 times" in mixed and "loses 33 %" in mixed
    assert "a lower model.resolution suits" in described(*[(200, 200)] * 60)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_copies_are_found_whatever_was_done_to_them(channels):
    images = [draw_demo_image(0, index, 64) for index in range(40)]
    original = Image.fromarray(images[3])
    images.append(np.asarray(original.resize((40, 40)).resize((64, 64))))  # smaller
    images.append(np.asarray(original)[:, ::-1])  # mirrored
    images.append(np.asarray(ImageEnhance.Brightness(Image.fromarray(images[7])).enhance(0.95)))
    stack = np.stack(images)
    if channels == 1:
        stack = stack.mean(-1, keepdims=True).astype(np.uint8)
    elif channels == 4:
        stack = np.concatenate([stack, np.full_like(stack[..., :1], 255)], axis=-1)
    assert near_duplicates(stack) == [[3, 40, 41], [7, 42]]


def test_plain_images_of_other_colors_are_no_copies_of_pictures():
    plain = np.full((3, 64, 64, 3), 200, np.uint8)
    images = np.concatenate([plain, [draw_demo_image(0, index, 64) for index in range(5)]])
    assert near_duplicates(images) == [[0, 1, 2]]
    assert near_duplicates(images[3:]) == []
