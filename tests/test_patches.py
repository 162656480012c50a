"""Resizing and mirror padding, against OpenCV's own border and the published canvas."""

import cv2
import numpy as np
import pytest

from common.patches import canvas_index, check_canvas, mirror_index, patch_offset, resize_mask, shrink_mask


@pytest.mark.parametrize(
    ("length", "before", "after"), [(3, 2, 3), (120, 132, 132), (120, 180, 180), (1, 2, 2), (5, 0, 0)]
)
def test_mirror_index_is_opencvs_reflect_101(length, before, after):
    line = np.arange(length, dtype=np.float32)[None]
    padded = cv2.copyMakeBorder(line, 0, 0, before, after, cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(line[0, mirror_index(length, before, after)], padded[0])


def test_the_published_canvas_puts_the_patch_at_132_180():
    assert patch_offset((384, 480)) == (132, 180)
    rows, columns = canvas_index((384, 480))
    assert (len(rows), len(columns)) == (384, 480)
    assert rows[132:252].tolist() == columns[180:300].tolist() == list(range(120))


@pytest.mark.parametrize("canvas", [(128, 128), [4096, 144]])
def test_canvases_are_told_from_what_is_none(canvas):
    assert check_canvas(canvas) == tuple(canvas)


@pytest.mark.parametrize(
    "canvas",
    [
        [112, 128],
        [128, 130],
        [-128, 128],
        [10**9, 10**9],
        [128],
        [128, 128, 128],
        [128.0, 128],
        "ab",
        None,
        {},
        [[], 128],
    ],
)
def test_what_is_no_canvas_is_told_briefly(canvas):
    with pytest.raises(ValueError, match="is not a canvas: rows and columns must be multiples of 16") as told:
        check_canvas(canvas)
    assert len(str(told.value)) < 200


def test_shrink_mask_keeps_only_pixels_that_are_wholly_inside():
    mask = np.zeros((240, 240), np.uint8)
    mask[0:3, 0:4] = 1  # 2x2 source pixels make one: the second row of patch pixels is half covered
    assert shrink_mask(mask)[:3, :3].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_resize_mask_takes_the_nearest_pixel_and_any_value_above_0():
    mask = np.zeros((240, 240), np.uint8)
    mask[2, 2] = 255
    assert np.argwhere(resize_mask(mask)).tolist() == [[1, 1]]
