"""What every picture is made of: colours, a lesion as it looks, outlines."""

import cv2
import numpy as np

Colour = tuple[int, int, int]
# Okabe and Ito's colours, which colour-blind readers tell apart (RGB).
GREEN, ORANGE, BLUE = (0, 158, 115), (230, 159, 0), (86, 180, 233)
VERMILION, PURPLE, NAVY = (213, 94, 0), (204, 121, 167), (0, 114, 178)
SCALE = 2
"""A patch is drawn this many times larger, so that a thin outline does not hide the border."""


def display_image(image: np.ndarray, channels: str) -> np.ndarray:
    """A prepared image as it looks: (120, 120, 3) uint8 RGB.

    Args:
        image: (120, 120, 3), 0..255.
        channels: "bgr", "rgb" or "slices", of which the key slice in the middle is shown.
    """
    image = np.clip(image, 0, 255).astype(np.uint8)
    if channels == "slices":
        return np.repeat(image[..., 1:2], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" else image


def outline(image: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a (120, 120) mask's outline on an RGB image; both are enlarged by `SCALE`."""
    size = (image.shape[1] * SCALE, image.shape[0] * SCALE)
    large = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    border, _ = cv2.findContours(
        cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE,
    )
    return cv2.drawContours(large, border, -1, colour, SCALE)


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two 0/1 masks; NaN when both are empty."""
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else float("nan")
