"""The overlay shows outline and diameters where they are."""

from dataclasses import replace

import numpy as np
import pytest

from common.inference.lesion_image import LesionPatch, draw_overlay
from common.recist import diameters
from common.utils.drawing import BLUE, ORANGE


def test_outline_and_diameters_are_drawn_where_they_are():
    mask = np.zeros((40, 50), np.uint8)
    mask[10:31, 5:46] = 1
    ends = diameters(mask).ends
    overlay = draw_overlay(np.full((40, 50, 3), 90, np.uint8), mask, [ends])
    assert overlay.shape == (80, 100, 3)
    assert tuple(overlay[40, 10]) == BLUE  # the middle of the left edge
    middle = np.rint(ends[:2].mean(axis=0) * 2).astype(int)
    around = overlay[middle[1] - 2 : middle[1] + 3, middle[0] - 2 : middle[0] + 3].reshape(-1, 3).astype(int)
    # The line is smoothed: its strongest pixel is nearly orange.
    assert np.abs(around - ORANGE).sum(axis=1).min() < 60
    assert overlay[4, 4].tolist() == [90, 90, 90]


def parts(*columns: int) -> np.ndarray:
    """Squares of 3 px from these columns on."""
    mask = np.zeros((9, 30), np.uint8)
    for column in columns:
        mask[3:6, column : column + 3] = 1
    return mask


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ((10, 20), (10, 16)),  # what touches the box, of one lesion in two parts
        ((8, 9), (10,)),  # nothing does: the nearest
        ((0, 30), (2, 10, 16, 25)),
    ],
)
def test_parts_beside_the_prompt_are_other_lesions(place, own):
    where = np.zeros((9, 30), np.uint8)
    where[4, slice(*place)] = 1
    patch = LesionPatch("a", np.zeros((120, 120, 3)), lambda mask: mask, place=lambda: where)
    np.testing.assert_array_equal(patch.own_parts(parts(2, 10, 16, 25)), parts(*own))
    np.testing.assert_array_equal(patch.own_parts(parts()), parts())
    np.testing.assert_array_equal(replace(patch, place=None).own_parts(parts(2, 25)), parts(2, 25))


def test_a_large_image_is_drawn_at_screen_size():
    mask = np.zeros((1000, 4096), np.uint8)
    mask[400:600, 1000:2000] = 1
    bgr = np.zeros((1000, 4096, 3), np.uint8)
    overlay = draw_overlay(bgr[..., ::-1], mask, [diameters(mask).ends])
    assert overlay.shape == (500, 2048, 3)
    assert tuple(overlay[250, 500]) == BLUE
