"""Measurements of shapes whose answer is known by hand, and the table's rows."""

import numpy as np
import pytest

from common.inference.measurements import count_parts, diameters, measure_lesion, merge_slices
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
        # Nor does one whose border is longer than the outer one.
        (mask_of("#######", "#.#.#.#", "#.#.#.#", "#.#.#.#", "#.#.#.#", "#.....#", "#######"), 85**0.5, 85**0.5),
        # A cross: the long diameter along its bar, the short one along its beam.
        (mask_of("...#...", "...#...", "#######", "...#...", "...#..."), 7, 5),
        # A hook: through its stem 2.5 px, at its tip 2; the 4 px with the gap in between don't count.
        (mask_of("###########", ".#.........", "..####.....", "....#......"), 11, 2.5),
    ],
)
def test_diameters_by_hand(mask, long, short):
    measured = diameters(mask)
    assert (measured.long, measured.short) == pytest.approx((long, short))


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_an_ellipse_has_its_axes_as_diameters(angle):
    measured = diameters(ellipse_mask(Ellipse(100, 90, 120, 60, angle), (200, 220)))
    assert measured.long == pytest.approx(120, abs=1)
    assert measured.short == pytest.approx(60, abs=1)
    assert measured.ends[:2].mean(axis=0) == pytest.approx([100, 90], abs=0.6)


def test_the_ends_are_where_the_diameters_are():
    mask = np.zeros((50, 60), np.uint8)
    mask[20:24, 10:41] = 1
    measured = diameters(mask)
    first, last, start, end = measured.ends
    assert np.hypot(*(last - first)) == pytest.approx(measured.long)
    assert np.hypot(*(end - start)) == pytest.approx(measured.short)
    assert (last - first) @ (end - start) == pytest.approx(0, abs=1e-9)
    assert np.sort(measured.ends[:2, 0]).tolist() == [
        9.5,
        40.5,
    ]  # the long one, from the left edge to the right one
    assert ((measured.ends > [9.499, 19.499]) & (measured.ends < [40.501, 23.501])).all()


def test_mm_follow_the_spacing_of_each_axis():
    mask = np.ones((10, 8), np.uint8)
    # 10 rows of 0.5 mm, 8 columns of 2 mm: the long diameter turns to the columns.
    measured = diameters(mask, (0.5, 2.0))
    assert measured.long == pytest.approx(np.hypot(16, 4.5))
    assert abs(measured.ends[1, 0] - measured.ends[0, 0]) == 8
    doubled = diameters(mask, (2.0, 2.0))
    assert doubled.long == pytest.approx(2 * diameters(mask).long)
    assert doubled.short == pytest.approx(2 * diameters(mask).short)


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
        measured = diameters(mask)
        along = (measured.ends[1] - measured.ends[0]) / measured.long
        across = np.array([-along[1], along[0]])
        steps = np.arange(-60, 60, 0.05)
        best = 0.0
        for place in np.arange(0, measured.long, 0.25):
            x, y = (measured.ends[0] + place * along + steps[:, None] * across).T
            column, row = np.rint(x).astype(int), np.rint(y).astype(int)
            on_mask = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < 60)
            inside = np.zeros(len(steps), bool)
            inside[on_mask] = mask[row[on_mask], column[on_mask]] > 0
            edges = np.flatnonzero(np.diff(inside.astype(int)))
            best = max([best, *((edges[1::2] - edges[::2]) * 0.05)])
        assert measured.short == pytest.approx(best, abs=1.1)  # px squares reach up to half a px further at each end


def test_parts_are_8_connected():
    assert count_parts(mask_of("#.#", ".#.", "...")) == 1
    assert count_parts(mask_of("#.#", "...", "..#")) == 3
    assert count_parts(np.zeros((4, 4), np.uint8)) == 0


def bar(rows, columns):
    mask = np.zeros((40, 50), np.uint8)
    mask[5 : 5 + rows, 6 : 6 + columns] = 1
    return mask


def test_a_lesion_in_px_mm_and_ml():
    row, ends = measure_lesion(bar(1, 10), (0.5, 2.0, 5.0))
    assert (row["area_px"], row["long_px"], row["short_px"], row["parts"]) == (10, 10, 1, 1)
    assert (row["area_mm2"], row["long_mm"], row["short_mm"]) == pytest.approx((10, 20, 0.5))
    assert row["volume_ml"] == pytest.approx(0.05)  # 50 mm3
    assert np.sort(ends[:2, 0]).tolist() == [5.5, 15.5]


def test_a_volume_needs_the_distance_of_the_slices():
    row, _ = measure_lesion(bar(1, 10), (0.5, 2.0))
    assert row["area_mm2"] == pytest.approx(10)
    assert "volume_ml" not in row


def test_without_spacing_there_are_no_mm_and_an_empty_mask_measures_0():
    row, ends = measure_lesion(bar(0, 0))
    assert not {"area_mm2", "long_mm", "volume_ml"} & row.keys()
    assert (row["area_px"], row["long_px"], row["short_px"], row["parts"]) == (0, 0, 0, 0)
    assert ends.shape == (0, 2)


def test_the_slices_of_a_lesion_become_one_row():
    masks = [(1, "a", bar(1, 10)), (1, "b", bar(3, 1)), (2, "a", bar(1, 20)), (3, "a", bar(1, 5))]
    rows = [
        {"input": "in.nii.gz", "lesion": lesion, "slice": index, "cut": int(index > 1)}
        | measure_lesion(mask, (1.0, 1.0, 2.0))[0]
        for index, lesion, mask in masks
    ]
    a, b = merge_slices(rows)
    assert (a["lesion"], a["slice"], a["slices"], a["area_px"], a["long_mm"]) == ("a", 2, 3, 20, 20)
    assert a["volume_ml"] == pytest.approx(0.07)  # (10 + 20 + 5) px of 2 mm3
    assert (b["lesion"], b["slice"], b["slices"], b["area_mm2"]) == ("b", 1, 1, 3)
    assert "volume_ml" not in b  # one slice says nothing of the volume
    assert (a["cut"], b["cut"]) == (2, 0)  # slices on which the mask is cut off


def test_images_of_the_same_lesion_name_stay_apart():
    rows = [{"input": name, "lesion": "a", "slice": None, "long_px": 1.23456, "cut": 0} for name in ("x.png", "y.png")]
    assert merge_slices(rows) == [row | {"long_px": 1.235} for row in rows]
