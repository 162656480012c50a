"""How a lesion's image and outline look on screen."""

import cv2
import numpy as np

Colour = tuple[int, int, int]
"""RGB, 0..255."""
# Okabe and Ito's colours, which colour-blind readers can tell apart.
GREEN, ORANGE, BLUE = (0, 158, 115), (230, 159, 0), (86, 180, 233)
VERMILION, PURPLE, NAVY = (213, 94, 0), (204, 121, 167), (0, 114, 178)

SCALE = 2
"""`outline` enlarges images by this factor, so that its thin line does not hide the border."""


def outline(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw the outline of an (H, W) mask, and of its holes, on an (H, W, 3) RGB image, both enlarged by `SCALE`."""
    size = (image.shape[1] * SCALE, image.shape[0] * SCALE)
    enlarged = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    enlarged_mask = cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(enlarged_mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(enlarged, contours, -1, colour, SCALE)
