"""Images are shown as they look, and an outline is where the mask ends."""

import numpy as np

from common.utils.drawing import BLUE, outline


def test_an_outline_surrounds_its_mask_and_leaves_its_inside():
    mask = np.zeros((120, 120), np.uint8)
    mask[40:80, 40:80] = 1
    drawn = outline(np.full((120, 120, 3), 9, np.uint8), mask, BLUE)
    assert drawn.shape == (240, 240, 3)
    assert tuple(drawn[120, 80]) == BLUE
    assert drawn[120, 120].tolist() == drawn[10, 10].tolist() == [9, 9, 9]
