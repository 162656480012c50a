"""The masks that stand in for an outline: the filled ellipse, quarter-ellipses, and GrabCut. All are uint8 0/1."""

import cv2
import numpy as np

from common.recist import Ellipse, quarter_radius

QUARTERS_SCALE = 0.96
"""Factor of the radii in `quarters_mask`. Lesions are not convex: on HAM10000's training lesions, full-size quarters
have 1.10 times the outlines' area, with this factor 1.02 times (0.97 has 1.04, and the highest Dice by 0.1 points)."""

# GrabCut's random initialisation decides between two results for about one lesion in a hundred. With this seed set
# before every lesion, the result depends on neither the order nor the number of processes.
_SEED = 3

LEAST_IOU = 0.4
"""IoU of ellipse and outline: 6 of HAM10000's 10,012 lesions have less; LiTS's are dropped (FACTS.md section 3)."""
MISFIT = f"the IoU of its ellipse and its outline is under {LEAST_IOU}; look at both"


def ellipse_fits(ellipse: np.ndarray, outline: np.ndarray) -> bool:
    """Whether two masks of 0 and 1 have an IoU of at least `LEAST_IOU`; one of them must not be empty."""
    return bool(np.count_nonzero(ellipse & outline) >= LEAST_IOU * np.count_nonzero(ellipse | outline))


def ellipse_mask(ellipse: Ellipse, shape: tuple[int, int], grow: float = 0.0, margin: float = 0.0) -> np.ndarray:
    """Fill an ellipse on a (rows, columns) raster.

    A pixel counts when its centre, at whole coordinates, lies inside.

    Args:
        ellipse: in px of the raster.
        shape: rows and columns.
        grow: px added on all sides (a drawn outline adds half its width).
        margin: count a pixel only when the four points at ± this many px about its centre lie inside too;
            0.5 means pixels that are completely covered.

    Returns:
        ``shape`` uint8 of 0/1; all 0 when an axis is not above 0.
    """
    mask = np.zeros(shape, np.uint8)
    a, b = ellipse.width / 2 + grow, ellipse.height / 2 + grow
    if not (a > 0 and b > 0):
        return mask
    angle = np.deg2rad(ellipse.angle)
    cos, sin = np.cos(angle), np.sin(angle)
    reach_x, reach_y = np.hypot(a * cos, b * sin), np.hypot(a * sin, b * cos)
    left, right = _span(ellipse.cx, reach_x, shape[1])
    top, bottom = _span(ellipse.cy, reach_y, shape[0])
    x = np.arange(left, right)[None, :] - ellipse.cx
    y = np.arange(top, bottom)[:, None] - ellipse.cy
    inside = np.ones((bottom - top, right - left), bool)
    for dx, dy in {(sx * margin, sy * margin) for sx in (-1, 1) for sy in (-1, 1)}:
        along = ((x + dx) * cos + (y + dy) * sin) / a
        across = ((y + dy) * cos - (x + dx) * sin) / b
        inside &= along**2 + across**2 <= 1
    mask[top:bottom, left:right] = inside
    return mask


def _span(centre: float, reach: float, length: int) -> tuple[int, int]:
    first = int(np.clip(np.floor(centre - reach), 0, length))
    return first, int(np.clip(np.ceil(centre + reach) + 1, first, length))


def quarters_mask(ends: np.ndarray, shape: tuple[int, int], scale: float = QUARTERS_SCALE) -> np.ndarray:
    """Fill the four quarter-ellipses about the crossing of two RECIST diameters, each through two of their ends.

    Args:
        ends: (4, 2) points (x, y): both ends of the long diameter, then both of the short one, in px of the raster.
        shape: rows and columns.
        scale: factor of the radii; 1 draws the mask through the end points.

    Returns:
        ``shape`` uint8 of 0/1; a pixel counts when its centre lies inside, and the innermost one always.
    """
    # What lies farther off than this is outside: an arc reaches beyond its ends by half of their distance at most.
    low, high = ends.min(axis=0), ends.max(axis=0)
    margin = (1.5 * max(scale, 1) - 1) * (high - low) + 1
    x, y = (
        np.arange(np.clip(first, 0, length - 1), np.clip(last, 0, length - 1) + 1)
        for first, last, length in zip(
            (low - margin).astype(int), (high + margin).astype(int), shape[::-1], strict=True
        )
    )
    mask = np.zeros(shape, np.uint8)
    radius = quarter_radius(ends, x, y)
    mask[y[0] : y[-1] + 1, x[0] : x[-1] + 1] = radius <= max(scale, radius.min())
    return mask


def grabcut_mask(image: np.ndarray, ellipse: np.ndarray, inset: int = 0, least_pixels: int = 1) -> np.ndarray:
    """GrabCut inside an ellipse (FACTS.md section 3, row GrabCut).

    Args:
        image: (H, W, 3) uint8; what lies outside the ellipse is blackened first, as published.
        ellipse: (H, W) 0/1.
        inset: px by which the ellipse's box is moved in at the left and top; its right and bottom stay.
        least_pixels: a result of fewer pixels falls back to the ellipse.

    Returns:
        (H, W) uint8 0/1: the foreground, or the ellipse where GrabCut can't start or finds too little.
    """
    x, y, width, height = cv2.boundingRect(ellipse)
    # The release takes last minus first pixel for the box's size, one less than it covers.
    box = (x + inset, y + inset, width - 1 - inset, height - 1 - inset)
    if box[2] < 1 or box[3] < 1:
        return ellipse.copy()
    cv2.setRNGSeed(_SEED)
    mask = np.zeros(ellipse.shape, np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    blackened = image * ellipse[..., None]
    cv2.grabCut(blackened, mask, box, *models, 5, cv2.GC_INIT_WITH_RECT)
    foreground = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    return foreground if np.count_nonzero(foreground) >= least_pixels else ellipse.copy()
