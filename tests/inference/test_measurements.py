"""Diameters of shapes whose answer is known by hand."""

import numpy as np
import pytest

from common.inference.measurements import count_parts, diameters
from common.recist import Ellipse
from common.weak_masks import ellipse_mask


def mask_of(*rows):
    return np.array([[character == "#" for character in row] for row in rows], np.uint8)


@pytest.mark.parametrize(
    ("mask", "long", "short"),
    [
        (mask_of("..", ".."), 0, 0),
        (mask_of("#"), 1, 1),
        (mask_of("#####"), 5, 1),
        (mask_of("#", "#", "#"), 3, 1),
        # From the left edge of one corner pixel to the right edge of the opposite one: 3 px by 2; across it, 2 by 3.
        (mask_of("###", "###", "###"), 13**0.5, 13**0.5),
        # Diagonal neighbours are one part: from (-0.5, 0) to (1.5, 1), and across it from (0, 0.5) to (1/3, -1/6).
        (mask_of("#.", ".#"), 5**0.5, 5**0.5 / 3),
        # The larger part is measured, the other one is not.
        (mask_of("###....", "......#"), 3, 1),
        # A hole does not cut the short diameter.
        (mask_of("###", "#.#", "###"), 13**0.5, 13**0.5),
        # A cross: the long diameter along its bar, the short one along its beam.
        (mask_of("...#...", "...#...", "#######", "...#...", "...#..."), 7, 5),
        # A hook: through its stem 2.5 px, at its tip 2; the 4 px with the gap in between don't count.
        (mask_of("###########", ".#.........", "..####.....", "....#......"), 11, 2.5),
    ],
)
def test_diameters_by_hand(mask, long, short):
    found = diameters(mask)
    assert (found.long, found.short) == pytest.approx((long, short))


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_an_ellipse_has_its_axes_as_diameters(angle):
    found = diameters(ellipse_mask(Ellipse(100, 90, 120, 60, angle), (200, 220)))
    assert found.long == pytest.approx(120, abs=1)
    assert found.short == pytest.approx(60, abs=1)
    assert found.ends[:2].mean(axis=0) == pytest.approx([100, 90], abs=0.6)


def test_the_ends_are_where_the_diameters_are():
    mask = np.zeros((50, 60), np.uint8)
    mask[20:24, 10:41] = 1
    found = diameters(mask)
    first, last, start, end = found.ends
    assert np.hypot(*(last - first)) == pytest.approx(found.long)
    assert np.hypot(*(end - start)) == pytest.approx(found.short)
    assert (last - first) @ (end - start) == pytest.approx(0, abs=1e-9)
    assert np.sort(found.ends[:2, 0]).tolist() == [9.5, 40.5]  # the long one runs from the left edge to the right one
    assert ((found.ends > [9.499, 19.499]) & (found.ends < [40.501, 23.501])).all()


def test_mm_follow_the_spacing_of_each_axis():
    mask = np.ones((10, 8), np.uint8)
    # 10 rows of 0.5 mm, 8 columns of 2 mm: the long diameter turns to the columns.
    found = diameters(mask, (0.5, 2.0))
    assert found.long == pytest.approx(np.hypot(16, 4.5))
    assert abs(found.ends[1, 0] - found.ends[0, 0]) == 8
    twice = diameters(mask, (2.0, 2.0))
    assert twice.long == pytest.approx(2 * diameters(mask).long)
    assert twice.short == pytest.approx(2 * diameters(mask).short)


def test_the_short_diameter_is_the_longest_of_all_chords():
    """Against chords drawn one by one over random blobs, at a twentieth of a pixel."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        centres = rng.uniform(15, 45, (4, 2))
        rows, columns = np.mgrid[:60, :60]
        mask = np.zeros((60, 60), np.uint8)
        for y, x in centres:
            mask |= ((rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(6, 12) ** 2).astype(np.uint8)
        if count_parts(mask) > 1:
            continue
        found = diameters(mask)
        along = (found.ends[1] - found.ends[0]) / found.long
        across = np.array([-along[1], along[0]])
        steps = np.arange(-60, 60, 0.05)
        best = 0.0
        for place in np.arange(0, found.long, 0.25):
            x, y = (found.ends[0] + place * along + steps[:, None] * across).T
            column, row = np.rint(x).astype(int), np.rint(y).astype(int)
            seen = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < 60)
            inside = np.zeros(len(steps), bool)
            inside[seen] = mask[row[seen], column[seen]] > 0
            edges = np.flatnonzero(np.diff(inside.astype(int)))
            best = max([best, *((edges[1::2] - edges[::2]) * 0.05)])
        assert found.short == pytest.approx(best, abs=1.1)  # px squares reach up to half a px further at each end


def test_parts_are_8_connected():
    assert count_parts(mask_of("#.#", ".#.", "...")) == 1
    assert count_parts(mask_of("#.#", "...", "..#")) == 3
    assert count_parts(np.zeros((4, 4), np.uint8)) == 0
