"""Read mask files (white on black, of any bit depth, soft, coloured, transparent or rotated) as masks of 0 and 1."""

from pathlib import Path

import cv2
import numpy as np

from common.io.images import Photo, read_image, read_orientation, turn
from common.utils.errors import UserError

ALPHA = "the alpha channel of its mask holds the shape, and is used"
SOFT = "its mask has grey levels between black and white, as JPEG and smoothing leave them; they are cut at half"
TURNED = "its mask was drawn on the stored picture, and is turned as the image's EXIF orientation says"
EITHER_WAY = (
    "its EXIF orientation turns the image, whose mask fits either way and is taken as drawn on the picture that "
    "viewers show; save both without orientation to be sure"
)
EMPTY = "the mask is empty"
FULL = "the mask covers the whole image"
INVERTED = "the mask seems inverted, its border being white; it must be white on black"
_FEW = 64  # brightest level below which whole levels are labels, not greys
_INVERTED_BORDER = 0.95  # share of white px; of HAM10000's 10,012 masks none has more than 0.91


def read_mask(path: Path, photo: Photo | None = None) -> tuple[np.ndarray, list[str]]:
    """Read a mask: what is above half of its brightest level is lesion.

    Args:
        path: grey, coloured or transparent, of any depth; a palette counts by its colours.
        photo: the image that the mask belongs to.

    Returns:
        (H, W) uint8 0/1, lying over the image as viewers show it, and sentences for the user.

    Raises:
        UserError: as `read_image`; the mask is no shape on a background, or not of the image's size.
    """
    mask, notes = _threshold(path, *_grey_levels(path, read_image(path, cv2.IMREAD_UNCHANGED)))
    orientation = read_orientation(path)
    mask = turn(mask, orientation)
    if photo is not None:
        if photo.orientation != 1 and orientation == 1:  # a mask with its own was saved from the stored picture
            mask, notes = _lay_over(photo, mask, notes)
        if mask.shape != (shape := photo.pixels.shape[:2]):
            size, wanted = (f"{columns}x{rows}" for rows, columns in (mask.shape, shape))
            raise UserError(f"{path} is {size} px but its image is {wanted}; the two must be of one size")
    return np.ascontiguousarray(mask), notes


def _threshold(path: Path, levels: np.ndarray, notes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Cut grey levels at half of the brightest; sentences for the user are added to ``notes``."""
    top = levels.max()
    if top and np.count_nonzero(levels) != np.count_nonzero(levels == top):
        if top < _FEW and np.array_equal(levels, np.rint(levels)):
            raise UserError(f"{path} has levels from 0 to {top:g}, as maps of labels have; save the lesion alone")
        notes = [*notes, SOFT]
        kernel = np.ones((7, 7), np.uint8)
        between = (levels > 0.1 * top) & (levels < 0.9 * top)
        flat = cv2.erode(levels, kernel) == cv2.dilate(levels, kernel)
        # JPEG makes a few faint squares about a shape; a label of 1 beside one of 255 is as large as a shape.
        faint = flat & (levels > 0) & (levels <= 0.1 * top) & (flat & (levels == 0)).any()
        label = np.count_nonzero(faint) > 0.1 * np.count_nonzero(levels > top / 2)
        if (flat & between).any() or between.mean() > 0.5 or label:
            raise UserError(
                f"{path} has large grey areas between black and white; save the lesion alone, white on black"
            )
    mask = cv2.threshold(levels, float(top) / 2, 1, cv2.THRESH_BINARY)[1]
    return mask.astype(np.uint8, copy=False), notes


def _lay_over(photo: Photo, mask: np.ndarray, notes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Turn a mask without orientation like its image where only that fits; ``notes`` as in `_threshold`."""
    shape, turned = photo.pixels.shape[:2], turn(mask, photo.orientation)
    if turned.shape == shape and mask.shape != shape:
        return turned, [*notes, TURNED]
    if turned.shape == shape and not np.array_equal(turned, mask):
        return mask, [*notes, EITHER_WAY]
    return mask, notes


def _grey_levels(path: Path, pixels: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The grey levels that hold the shape, those of the colours or of the alpha channel, and sentences for the user."""
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)  # OpenCV computes with few other types
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2GRAY)
    if pixels.ndim == 2 or pixels.shape[2] == 3 or np.ptp(pixels[..., 3]) == 0:
        return grey, []
    alpha = pixels[..., 3]
    opaque = alpha > alpha.max() / 2
    if np.array_equal(opaque, grey > grey.max() / 2):
        return grey, []
    if np.ptp(grey[opaque]) > 0:
        raise UserError(f"{path} has one shape in its colours and another in its alpha channel; save it without alpha")
    return alpha, [ALPHA]


def mask_fault(mask: np.ndarray) -> str | None:
    """Why a (H, W) mask of 0 and 1 outlines no lesion; None where it may."""
    count = cv2.countNonZero(mask)
    if count in (0, mask.size):
        return FULL if count else EMPTY
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return INVERTED if border.mean() >= _INVERTED_BORDER else None
