"""What is put on a page lies where it should, and nothing leaves its tile."""

import cv2
import numpy as np
import pytest

from common.data.images import BLUE, GREEN, ORANGE
from common.recist import Ellipse
from common.report.figures.page import DPI, Page, Rect

TILE = Rect.square(1, 1, 2)


def pixels(page: Page, tmp_path) -> np.ndarray:
    page.save(tmp_path / "page.png")
    return cv2.imread(str(tmp_path / "page.png"))[..., ::-1].astype(int)


def is_colour(picture: np.ndarray, colour) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=-1) < 40


def at(picture: np.ndarray, x: float, y: float) -> list[int]:
    return picture[round(y * DPI), round(x * DPI)].tolist()


def test_a_tile_by_hand():
    tile = Rect(1, 2, 3, 4)
    assert (tile.right, tile.bottom, tile.middle) == (4, 6, (2.5, 4))
    assert Rect.square(0, 0, 1.2).point(59.5, 0) == pytest.approx((0.6, 0.005))


def test_an_image_fills_its_tile_the_right_way_up(tmp_path):
    page, image = Page(4, width=4), np.zeros((120, 120, 3), np.uint8)
    image[:60] = GREEN
    image[60:] = BLUE
    page.image(TILE, image)
    picture = pixels(page, tmp_path)
    assert picture.shape == (4 * DPI, 4 * DPI, 3)
    assert at(picture, 1.05, 1.05) == list(GREEN)
    assert at(picture, 2.95, 2.95) == list(BLUE)
    assert at(picture, 0.95, 2) == at(picture, 2, 3.05) == [255, 255, 255]


def test_an_ellipse_lies_as_opencv_draws_it(tmp_path):
    page, ellipse = Page(4, width=4), Ellipse(50, 65, 80, 30, 30)
    page.ellipse(TILE, ellipse, ORANGE)
    drawn = is_colour(pixels(page, tmp_path), ORANGE)[DPI : 3 * DPI, DPI : 3 * DPI]
    expected = np.zeros((120, 120), np.uint8)
    cv2.ellipse(expected, ((ellipse.cx, ellipse.cy), (ellipse.width, ellipse.height), ellipse.angle), 1)
    rows, columns = np.nonzero(drawn)
    near = cv2.dilate(expected, np.ones((3, 3), np.uint8))
    assert near[rows * 120 // (2 * DPI), columns * 120 // (2 * DPI)].all()
    assert len(np.unique(columns * 120 // (2 * DPI))) > 60  # of 71 px from end to end


def test_an_ellipse_ends_at_its_tile(tmp_path):
    page = Page(4, width=4)
    page.ellipse(TILE, Ellipse(60, 60, 200, 60, 0), ORANGE)
    rows, columns = np.nonzero(is_colour(pixels(page, tmp_path), ORANGE))
    assert columns.min() >= DPI - 1 and columns.max() <= 3 * DPI
    assert rows.min() == pytest.approx(1.508 * DPI, abs=3) and rows.max() == pytest.approx(2.508 * DPI, abs=3)


def test_an_outline_is_closed_at_the_edge_and_absent_for_an_empty_mask(tmp_path):
    page, mask = Page(4, width=4), np.zeros((120, 120), np.uint8)
    page.outline(TILE, mask, BLUE)
    assert not is_colour(pixels(page, tmp_path), BLUE).any()
    mask[:60] = 1
    page.outline(TILE, mask, BLUE, width=4)
    blue = is_colour(pixels(page, tmp_path), BLUE)
    for x, y in ((2, 2), (2, 1.01), (1.01, 1.5), (2.99, 1.5)):
        assert blue[round(y * DPI), round(x * DPI)]
    assert not blue[round(1.5 * DPI), 2 * DPI] and not blue[round(2.5 * DPI), DPI + 2]


def test_an_arrow_follows_its_points_and_panels_lie_behind_images(tmp_path):
    page = Page(4, width=4)
    page.panel(Rect(0.5, 0.5, 3, 3))
    page.image(TILE, np.full((120, 120, 3), 255, np.uint8))
    page.arrow((1.2, 1.2), (1.2, 2.5), (2.5, 2.5))
    picture = pixels(page, tmp_path)
    assert max(at(picture, 1.2, 1.8)) < 90 and max(at(picture, 1.8, 2.5)) < 90
    assert at(picture, 2.8, 1.2) == [255, 255, 255] != at(picture, 0.7, 2)


def test_the_same_page_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        page = Page(1, width=2)
        page.text(1, 0.5, "words")
        page.save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"matplotlib" not in (tmp_path / "a.png").read_bytes()
