"""RECIST diameters of a mask: its longest chord, and the longest chord across that one.

The border runs halfway between a pixel inside and its neighbour outside, so that a row of n pixels is n px long and a
disc of radius r about 2r px wide. Points are (x, y), counted from 0 at the centre of the first pixel.
"""

from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage


class Diameters(NamedTuple):
    """The two diameters of a lesion; both 0, and no end points, where there is none."""

    long: float
    """Distance of the two border points that lie furthest apart; between them it may leave a crescent."""
    short: float
    """The longest stretch across the long one that stays inside; holes count as inside."""
    ends: np.ndarray
    """(4, 2) px: both ends of the long diameter, then of the short one."""


def count_parts(mask: np.ndarray) -> int:
    """How many 8-connected parts a (H, W) mask has."""
    return cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[0] - 1


def diameters(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> Diameters:
    """Measure the largest 8-connected part of a mask.

    Args:
        mask: (H, W), above 0 inside.
        spacing: mm from row to row and from column to column; the default measures in px.

    Returns:
        The diameters in the unit of ``spacing``. Where several chords are equally long, the first found.
    """
    border = _border(mask)
    if not len(border):
        return Diameters(0.0, 0.0, np.empty((0, 2)))
    unit = np.array(spacing[::-1])
    points = border * unit
    hull = points[cv2.convexHull(points.astype(np.float32), returnPoints=False)[:, 0]]
    apart = np.hypot(*(hull[:, None] - hull[None]).transpose(2, 0, 1))
    first, last = hull[list(np.unravel_index(apart.argmax(), apart.shape))]
    along = (last - first) / apart.max()
    across = np.array([-along[1], along[0]])
    place, start, end = _longest_chord(points @ along, points @ across)
    ends = np.stack([first, last, place * along + start * across, place * along + end * across])
    return Diameters(float(apart.max()), end - start, ends / unit)


def _border(mask: np.ndarray) -> np.ndarray:
    """The outer border of the largest part of a mask as a closed polygon, (n, 2) points with the first again last."""
    from skimage.measure import find_contours  # slow to import, and only this function computes with it

    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    if not width:
        return np.empty((0, 2))
    inside = (mask[y : y + height, x : x + width] > 0).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    largest = labels == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
    filled = np.pad(ndimage.binary_fill_holes(largest), 1).astype(np.float32)
    (contour,) = find_contours(filled, 0.5, fully_connected="high")
    return contour[:, ::-1] - 1 + (x, y)


def _longest_chord(along: np.ndarray, across: np.ndarray) -> tuple[float, float, float]:
    """The longest chord of a closed polygon among those at one place along an axis.

    Between two neighbouring corners' places the edges don't cross and every chord's length is linear, so that the
    longest chord is at a corner's place.

    Args:
        along: (n,) the corners' places on the axis; the last corner is the first.
        across: (n,) their distances from it.

    Returns:
        The chord's place, its start and its end.
    """
    places = np.unique(along)
    low = np.searchsorted(places, np.minimum(along[:-1], along[1:]))
    high = np.searchsorted(places, np.maximum(along[:-1], along[1:]))
    # One line for each interval of places that an edge spans.
    edge = np.repeat(np.arange(len(low)), high - low)
    interval = np.arange(len(edge)) - np.repeat(np.cumsum(high - low) - high, high - low)
    slope = (across[1:] - across[:-1])[edge] / (along[1:] - along[:-1])[edge]
    sides = np.stack([across[edge] + (places[interval + right] - along[edge]) * slope for right in (0, 1)])
    # Within an interval the crossings, in order, are start, end, start, end ... of the chords inside.
    order = np.lexsort((sides.mean(axis=0), interval))
    sides, interval = sides[:, order], interval[order]
    starts, ends = sides[:, ::2], sides[:, 1::2]
    right, chord = np.unravel_index((ends - starts).argmax(), starts.shape)
    return float(places[interval[2 * chord] + right]), float(starts[right, chord]), float(ends[right, chord])
