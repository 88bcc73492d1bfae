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
