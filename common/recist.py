"""RECIST diameters of a lesion, the ellipse of its mask or of its diameters, and k-means clusters of all ellipses.

Points are (x, y), counted from 0 at the centre of the first pixel. For diameters a mask's border runs halfway between a
pixel inside and its neighbour outside, so that a row of n pixels is n px long and a disc of radius r about 2r px wide.
An ellipse is five numbers: centre x and y, width and height (full axes), in px, and the angle in degrees by
which the width's axis is turned clockwise on the screen from the x axis: OpenCV's convention.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from common.utils.errors import UserError

Array = TypeVar("Array", np.ndarray, Any)  # Any: a tensor, without importing torch
_LEAST_PART = 1e-3  # of a diameter's length; where two diameters only touch, a quarter shrinks to a line
_BEYOND = 0.25  # how far beyond a diameter's end the crossing may lie, as a fraction of its length
_PARALLEL = 1e-6  # sine of the angle between two diameters under which they count as parallel


class Ellipse(NamedTuple):
    """An ellipse in OpenCV's convention; lengths in px, angle in degrees."""

    cx: float
    cy: float
    width: float
    height: float
    angle: float


class Diameters(NamedTuple):
    """RECIST diameters of a lesion; an empty mask has lengths of 0 and no end points."""

    long: float  # between the two border points that lie furthest apart; the line may leave a concave lesion
    short: float  # the longest chord at a right angle to the long diameter; a chord stays inside the border
    ends: np.ndarray  # (4, 2) px: ends of the long diameter, then of the short one; (0, 2) for an empty mask


def mask_hull(mask: np.ndarray) -> np.ndarray:
    """Convex hull of the pixels above 0 of a (H, W) mask, as (n, 1, 2) int32 points (x, y); n is 0 for none."""
    inside = mask > 0
    rows = np.flatnonzero(inside.any(axis=1))
    if not rows.size:
        return np.empty((0, 1, 2), np.int32)
    # Only the first and last pixel of a row can be corners of the hull.
    first = inside[rows].argmax(axis=1)
    last = inside.shape[1] - 1 - inside[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack([first, rows], 1), np.stack([last, rows], 1)])
    return cv2.convexHull(points.astype(np.int32))


def fit_ellipse(mask: np.ndarray) -> Ellipse | None:
    """Fit an ellipse to the convex hull of a mask (FACTS.md section 3).

    Returns:
        The ellipse in px of the mask, or None where the hull has under five points, too few for a fit.
    """
    hull = mask_hull(mask)
    if len(hull) < 5:
        return None
    (cx, cy), (width, height), angle = cv2.fitEllipse(hull)
    return Ellipse(cx, cy, width, height, angle)


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
    edge = np.repeat(np.arange(len(first)), stop - first)
    strip = np.arange(len(edge)) - np.repeat((stop - first).cumsum() - stop, stop - first)
    slope = np.diff(y)[edge] / np.diff(x)[edge]
    heights = y[edge] + (sides[[strip, strip + 1]] - x[edge]) * slope  # (2, m): on the left and on the right side
    order = np.lexsort((heights.sum(axis=0), strip))  # strip by strip, from bottom to top
    strip, heights = strip[order], heights[:, order]
    lower, upper = heights[:, ::2], heights[:, 1::2]
    side, chord = np.unravel_index((upper - lower).argmax(), lower.shape)
    return float(sides[strip[2 * chord] + side]), float(lower[side, chord]), float(upper[side, chord])


def ellipse_from_diameters(ends: np.ndarray) -> Ellipse | None:
    """The ellipse that two RECIST diameters span (FACTS.md section 3, column DeepLesion).

    Args:
        ends: (4, 2) points (x, y): both ends of the long diameter, then both of the short one, in px.

    Returns:
        An ellipse centred where the lines through the diameters cross, as wide as the short one and as high as the
        long one, at the angle of the short one; None where a diameter has no length or the two are parallel.
    """
    long, short = ends[1] - ends[0], ends[3] - ends[2]
    long_length, short_length = float(np.hypot(*long)), float(np.hypot(*short))
    if not abs(_cross(long, short)) > _PARALLEL * long_length * short_length:
        return None
    cx, cy = ends[0] + _cross(ends[2] - ends[0], short) / _cross(long, short) * long
    angle = 90 - float(np.rad2deg(np.arctan2(short[0], short[1])))
    return Ellipse(float(cx), float(cy), short_length, long_length, angle)


def diameters_cross(ends: np.ndarray) -> bool:
    """Whether two non-parallel diameters cross, or would if each were extended by a quarter of its length at both ends.

    If not, the end points are probably in the wrong order. The 32 radiologists' marks at hand all cross, none closer to
    an end than a fifth of a diameter.

    Args:
        ends: (4, 2) points as `ellipse_from_diameters` takes them.
    """
    return all(-_BEYOND <= fraction <= 1 + _BEYOND for fraction in _crossing(ends)[4:])


