"""Ellipse and GrabCut masks, by hand. The published ones are in test_HAM_data.py."""

import numpy as np
import pytest

from common.metrics import dice
from common.recist import Ellipse, quarter_radius
from common.weak_masks import QUARTERS_SCALE, ellipse_fits, ellipse_mask, grabcut_mask, quarters_mask


def test_a_small_ellipse_by_hand():
    # Half axes 2 and 1 about (3, 2): pixel centres with ((x - 3) / 2)^2 + (y - 2)^2 <= 1.
    mask = ellipse_mask(Ellipse(3, 2, 4, 2, 0), (5, 7))
    assert mask.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


def test_an_ellipse_fits_from_an_iou_of_two_fifths():
    ellipse, outline = np.zeros((2, 10), np.uint8), np.zeros((2, 10), np.uint8)
    ellipse[0, :7] = outline[0, 3:10] = 1  # 4 of 10
    assert ellipse_fits(ellipse, outline)
    outline[1, 0] = 1
    assert not ellipse_fits(ellipse, outline)


def test_a_quarter_turn_swaps_the_axes():
    lying, standing = (
        ellipse_mask(Ellipse(20, 20, 20, 8, 90), (41, 41)),
        ellipse_mask(Ellipse(20, 20, 8, 20, 0), (41, 41)),
    )
    assert np.count_nonzero(lying != standing) <= 4  # pixels exactly on the outline, by rounding


def test_the_angle_turns_clockwise_on_the_screen():
    mask = ellipse_mask(Ellipse(20, 20, 30, 6, 45), (41, 41))
    assert mask[28, 28] == 1  # right and down
    assert mask[12, 28] == 0


def test_growing_adds_area_and_a_margin_removes_it():
    ellipse = Ellipse(60.3, 59.6, 40, 25, 30)
    plain, grown, covered = (
        int(ellipse_mask(ellipse, (120, 120), **options).sum()) for options in ({}, {"grow": 2}, {"margin": 0.5})
    )
    assert plain == pytest.approx(np.pi * 20 * 12.5, rel=0.02)
    assert grown == pytest.approx(np.pi * 22 * 14.5, rel=0.02)
    assert covered < plain


@pytest.mark.parametrize("ellipse", [Ellipse(-50, 5, 10, 10, 0), Ellipse(5, 5, 0, 10, 0), Ellipse(5, 5, 3, -1, 0)])
def test_outside_the_raster_or_without_extent_nothing_is_filled(ellipse):
    assert not ellipse_mask(ellipse, (20, 20)).any()


DISC = ellipse_mask(Ellipse(60, 60, 40, 40, 0), (120, 120))


def _spot(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark disc of radius 20 in a wider ellipse mask."""
    image = rng.normal(200, 5, (120, 120, 3))
    image[DISC > 0] = rng.normal(60, 5, (DISC.sum(), 3))
    return np.clip(image, 0, 255).astype(np.uint8), ellipse_mask(Ellipse(60, 60, 70, 70, 0), (120, 120))


def test_grabcut_is_the_same_whatever_came_before():
    rng = np.random.default_rng(1)
    image, ellipse = _spot(rng)
    first = grabcut_mask(image, ellipse)
    grabcut_mask(*_spot(rng))
    np.testing.assert_array_equal(grabcut_mask(image, ellipse), first)
    assert not (first & (1 - ellipse)).any()


def test_too_small_a_result_or_box_falls_back_to_the_ellipse():
    image, ellipse = _spot(np.random.default_rng(2))
    np.testing.assert_array_equal(grabcut_mask(image, ellipse, least_pixels=10**6), ellipse)
    dot = ellipse_mask(Ellipse(10, 10, 1, 1, 0), (120, 120))
    np.testing.assert_array_equal(grabcut_mask(image, dot), dot)
    nothing = np.zeros((120, 120), np.uint8)
    np.testing.assert_array_equal(grabcut_mask(image, nothing), nothing)


def test_an_ellipse_that_fills_the_image_works():
    image, _ = _spot(np.random.default_rng(3))
    assert dice(grabcut_mask(image, np.ones((120, 120), np.uint8)), DISC) > 0.9


def test_small_quarters_by_hand():
    # Diameters from (1, 2) to (6, 2) and from (3, 0) to (3, 3) cross at (3, 2): reaches 2 left, 3 right, 2 up, 1 down.
    ends = np.array([[1, 2], [6, 2], [3, 0], [3, 3]], float)
    assert quarters_mask(ends, (5, 8), scale=1).tolist() == [
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_quarters_between_pixels_are_the_nearest_one():
    ends = np.array([[3.2, 2.4], [3.6, 2.4], [3.4, 2.3], [3.4, 2.5]])
    assert np.argwhere(quarters_mask(ends, (5, 8))).tolist() == [[2, 3]]


@pytest.mark.parametrize("scale", [0.1, 0.96, 1.5])
def test_quarters_are_computed_wherever_they_reach(scale):
    rng = np.random.default_rng(0)
    for _ in range(300):
        middle, long, short = rng.uniform(-20, 80, 2), rng.normal(size=2) * rng.uniform(1, 40), rng.normal(size=2) * 15
        parts = rng.uniform(0.02, 0.98, 2)  # crossing anywhere, at any angle
        ends = np.array([-parts[0] * long, (1 - parts[0]) * long, -parts[1] * short, (1 - parts[1]) * short]) + middle
        everywhere = quarter_radius(ends, np.arange(70), np.arange(50)) <= scale
        mask = quarters_mask(ends, (50, 70), scale)
        assert everywhere.any() <= (mask == everywhere).all()
        assert mask.sum() == max(everywhere.sum(), 1)


def test_the_scale_of_quarters_is_that_of_their_radii():
    ends = np.array([[10, 50], [90, 60], [40, 20], [60, 80]], float)
    whole, default = (quarters_mask(ends, (120, 120), scale).sum() for scale in (1, QUARTERS_SCALE))
    assert default / whole == pytest.approx(0.96**2, rel=0.01)
