"""What is measured and drawn, by hand."""

import numpy as np
import pytest

from common.data.images import BLUE, ORANGE
from common.inference.frames import Frame, by_lesion, draw, measure_lesion


def frame(**given):
    return Frame("in.nii.gz", "in_3", "in_mask.nii.gz", np.zeros((40, 50, 3), np.uint8), [], **given)


def bar(rows, columns):
    mask = np.zeros((40, 50), np.uint8)
    mask[5 : 5 + rows, 6 : 6 + columns] = 1
    return mask


def test_a_row_in_px_mm_and_ml():
    row, ends = measure_lesion(frame(slice=3, spacing=(0.5, 2.0), thickness=5.0), "a", bar(1, 10))
    assert (row["input"], row["lesion"], row["slice"], row["mask"]) == ("in.nii.gz", "a", 3, "in_mask.nii.gz")
    assert (row["area_px"], row["long_px"], row["short_px"], row["parts"]) == (10, 10, 1, 1)
    assert (row["area_mm2"], row["long_mm"], row["short_mm"]) == pytest.approx((10, 20, 0.5))
    assert row["volume_ml"] == pytest.approx(0.05)  # 50 mm3
    assert np.sort(ends[:2, 0]).tolist() == [5.5, 15.5]


def test_without_spacing_there_are_no_mm_and_an_empty_mask_measures_0():
    row, ends = measure_lesion(frame(), "a", bar(0, 0))
    assert not {"area_mm2", "long_mm", "volume_ml"} & row.keys()
    assert (row["area_px"], row["long_px"], row["short_px"], row["parts"]) == (0, 0, 0, 0)
    assert ends.shape == (0, 2)


def test_the_slices_of_a_lesion_become_one_row():
    given = {"spacing": (1.0, 1.0), "thickness": 2.0}
    masks = [(1, "a", bar(1, 10)), (1, "b", bar(3, 1)), (2, "a", bar(1, 20)), (3, "a", bar(1, 5))]
    a, b = by_lesion(measure_lesion(frame(slice=index, **given), name, mask)[0] for index, name, mask in masks)
    assert (a["lesion"], a["slice"], a["slices"], a["area_px"], a["long_mm"]) == ("a", 2, 3, 20, 20)
    assert a["volume_ml"] == pytest.approx(0.07)  # (10 + 20 + 5) px of 2 mm3
    assert (b["lesion"], b["slice"], b["slices"], b["volume_ml"]) == ("b", 1, 1, 0.006)


def test_images_of_the_same_lesion_name_stay_apart():
    rows = [{"input": name, "lesion": "a", "slice": None, "long_px": 1.23456} for name in ("x.png", "y.png")]
    assert by_lesion(rows) == [row | {"long_px": 1.235} for row in rows]


def test_outline_and_diameters_are_drawn_where_they_are():
    mask = np.zeros((40, 50), np.uint8)
    mask[10:31, 5:46] = 1
    _, ends = measure_lesion(frame(), "a", mask)
    drawn = draw(np.full((40, 50, 3), 90, np.uint8), mask, [ends])
    assert drawn.shape == (80, 100, 3)
    assert tuple(drawn[40, 10]) == BLUE  # the middle of the left edge
    middle = np.rint(ends[:2].mean(axis=0) * 2).astype(int)
    near = drawn[middle[1] - 2 : middle[1] + 3, middle[0] - 2 : middle[0] + 3].reshape(-1, 3).astype(int)
    # The line is smoothed: its strongest pixel is nearly orange.
    assert np.abs(near - ORANGE).sum(axis=1).min() < 60
    assert drawn[4, 4].tolist() == [90, 90, 90]


def test_a_large_image_is_drawn_at_screen_size():
    mask = np.zeros((1000, 4096), np.uint8)
    mask[400:600, 1000:2000] = 1
    _, ends = measure_lesion(frame(), "a", mask)
    drawn = draw(np.zeros((1000, 4096, 3), np.uint8)[..., ::-1], mask, [ends])
    assert drawn.shape == (500, 2048, 3)
    assert tuple(drawn[250, 500]) == BLUE