def long_first(ends: np.ndarray) -> np.ndarray:
    """Reorder (4, 2) end points of two diameters so that the longer one comes first, as all other functions expect."""
    first, second = np.hypot(*(ends[1::2] - ends[::2]).T)
    return np.roll(ends, 2, axis=0) if first < second else ends


def mark_noise(seeds: Iterable[Sequence[int]]) -> np.ndarray:
    """Random displacements of N marks' end points, (N, 4, 2), of root-mean-square length 1; one seed per mark."""
    return np.stack([np.random.default_rng(seed).normal(0, np.sqrt(0.5), (4, 2)) for seed in seeds])


def move_ends(ends: Array, fraction: float, noise: Array) -> Array:
    """Move (N, 4, 2) end points at random, by a root-mean-square distance of ``fraction`` times the long diameter.

    Where a patch is an image of another shape, as HAM10000's 600x450, its px differ in width and height: on the patch
    the long diameter, and so the distance, is up to a fifth shorter or longer than in the image.

    ``noise`` comes from `mark_noise`; works on arrays and tensors, as `quarter_radius` does.
    """
    long = ((ends[:, 1] - ends[:, 0]) ** 2).sum(-1) ** 0.5
    return ends + fraction * long[:, None, None] * noise


def quarter_radius(ends: Array, x: Array, y: Array) -> Array:
    """Relative distance from the crossing of two RECIST diameters: 1 on the four quarter-ellipses through their ends.

    Each quarter joins an end of the long diameter to one of the short, whatever their angle; an affine map of the mark
    transforms the quarters with it. Only arithmetic operators are used, so arrays can be NumPy's or tensors.

    Args:
        ends: (..., 4, 2) points (x, y) as `ellipse_from_diameters` takes them, the diameters not parallel.
        x: (columns,) of a raster, in the same unit.
        y: (rows,) likewise.

    Returns:
        (..., rows, columns): 0 where the diameters cross, growing linearly along each ray from there.
    """
    first, long, short, cross, along, across = _crossing(ends[..., None, None, :, :])
    centre = first + along[..., None] * long
    dx, dy = x - centre[..., 0], y[:, None] - centre[..., 1]
    # Oblique coordinates: 1 is the whole length of a diameter.
    u, v = (dx * short[..., 1] - dy * short[..., 0]) / cross, (dy * long[..., 0] - dx * long[..., 1]) / cross
    return (_reach(u, along) ** 2 + _reach(v, across) ** 2) ** 0.5


def _crossing(ends: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """The first end, both diameters as vectors, their cross product, and where they cross as a fraction of each."""
    first, third = ends[..., 0, :], ends[..., 2, :]
    long, short = ends[..., 1, :] - first, ends[..., 3, :] - third
    cross = _cross(long, short)
    return first, long, short, cross, _cross(third - first, short) / cross, _cross(third - first, long) / cross


def _cross(first: Array, second: Array) -> Array:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _reach(position: Array, before: Array) -> Array:
    """Scale a position along a diameter, 0 at the crossing, to 1 at either end; ``before`` is the fraction before 0."""
    return _larger(position / _larger(1 - before, _LEAST_PART), -position / _larger(before, _LEAST_PART))


def _larger(first: Array, second: Any) -> Array:
    return (first + second + abs(first - second)) / 2


def shape_clusters(recist: np.ndarray, clusters: int, seed: int = 0, fit_on: np.ndarray | None = None) -> np.ndarray:
    """k-means labels of the ellipses, raw and unscaled (FACTS.md section 1, A1+L).

    Args:
        recist: (N, 5) ellipses.
        clusters: K.
        seed: k-means's ``random_state``; published: 0.
        fit_on: (N,) booleans, the lesions the centres are fitted on; None, as published, means all.

    Returns:
        (N,) int64 labels in 0..K-1.

    Raises:
        UserError: there are no lesions to fit on, or fewer than clusters.
    """
    from sklearn.cluster import KMeans  # slow to import, and only this function computes with it

    points = np.asarray(recist, np.float64)
    fit_points = points if fit_on is None else points[fit_on]
    if not len(fit_points):
        raise UserError(
            "no lesion is in the training split, on which the corrected protocol fits shape clusters; add some, or "
            "prepare under --protocol released to score lesions only"
        )
    if len(fit_points) < clusters:
        raise UserError(
            f"{clusters} shape clusters can't be fitted on {len(fit_points)} lesions; "
            f"pass --clusters {max(len(fit_points) // 10, 1)}, say, or add lesions"
        )
    means = KMeans(n_clusters=clusters, n_init=10, random_state=seed).fit(fit_points)
    return means.predict(points).astype(np.int64) if fit_on is not None else means.labels_.astype(np.int64)
