"""Measurements of shapes whose answer is known by hand, and the table's rows."""

import numpy as np
import pytest

from common.inference.measurements import measure_lesion, merge_slices


def mask_of(*rows):
    return np.array([[character == "#" for character in row] for row in rows], np.uint8)


def test_parts_are_8_connected():
    assert measure_lesion(mask_of("#.#", ".#.", "..."))[0]["parts"] == 1
    assert measure_lesion(mask_of("#.#", "...", "..#"))[0]["parts"] == 3
    assert measure_lesion(np.zeros((4, 4), np.uint8))[0]["parts"] == 0


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


def test_slices_with_others_between_them_have_no_volume():
    rows = [
        {"input": "in.nii.gz", "lesion": "a", "slice": index, "cut": 0} | measure_lesion(bar(1, 9), (1.0, 1.0, 2.0))[0]
        for index in (10, 14)
    ]
    (row,) = merge_slices(rows)
    assert row["slices"] == 2 and "volume_ml" not in row


def test_images_of_the_same_lesion_name_stay_apart():
    rows = [{"input": name, "lesion": "a", "slice": None, "long_px": 1.23456, "cut": 0} for name in ("x.png", "y.png")]
    assert merge_slices(rows) == [row | {"long_px": 1.235} for row in rows]
