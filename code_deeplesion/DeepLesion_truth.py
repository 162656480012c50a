"""Human masks for DeepLesion, which has none of its own, cut as the images are cut."""

import math
import sys
from pathlib import Path

import cv2
import numpy as np

from common.data.images import read_image
from common.patches import Crop, cut_patch
from common.utils.errors import UserError

FRAME = 512  # px of a slice's longer side; slices of another size are scaled
_LABELS = 64  # several levels above 0 and up to this are numbered labels, not the grey of a softened border
_PICTURE = 0.05  # a softened border takes less than this share of a slice


def frame_scale(shape: tuple[int, ...]) -> float:
    """The factor that scales a slice of (rows, columns) to 512 px on its longer side."""
    return FRAME / max(shape[:2])


def human_truth(folder: Path, lesions: list[dict[str, str]]) -> dict[int, np.ndarray]:
    """Cut human masks as the images were cut; what is doubtful about them is told on stderr.

    Args:
        folder: PNG masks of whole slices, 0 outside the lesion, named by `File_name`; where a slice shows several
            lesions, each may have its own, named as in the column `lesion`.
        lesions: rows of `lesions.csv`.

    Returns:
        (120, 120) uint8 0/1 by place in ``lesions``, for those that have a mask in ``folder``.

    Raises:
        UserError: no mask for any of these lesions; a mask is not of its slice's size; or as `read_mask`.
    """
    truth: dict[int, np.ndarray] = {}
    soft, empty = [], []
    for place, lesion in enumerate(lesions):
        paths = (folder / f"{lesion['lesion']}.png", folder / lesion["source"])
        if (path := next((path for path in paths if path.is_file()), None)) is None:
            continue
        mask, is_soft = read_mask(path)
        crop = Crop(float(lesion["scale"]), int(lesion["left"]), int(lesion["top"]))
        if not math.isclose(frame_scale(mask.shape), crop.scale, rel_tol=1e-6):
            size = f"{mask.shape[1]}x{mask.shape[0]} px but its slice is {FRAME / crop.scale:.0f} px wide"
            raise UserError(f"{path} is {size}; masks must be in the slice's own coordinates")
        truth[place] = (cut_patch(mask.astype(np.float32), crop) >= 0.5).astype(np.uint8)
        soft += [path.name] * is_soft
        empty += [path.name] * (not truth[place].any())
    if not truth:
        raise UserError(f"{folder} holds no mask for any of these {len(lesions)} lesions; name them by File_name")
    for names, what in ((soft, "in-between grey levels, cut at half"), (empty, "nothing in the patch of their lesion")):
        if names:
            print(f"{folder}: {len(names)} masks hold {what} (such as {names[0]})", file=sys.stderr)
    return truth


def read_mask(path: Path) -> tuple[np.ndarray, bool]:
    """Read the mask of a slice, of any depth, in grey, in colour or drawn as transparency.

    Returns:
        (H, W) bool, True above half of the highest level, and whether there are levels in between.

    Raises:
        UserError: unreadable, a picture, a map of several labels, or a mask of more than half of the slice.
    """
    levels = read_image(path, cv2.IMREAD_UNCHANGED)
    if levels.ndim == 3:
        pixels, levels = levels, levels[..., :3].max(axis=2)
        if pixels.shape[2] == 4 and np.ptp(pixels[..., 3]):
            alpha = pixels[..., 3]
            levels = np.where(alpha > 0, levels, 0) if np.ptp(levels[alpha > 0]) else alpha
    top = levels.max()
    mask = levels > top / 2
    between = (levels > 0) & (levels < top)
    if between.any() and top <= _LABELS:
        labels = ", ".join(map(str, np.unique(levels)[1:4]))
        raise UserError(f"{path} holds the labels {labels}; write a mask for each lesion, named as in lesions.csv")
    if between.mean() > _PICTURE:
        raise UserError(f"{path} is a picture, not a mask; a mask is 0 outside the lesion and white inside")
    if mask.mean() > 0.5:
        raise UserError(f"{path} marks {mask.mean():.0%} of its slice; a mask is 0 outside the lesion (inverted?)")
    return mask, bool(between.any())
