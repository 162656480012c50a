"""Measurements of a predicted lesion: area, RECIST diameters and volume.

A mask's border runs halfway between a pixel inside and its neighbour outside, so that a row of n pixels is n px long
and a disc of radius r about 2r px wide. Points are (x, y), counted from 0 at the centre of the first pixel.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

# Columns of `measurements.csv`; a cell without a value stays empty.
COLUMNS = tuple(
    "input lesion slice slices area_px long_px short_px area_mm2 long_mm short_mm volume_ml parts cut mask".split()
)


class Diameters(NamedTuple):
    """RECIST diameters of a lesion; an empty mask has lengths of 0 and no end points."""

    long: float  # between the two border points that lie furthest apart; the line may leave a concave lesion
    short: float  # the longest chord at a right angle to the long diameter; a chord stays inside the border
    ends: np.ndarray  # (4, 2) px: ends of the long diameter, then of the short one; (0, 2) for an empty mask


def measure_lesion(mask: np.ndarray, spacing: Sequence[float] | None = None) -> tuple[dict[str, Any], np.ndarray]:
    """Measure a lesion's (H, W) uint8 0/1 mask on one image or slice; for ``spacing`` see `LesionImage`.

    Returns:
        The measurements that the spacing allows, by column, and the end points of the diameters (see `Diameters`).
    """
    area, (long, short, ends) = int(np.count_nonzero(mask)), diameters(mask)
    row: dict[str, Any] = {"area_px": area, "long_px": long, "short_px": short, "parts": count_parts(mask)}
    if spacing is not None:
        long, short, _ = diameters(mask, (spacing[0], spacing[1]))
        row |= {"area_mm2": area * spacing[0] * spacing[1], "long_mm": long, "short_mm": short}
        if len(spacing) == 3:
            row["volume_ml"] = row["area_mm2"] * spacing[2] / 1000
    return row, ends


def merge_slices(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reduce the rows of each lesion to that of the slice where it is longest; numbers are rounded to 3 decimals.

    A lesion on several slices gets the volume of them all: that of a single slice says nothing of its volume. ``cut``
    becomes the number of slices on which the mask is cut off. ``slice`` is None where a row is about an image.
    """
    lesions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        lesions.setdefault((row["input"], row["lesion"]), []).append(row)
    table = []
    for slices in lesions.values():
        longest = max(slices, key=lambda row: row.get("long_mm", row["long_px"])).copy()
        longest["cut"] = sum(row["cut"] for row in slices)
        if longest["slice"] is not None:
            longest["slices"] = len(slices)
        if longest.pop("volume_ml", None) is not None and len(slices) > 1:
            longest["volume_ml"] = sum(row["volume_ml"] for row in slices)
        table.append({name: round(cell, 3) if isinstance(cell, float) else cell for name, cell in longest.items()})
    return table


def count_parts(mask: np.ndarray) -> int:
    """Number of 8-connected parts of a (H, W) mask."""
    return cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[0] - 1


def diameters(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> Diameters:
    """Measure the RECIST diameters of the largest 8-connected part of a (H, W) mask, holes filled.

    ``spacing`` is mm from row to row and from column to column; the default gives lengths in px.
    """
    border = _outer_border(mask)
    if not len(border):
        return Diameters(0.0, 0.0, border)
    mm_per_px = np.array(spacing[::-1])  # in x and y
    border = border * mm_per_px
    hull = border[cv2.convexHull(border.astype(np.float32), returnPoints=False)[:, 0]]
    distances = np.hypot(*(hull[:, None] - hull).T)
    long = distances.max()
    long_ends = hull[list(np.unravel_index(distances.argmax(), distances.shape))]
    along = (long_ends[1] - long_ends[0]) / long
    across = np.array([-along[1], along[0]])
    # In a frame whose x axis runs along the long diameter, the short one is vertical.
    x, low, high = _longest_vertical_chord(border @ along, border @ across)
    ends = np.stack([*long_ends, x * along + low * across, x * along + high * across])
    return Diameters(float(long), high - low, ends / mm_per_px)


def _outer_border(mask: np.ndarray) -> np.ndarray:
    """The outer border of a mask's largest part as a closed polygon: (n, 2) points, the last equal to the first."""
    from skimage.measure import find_contours  # slow to import, and only this function needs it

    count, labels, statistics, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8), connectivity=8)
    if count == 1:  # the background
        return np.empty((0, 2))
    largest = 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
    left, top, width, height, _ = statistics[largest]
    part = np.pad(labels[top : top + height, left : left + width] == largest, 1)
    # The borders of holes are less tall than the outer one.
    border = max(find_contours(part, 0.5, fully_connected="high"), key=lambda points: np.ptp(points[:, 0]))
    return border[:, ::-1] - 1 + (left, top)


def _longest_vertical_chord(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Find the longest vertical line segment inside a polygon.

    Vertical lines through all corners cut the polygon into strips. No corner lies inside a strip, so that an edge
    either crosses it from side to side or stays out of it, and edges don't intersect in it. From bottom to top, the
    first and the second edge bound a chord, the third and the fourth the next one, and so on. A chord's length changes
    linearly from one side of the strip to the other: the longest chord of all lies on a side of a strip.

    ``x`` and ``y`` are the (n,) corners of a closed polygon, whose last corner is the first. Returns the segment's x,
    and the y of its lower and of its upper end.
    """
    sides = np.unique(x)  # strip i reaches from sides[i] to sides[i + 1]
    first, stop = np.sort(np.searchsorted(sides, [x[:-1], x[1:]]), axis=0)  # the range of strips that an edge crosses
    strip = np.concatenate([np.arange(*span) for span in zip(first, stop, strict=True)])
    edge = np.repeat(np.arange(len(first)), stop - first)
    slope = np.diff(y)[edge] / np.diff(x)[edge]
    heights = y[edge] + (sides[[strip, strip + 1]] - x[edge]) * slope  # (2, m): on the left and on the right side
    order = np.lexsort((heights.sum(axis=0), strip))  # strip by strip, from bottom to top
    strip, heights = strip[order], heights[:, order]
    lower, upper = heights[:, ::2], heights[:, 1::2]
    side, chord = np.unravel_index((upper - lower).argmax(), lower.shape)
    return float(sides[strip[2 * chord] + side]), float(lower[side, chord]), float(upper[side, chord])
