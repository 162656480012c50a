"""The paper's six metrics, computed per lesion and averaged last (FACTS.md section 5).

Masks are (120, 120) arrays of 0/1; lengths are in px of that frame. Undefined values (distances to an empty
prediction) are NaN until `fill_undefined` replaces them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from scipy.special import stdtrit

from common.patches import PATCH
from common.recipe import Protocol

METRICS = ("iou", "dice", "vs", "centre_error", "perimeter_error", "avd")  # the six, in the order of the paper's table
EXTRA_METRICS = ("average_hausdorff", "hausdorff95")
"""Border distances that the paper's text names or that others report."""
FRACTIONS = ("iou", "dice", "vs")  # metrics in 0..1, which the paper prints in per cent; the others are px.
FEW_GROUPS = 30  # patients; of four, 81 % of the bootstrap's intervals hold the true mean, not 95 %
DISTANCES = ("centre_error", "avd", *EXTRA_METRICS)  # metrics that an empty mask leaves undefined


def lesion_metrics(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """All metrics of one lesion.

    Args:
        truth: (H, W) 0/1.
        prediction: (H, W) 0/1.

    Returns:
        `METRICS` and `EXTRA_METRICS`; the distances are NaN when either mask is empty, the overlaps when both are.
    """
    truth, prediction = np.ascontiguousarray(truth, np.uint8), np.ascontiguousarray(prediction, np.uint8)
    values = _overlaps(truth, prediction)
    values["centre_error"] = _centre_error(truth, prediction)
    values["perimeter_error"] = abs(_edge_pixels(truth) - _edge_pixels(prediction)) / 2
    values.update(_border_distances(truth, prediction))
    return {name: float(values[name]) for name in (*METRICS, *EXTRA_METRICS)}


def dice(prediction: Any, truth: Any) -> Any:
    """Dice overlap of masks, NaN where both are empty.

    Args:
        prediction: (..., H, W) booleans or 0/1 integers, an array or a tensor.
        truth: the same shape and kind.

    Returns:
        (...) values in 0..1, of the same library.
    """
    both = (prediction & truth).sum((-2, -1))
    total = prediction.sum((-2, -1)) + truth.sum((-2, -1))
    with np.errstate(invalid="ignore"):
        return 2 * both / total


def _overlaps(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    both = np.count_nonzero(truth & prediction)
    missed, extra = np.count_nonzero(truth) - both, np.count_nonzero(prediction) - both
    total = 2 * both + missed + extra
    if total == 0:
        return dict.fromkeys(FRACTIONS, np.nan)
    return {
        "iou": both / (both + missed + extra),
        "dice": 2 * both / total,
        "vs": 1 - abs(missed - extra) / total,
    }


def _centre_error(truth: np.ndarray, prediction: np.ndarray) -> float:
    if not (truth.any() and prediction.any()):
        return np.nan
    (x, y, w, h), (u, v, s, t) = cv2.boundingRect(truth), cv2.boundingRect(prediction)
    return np.hypot(x + w / 2 - u - s / 2, y + h / 2 - v - t / 2)


_CANNY_REACH = 8
"""px beyond which a mask's pixel can't change Canny's edges: 4 sigma of smoothing, the gradient, its maxima."""


def _edge_pixels(mask: np.ndarray) -> int:
    from skimage.feature import canny  # slow to import

    x, y, width, height = cv2.boundingRect(mask)
    # Cropping to the mask gives the same edges, faster.
    top, left = max(y - _CANNY_REACH, 0), max(x - _CANNY_REACH, 0)
    part = mask[top : y + height + _CANNY_REACH, left : x + width + _CANNY_REACH]
    return int(np.count_nonzero(canny(part, sigma=1, low_threshold=1, high_threshold=1))) if width else 0


def _border(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask with a 4-neighbour outside it, or outside the image."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return mask - cv2.erode(mask, cross, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))


def _distances(pixels: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel of one 0/1 mask to the nearest of another, in px."""
    distance = cv2.distanceTransform(1 - border, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[pixels > 0]
    # OpenCV computes in float32; squared distances between pixels are whole numbers, so rounding makes it exact.
    return np.sqrt(np.rint(distance.astype(np.float64) ** 2))


def _border_distances(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """The symmetric Hausdorff distance between borders, its 95th percentile, and its average.

    The paper calls the first "average volume distance"; the release computes the maximum (FACTS.md section 5).
    """
    if not (truth.any() and prediction.any()):
        return {"avd": np.nan, "hausdorff95": np.nan, "average_hausdorff": np.nan}
    # Outside the box that holds both masks there is no border and nothing to measure.
    x, y, width, height = cv2.boundingRect(truth | prediction)
    box = np.s_[y : y + height, x : x + width]
    ours, theirs = _border(prediction[box]), _border(truth[box])
    there, back = _distances(ours, theirs), _distances(theirs, ours)
    return {
        "avd": max(there.max(), back.max()),
        "hausdorff95": np.percentile(np.concatenate([there, back]), 95),
        "average_hausdorff": (there.mean() + back.mean()) / 2,
    }


def fill_undefined(values: Mapping[str, np.ndarray], protocol: Protocol) -> dict[str, np.ndarray]:
    """Fill in the undefined distances of empty predictions, so that they can be averaged (FACTS.md 4.8).

    Args:
        values: (N,) values by name, NaN where undefined.
        protocol: `released` takes the worst of the other lesions in the set, `corrected` the patch's diagonal.

    Returns:
        The same, with the distances filled; still NaN under `released` when every prediction is empty.
    """
    filled = {name: np.array(column, np.float64) for name, column in values.items()}
    for name in DISTANCES:
        undefined = np.isnan(filled[name])
        if undefined.any():
            diagonal = np.hypot(PATCH, PATCH)
            worst = diagonal if protocol == "corrected" else np.max(filled[name], initial=-np.inf, where=~undefined)
            filled[name][undefined] = worst if np.isfinite(worst) else np.nan
    return filled


def bootstrap_interval(values: np.ndarray, groups: Sequence[str] | None = None) -> tuple[float, float, float]:
    """Mean of (N,) per-lesion values, and the low and high end of its 95 % interval.

    Lesions of one group, such as the slices of a patient, are correlated: the bootstrap resamples them together. Of
    fewer than `FEW_GROUPS` its percentiles lie too close together, and the interval is Student's, from the groups' sums
    (the linearised variance of a ratio). With a single group or lesion there is none: both ends are NaN.
    """
    mean = float(np.mean(values))
    members = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(members, values), np.bincount(members)
    count = len(sums)
    if count < 2 or np.isnan(mean):
        return mean, np.nan, np.nan
    if count < FEW_GROUPS:
        error = np.sqrt(count / (count - 1) * ((sums - mean * sizes) ** 2).sum()) / len(values)
        half = float(stdtrit(count - 1, 0.975) * error)
        return mean, mean - half, mean + half
    # Not scipy.stats.bootstrap, which takes two seconds to import and percentile 2.5000000000000022.
    rng = np.random.default_rng(0)
    draws = (rng.integers(count, size=count) for _ in range(2000))
    low, high = np.percentile([sums[draw].sum() / sizes[draw].sum() for draw in draws], [2.5, 97.5])
    return mean, float(low), float(high)
