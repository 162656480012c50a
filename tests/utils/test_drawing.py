"""Images are shown as they look, and an outline is where the mask ends."""

import numpy as np

from common.utils.drawing import BLUE, display_image, outline


def test_images_are_shown_as_they_look():
    image = np.zeros((120, 120, 3), np.uint8)
    image[..., 0] = 200
    assert display_image(image, "bgr")[0, 0].tolist() == [0, 0, 200]
    assert display_image(image, "rgb")[0, 0].tolist() == [200, 0, 0]
    assert display_image(image.astype(np.float32), "slices")[0, 0].tolist() == [0, 0, 0]


def test_an_outline_surrounds_its_mask_and_leaves_its_inside():
    mask = np.zeros((120, 120), np.uint8)
    mask[40:80, 40:80] = 1
    drawn = outline(np.full((120, 120, 3), 9, np.uint8), mask, BLUE)
    assert drawn.shape == (240, 240, 3)
    assert tuple(drawn[120, 80]) == BLUE
    assert drawn[120, 120].tolist() == drawn[10, 10].tolist() == [9, 9, 9]
