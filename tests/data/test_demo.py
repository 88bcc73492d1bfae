"""The procedural demo images."""

import numpy as np
from image_sets import load

from fastgan_jax.data.demo import draw_demo_image


def test_demo_images_depend_on_seed_and_index_alone(tmp_path):
    few, many = ([draw_demo_image(0, index, 32) for index in range(count)] for count in (2, 4))
    np.testing.assert_array_equal(few, many[:2])
    assert len({image.tobytes() for image in many}) == 4
    assert not np.array_equal(draw_demo_image(1, 0, 32), few[0])
    images = load(tmp_path, demo_images=3, channels=4)
    assert images.images.shape == (3, 16, 16, 4) and (images.images[..., 3] == 255).all()
    assert (tmp_path / "run" / "data").is_dir()
    assert load(tmp_path, demo_images=3, channels=1).images.shape == (3, 16, 16, 1)


def test_monsters_differ_in_body_color_and_what_is_on_their_head():
    images = np.stack([draw_demo_image(0, index, 64) for index in range(200)]).astype(int)
    above = images[:, 6:14].reshape(200, -1, 3)  # the sky, or something on the head
    sky = images[:, 2, 2]
    something = ((abs(above - sky[:, None]).sum(-1) > 60).mean(1) > 0.02).mean()
    assert 0.3 < something < 0.9
    assert len({tuple(color) for color in sky}) == 3 and len({tuple(color) for color in images[:, 37, 32]}) >= 6
    wide = (abs(images[:, 37, 12] - sky).sum(-1) > 60).mean()  # left of balls and eggs, on a wide body
    assert 0.2 < wide < 0.5
