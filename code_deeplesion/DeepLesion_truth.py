"""Human masks for DeepLesion, which has none of its own, cut as the images are cut."""

import math
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np

from common.io.masks import EMPTY, mask_fault, read_mask
from common.patches import Crop, cut_patch
from common.utils.errors import UserError

FRAME = 512  # px of a slice's longer side; slices of another size are scaled


def frame_scale(shape: tuple[int, ...]) -> float:
    """The factor that scales a slice of (rows, columns) to 512 px on its longer side."""
    return FRAME / max(shape[:2])


def human_truth(folder: Path, lesions: list[dict[str, str]], ellipses: np.ndarray) -> dict[int, np.ndarray]:
    """Cut human masks as the images were cut; doubts about them are reported on stderr.

    Args:
        folder: PNG masks of whole slices, 0 outside the lesion, named by `File_name`; where a slice shows several
            lesions, each may have its own, named as in the column `lesion`. Of a slice's mask a lesion gets the parts
            that touch its ellipse; where none does, a slice's only lesion gets all of it, with a note.
        lesions: rows of `lesions.csv`.
        ellipses: (N, 120, 120) 0/1, those of all ``lesions``.

    Returns:
        (120, 120) uint8 0/1 by place in ``lesions``, for those that have a mask in ``folder``.

    Raises:
        UserError: no mask for any of these lesions; a mask is full, inverted or not of its slice's size; or as
            `read_mask`.
    """
    truth: dict[int, np.ndarray] = {}
    doubts: dict[str, list[str]] = {}
    on_slice = Counter(lesion["source"] for lesion in lesions)
    for place, lesion in enumerate(lesions):
        paths = (folder / f"{lesion['lesion']}.png", folder / lesion["source"])
        if (path := next((path for path in paths if path.is_file()), None)) is None:
            continue
        mask, notes = read_mask(path)
        if (fault := mask_fault(mask)) not in (None, EMPTY):
            raise UserError(f"{path} can't be used: {fault}")
        crop = Crop(float(lesion["scale"]), int(lesion["left"]), int(lesion["top"]))
        if mask.shape[0] != mask.shape[1] or not math.isclose(frame_scale(mask.shape), crop.scale, rel_tol=1e-6):
            side = round(FRAME / crop.scale)
            size = f"{mask.shape[1]}x{mask.shape[0]} px but its slice is {side}x{side}"
            raise UserError(f"{path} is {size}; masks must be in the slice's own coordinates")
        patch = (cut_patch(mask.astype(np.float32), crop) >= 0.5).astype(np.uint8)
        notes = [*notes]
        if path.name == lesion["source"]:
            labels = cv2.connectedComponents(patch, connectivity=8)[1]
            own = (np.isin(labels, labels[ellipses[place] > 0]) & (patch > 0)).astype(np.uint8)
            if own.any() or on_slice[lesion["source"]] > 1:
                patch = own
            elif patch.any():
                notes.append("no part of its mask touches the lesion's ellipse; all of it is taken")
        if not patch.any():
            notes.append("its mask shows nothing in the lesion's patch")
        truth[place] = patch
        for note in notes:
            doubts.setdefault(note, []).append(path.name)
    if not truth:
        raise UserError(f"{folder} holds no mask for any of these {len(lesions)} lesions; name them by File_name")
    for note, names in doubts.items():
        print(f"{folder}: {len(names)} lesions (such as {names[0]}): {note}", file=sys.stderr)
    return truth
