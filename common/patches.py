"""The 120x120 patch: resizing, and the mirror-padded canvas around it.

Points are (x, y), arrays (row, column). See FACTS.md section 1.
"""

import argparse
from typing import Any, NamedTuple

import cv2
import numpy as np

PATCH = 120  # side of the square patch in px

SMALL_CANVAS = (128, 128)
"""The canvas of the corrected protocol: the patch with hardly any mirrored border (measured: common/README.md)."""
CANVAS = (384, 480)  # the published (rows, columns) the network sees: 132/132 rows and 180/180 columns around the patch

CANVAS_MULTIPLE = 16  # the encoder's output stride: a canvas must be a multiple of it
LARGEST_CANVAS = 4096
"""Rows or columns; such a canvas has 90 times the pixels of the published one, and more can only be a mistake."""


def check_canvas(canvas: Any) -> tuple[int, int]:
    """Validate a canvas and return it as (rows, columns).

    Raises:
        ValueError: not two whole numbers, smaller than the patch, too large, or not multiples of 16; the text says so.
    """
    match canvas:
        case [int(rows), int(columns)]:
            if all(PATCH <= side <= LARGEST_CANVAS and side % CANVAS_MULTIPLE == 0 for side in (rows, columns)):
                return rows, columns
    text = "x".join(map(str, canvas)) if isinstance(canvas, list | tuple) else canvas
    raise ValueError(
        f"{text!s:.40} is not a canvas: rows and columns must be multiples of {CANVAS_MULTIPLE}, from "
        f"{SMALL_CANVAS[0]}x{SMALL_CANVAS[1]}, which holds the {PATCH}x{PATCH} patch, to {LARGEST_CANVAS} each way"
    )


def parse_canvas(text: str) -> tuple[int, int]:
    """Parse "HxW" in px, e.g. "384x480".

    Raises:
        argparse.ArgumentTypeError: not two whole numbers, or as `check_canvas`.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in px, such as 384x480")
    try:
        return check_canvas([int(part) for part in parts])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def resize_image(image: np.ndarray) -> np.ndarray:
    """Resize (H, W[, C]) to the patch with OpenCV's linear interpolation, as published."""
    return cv2.resize(image, (PATCH, PATCH), interpolation=cv2.INTER_LINEAR)


def resize_points(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Map (n, 2) points (x, y) from px of an image of ``shape`` to px of the patch that `resize_image` makes of it."""
    return (points + 0.5) * PATCH / shape[1::-1] - 0.5


def resize_mask(mask: np.ndarray, *, centred: bool) -> np.ndarray:
    """Resize a (H, W) mask to a (120, 120) uint8 mask of 0/1 with nearest neighbours.

    ``centred`` samples at the centres of the patch's pixels, which aligns the mask with the result of `resize_image`.
    Otherwise, as published, it is sampled at their upper left corners, which shifts it up to 0.5 px to the lower right
    (FACTS.md 4.10).
    """
    nearest = cv2.INTER_NEAREST_EXACT if centred else cv2.INTER_NEAREST
    return cv2.resize((mask > 0).astype(np.uint8), (PATCH, PATCH), interpolation=nearest)


def shrink_mask(mask: np.ndarray) -> np.ndarray:
    """Resize a (H, W) mask to (120, 120) 0/1, keeping only pixels whose linear interpolation is exactly 1."""
    return (cv2.resize((mask > 0).astype(np.float64), (PATCH, PATCH)) == 1).astype(np.uint8)


class Crop(NamedTuple):
    """Where a patch lies: the image is scaled, then cut from column ``left`` and row ``top`` (px, maybe negative)."""

    scale: float
    left: int
    top: int


def cut_patch(image: np.ndarray, crop: Crop) -> np.ndarray:
    """Scale a (H, W) float32 image and cut the 120x120 patch; px beyond the border repeat it."""
    if crop.scale != 1:
        image = cv2.resize(image, None, fx=crop.scale, fy=crop.scale, interpolation=cv2.INTER_LINEAR)
    rows = np.clip(np.arange(crop.top, crop.top + PATCH), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(crop.left, crop.left + PATCH), 0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)]


def paste_patch(patch: np.ndarray, crop: Crop, shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `cut_patch`: a (120, 120) float32 patch in its place on an image of ``shape``, 0 elsewhere."""
    rows, columns = (round(side * crop.scale) for side in shape)
    top, left = max(crop.top, 0), max(crop.left, 0)
    image = np.zeros((rows, columns), np.float32)
    inside = patch[top - crop.top : rows - crop.top, left - crop.left : columns - crop.left]
    image[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    if crop.scale == 1:
        return image
    # Use the exact scale, not the ratio of rounded sizes that `cv2.resize` would use.
    shift = crop.scale / 2 - 0.5
    matrix = np.array([[crop.scale, 0, shift], [0, crop.scale, shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def patch_offset(canvas: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the patch's first pixel on a canvas of (rows, columns): (132, 180) as published."""
    return (canvas[0] - PATCH) // 2, (canvas[1] - PATCH) // 2


def canvas_index(canvas: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column indices that spread a 120x120 patch over ``canvas`` (rows, columns) by reflection.

    The edge pixel is not repeated (``BORDER_REFLECT_101``); on a large canvas the patch is reflected several times.
    """
    row, column = patch_offset(canvas)
    pixels = np.arange(PATCH)
    return (
        np.pad(pixels, (row, canvas[0] - PATCH - row), mode="reflect"),
        np.pad(pixels, (column, canvas[1] - PATCH - column), mode="reflect"),
    )
