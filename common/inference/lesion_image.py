"""An image or a CT slice with its lesions: what a dataset's script hands to `predict`, and the overlay drawn on it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from common.patches import PATCH
from common.utils.drawing import BLUE, ORANGE, SCALE, outline

LONGEST_SIDE = 1024  # px; a larger image is reduced before the overlay is drawn


@dataclass(frozen=True)
class LesionPatch:
    """A lesion's name, its patch, and how a prediction for it is pasted back into the image."""

    lesion: str
    image: np.ndarray  # (120, 120, 3), 0..255, as the network takes it
    paste: Callable[[np.ndarray], np.ndarray]
    """Maps (120, 120) float32 probabilities to the image's (H, W), 0 outside the patch."""
    larger: Callable[[], Self] | None = None
    """Cuts a larger patch about the same lesion, for a second look where the mask reaches this patch's border."""
    ends: np.ndarray | None = None  # (4, 2) RECIST end points (x, y) in px of the patch, if they are known
    quarters: Callable[[], np.ndarray] | None = None
    """Draws the `quarters_mask` of the end points on the image, (H, W) uint8 0/1, if they are known."""
    place: Callable[[], np.ndarray] | None = None
    """Draws on the image, (H, W) uint8 0/1, where the prompt says that the lesion is; None where it may be anywhere."""

    def own_parts(self, mask: np.ndarray) -> np.ndarray:
        """Keep those parts of a (H, W) uint8 0/1 mask that touch the lesion's place, or else the nearest part.

        A patch may show several lesions, and a network that sees no mark segments all of them.
        """
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        if self.place is None or count <= 2:  # the background, and one part
            return mask
        distances = cv2.distanceTransform(1 - self.place(), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        nearest = [distances[labels == part].min() for part in range(1, count)]
        own = 1 + np.flatnonzero(np.array(nearest) <= min(nearest))
        return np.isin(labels, own).astype(np.uint8)

    def holds_place(self, mask: np.ndarray) -> bool:
        """Whether a (H, W) uint8 0/1 mask touches the lesion's place."""
        return self.place is None or bool((mask & self.place()).any())

    def cuts(self, mask: np.ndarray) -> bool:
        """Whether a (H, W) 0/1 mask reaches a patch border inside the image, beyond which the lesion may continue."""
        inside = (self.paste(np.ones((PATCH, PATCH), np.float32)) > 0.5).astype(np.uint8)
        if inside.all():
            return False
        px = -(-max(cv2.boundingRect(inside)[2:]) // PATCH)  # of the image in one of the patch, rounded up
        # OpenCV does not erode from the image's own border.
        return bool((mask > cv2.erode(inside, np.ones((2 * px + 1, 2 * px + 1), np.uint8))).any())


@dataclass(frozen=True)
class LesionImage:
    """An image or a CT slice with the patches of its lesions, and the names of its files."""

    source: str  # the input file, as `measurements.csv` names it
    name: str  # what the overlay's file name starts with
    mask_file: str  # of the mask of all lesions
    rgb: np.ndarray  # (H, W, 3) uint8, which the overlay is drawn on
    patches: list[LesionPatch]
    slice: int | None = None  # index in a volume, from 0
    spacing: tuple[float, ...] | None = None
    """mm from row to row, from column to column and, in a volume, from slice to slice; None if unknown."""
    save_mask: Callable[[np.ndarray], None] | None = None
    """Takes the (H, W) uint8 0/1 mask of all lesions; where it is None, ``mask_file`` becomes a PNG of 0 and 255."""


def draw_overlay(
    image: np.ndarray, mask: np.ndarray, diameter_ends: Iterable[np.ndarray], longest: int = LONGEST_SIDE
) -> np.ndarray:
    """Draw a (H, W) 0/1 mask's outline and each lesion's `Diameters.ends` on a (H, W, 3) uint8 RGB image.

    An image whose longer side has more than ``longest`` px is reduced first; the result is enlarged by `SCALE`.
    """
    scale = min(1.0, longest / max(mask.shape))
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
