"""An image or a CT slice with its lesions: what a dataset's script hands to `predict`, and the overlay drawn on it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from common.data.images import BLUE, ORANGE, SCALE, outline

_LONGEST_SIDE = 1024  # px; a larger image is reduced before the overlay is drawn


@dataclass(frozen=True)
class LesionPatch:
    """A lesion's name, its patch, and how a prediction for it is pasted back into the image."""

    lesion: str
    image: np.ndarray
    """(120, 120, 3), 0..255, as the network takes it."""
    paste: Callable[[np.ndarray], np.ndarray]
    """Maps (120, 120) float32 probabilities to the image's (H, W), 0 outside the patch."""


@dataclass(frozen=True)
class LesionImage:
    """An image or a CT slice with the patches of its lesions, and the names of its files."""

    source: str
    """The input file, as `measurements.csv` names it."""
    name: str
    """What the overlay's file name starts with."""
    mask_file: str
    """Of the mask of all lesions."""
    rgb: np.ndarray
    """(H, W, 3) uint8, which the overlay is drawn on."""
    patches: list[LesionPatch]
    slice: int | None = None
    """Index in a volume, from 0."""
    spacing: tuple[float, ...] | None = None
    """mm from row to row, from column to column and, in a volume, from slice to slice; None if unknown."""


def draw_overlay(image: np.ndarray, mask: np.ndarray, diameter_ends: Iterable[np.ndarray]) -> np.ndarray:
    """Draw a mask's outline and RECIST diameters on an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 0/1.
        diameter_ends: `Diameters.ends` of each lesion.

    Returns:
        uint8 RGB: the image, reduced to 1024 px where it is larger, then enlarged by `SCALE`.
    """
    scale = min(1.0, _LONGEST_SIDE / max(mask.shape))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    overlay = outline(image, mask, BLUE)
    for ends in diameter_ends:
        # Whole numbers are the centres of pixels, before and after scaling.
        scaled = np.rint((ends + 0.5) * scale * SCALE - 0.5).astype(np.int32)
        for start, end in scaled.reshape(-1, 2, 2):
            cv2.line(overlay, start.tolist(), end.tolist(), ORANGE, 1, cv2.LINE_AA)
    return overlay
