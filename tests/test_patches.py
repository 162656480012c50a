"""Resizing and mirror padding, against OpenCV's own border and the published canvas."""

import argparse

import cv2
import numpy as np
import pytest

from common.patches import (
    Crop,
    canvas_index,
    check_canvas,
    cut_patch,
    parse_canvas,
    paste_patch,
    patch_offset,
    resize_image,
    resize_mask,
    resize_points,
    shrink_mask,
)


@pytest.mark.parametrize("canvas", [(128, 128), (144, 128), (256, 256), (384, 480), (4096, 144)])
def test_a_canvas_is_opencvs_reflect_101(canvas):
    patch = np.arange(120 * 120, dtype=np.float32).reshape(120, 120)
    top, left = patch_offset(canvas)
    bottom, right = canvas[0] - 120 - top, canvas[1] - 120 - left
    padded = cv2.copyMakeBorder(patch, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(patch[np.ix_(*canvas_index(canvas))], padded)


def test_the_published_canvas_puts_the_patch_at_132_180():
    assert patch_offset((384, 480)) == (132, 180)
    rows, columns = canvas_index((384, 480))
    assert (len(rows), len(columns)) == (384, 480)
    assert rows[132:252].tolist() == columns[180:300].tolist() == list(range(120))


@pytest.mark.parametrize("canvas", [(128, 128), [4096, 144]])
def test_a_canvas_is_accepted(canvas):
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
def test_what_is_no_canvas_is_refused_briefly(canvas):
    with pytest.raises(ValueError, match="is not a canvas: rows and columns must be multiples of 16") as error:
        check_canvas(canvas)
    assert len(str(error.value)) < 200


def test_canvases_on_the_command_line():
    assert parse_canvas("384x480") == (384, 480)
    with pytest.raises(argparse.ArgumentTypeError, match="is not HEIGHTxWIDTH in px"):
        parse_canvas("384")
    with pytest.raises(argparse.ArgumentTypeError, match="100x128 is not a canvas"):
        parse_canvas("100x128")


def test_points_go_where_the_images_intensities_go():
    rows, columns = np.mgrid[:90, :150].astype(np.float32)
    (x, y), shape = resize_points(np.array([[73.25, 30.5]]), (90, 150, 3))[0], rows.shape
    assert (x, y) == pytest.approx((73.75 * 0.8 - 0.5, 31 * 4 / 3 - 0.5))
    for ramp, place, value in ((columns, x, 73.25), (rows.T, y, 30.5)):  # linear interpolation of a ramp is exact
        line = resize_image(ramp)[0]
        assert np.interp(place, np.arange(120), line) == pytest.approx(value, abs=0.01)
    assert resize_points(np.array([[-0.5, -0.5], [149.5, 89.5]]), shape).tolist() == [[-0.5, -0.5], [119.5, 119.5]]


def test_shrink_mask_keeps_only_pixels_that_are_wholly_inside():
    mask = np.zeros((240, 240), np.uint8)
    mask[0:3, 0:4] = 1  # 2x2 source pixels make one: the second row of patch pixels is half covered
    assert shrink_mask(mask)[:3, :3].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_resize_mask_takes_the_nearest_pixel_and_any_value_above_0():
    mask = np.zeros((240, 240), np.uint8)
    mask[2, 2] = 255
    assert np.argwhere(resize_mask(mask, centred=False)).tolist() == [[1, 1]]


@pytest.mark.parametrize("shape", [(450, 600), (1200, 1600), (57, 57), (120, 120)])
def test_a_centred_mask_lies_where_the_image_does(shape):
    """A disc about the centre of an image; as published it lies to the lower right of that of the patch, at 59.5."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    mask = np.hypot((y + 0.5) / shape[0] - 0.5, (x + 0.5) / shape[1] - 0.5) < 0.3
    published, centred = (np.argwhere(resize_mask(mask, centred=flag)).mean(axis=0) for flag in (False, True))
    np.testing.assert_allclose(centred, 59.5, atol=0.05)
    assert ((published > 59.8) == (shape != (120, 120))).all()


@pytest.mark.parametrize("side", [60, 119, 150, 276, 299])
def test_a_pasted_patch_lies_where_it_was_cut(side):
    """Also where the image's size times the scale is no whole number."""
    image = np.zeros((512, 512), np.float32)
    y, x = np.mgrid[:512, :512]
    image[np.hypot(x - 400, y - 380) < side / 3] = 1
    scale = min(1, 112 / side)
    crop = Crop(scale, round(400 * scale) - 60, round(380 * scale) - 60)
    pasted = paste_patch(cut_patch(image, crop), crop, image.shape) > 0.5
    np.testing.assert_allclose(np.argwhere(pasted).mean(axis=0), (380, 400), atol=0.15)
    assert 2 * (pasted & (image > 0)).sum() / (pasted.sum() + image.sum()) > 0.98
