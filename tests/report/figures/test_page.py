"""What is drawn on an axis lies where it should, and nothing leaves the axis."""

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from common.report.figures.page import (
    BLANK,
    DPI,
    connect,
    draw_ellipses,
    draw_frame,
    draw_image,
    draw_outline,
    save_figure,
)
from common.utils.drawing import BLUE, GREEN, ORANGE


@pytest.fixture
def axis():
    """The middle 2 inches of a figure of 4."""
    return Figure(figsize=(4, 4)).add_axes((0.25, 0.25, 0.5, 0.5), **BLANK)


def pixels(axis, tmp_path) -> np.ndarray:
    save_figure(axis.figure, tmp_path / "page.png")
    return cv2.imread(str(tmp_path / "page.png"))[..., ::-1].astype(int)


def is_colour(picture: np.ndarray, colour) -> np.ndarray:
    return np.abs(picture - np.array(colour)).max(axis=-1) < 40


def at(picture: np.ndarray, x: float, y: float) -> list[int]:
    """The colour at a place in inches from the top left corner."""
    return picture[round(y * DPI), round(x * DPI)].tolist()


def test_an_image_fills_its_axis_the_right_way_up(axis, tmp_path):
    image = np.zeros((120, 120, 3), np.uint8)
    image[:60] = GREEN
    image[60:] = BLUE
    draw_image(axis, image)
    picture = pixels(axis, tmp_path)
    assert picture.shape == (4 * DPI, 4 * DPI, 3)
    assert at(picture, 1.05, 1.05) == list(GREEN)
    assert at(picture, 2.95, 2.95) == list(BLUE)
    assert at(picture, 0.95, 2) == at(picture, 2, 3.05) == [255, 255, 255]


def test_pixels_of_a_patch_by_hand(axis):
    draw_frame(axis)
    framed = axis.transData.transform([(59.5, 59.5), (0, 0)]) / axis.figure.dpi
    draw_image(axis, np.zeros((120, 120, 3), np.uint8))
    imaged = axis.transData.transform([(59.5, 59.5), (0, 0)]) / axis.figure.dpi
    half = 1 / 120  # inches, of a pixel of 2 / 120
    for places in (framed, imaged):
        assert places == pytest.approx(np.array([(2, 2), (1 + half, 3 - half)]))


def test_an_ellipse_lies_as_opencv_draws_it(axis, tmp_path):
    draw_frame(axis)
    draw_ellipses(axis, np.array([[50, 65, 80, 30, 30]]), [ORANGE], width=1.4)
    drawn = is_colour(pixels(axis, tmp_path), ORANGE)[DPI : 3 * DPI, DPI : 3 * DPI]
    expected = np.zeros((120, 120), np.uint8)
    cv2.ellipse(expected, ((50, 65), (80, 30), 30), 1)
    rows, columns = np.nonzero(drawn)
    near = cv2.dilate(expected, np.ones((3, 3), np.uint8))
    assert near[rows * 120 // (2 * DPI), columns * 120 // (2 * DPI)].all()
    assert len(np.unique(columns * 120 // (2 * DPI))) > 60  # of 71 px from end to end


def test_an_ellipse_ends_at_its_axis(axis, tmp_path):
    draw_frame(axis)
    draw_ellipses(axis, np.array([[60, 60, 200, 60, 0]]), [ORANGE], width=1.4)
    rows, columns = np.nonzero(is_colour(pixels(axis, tmp_path), ORANGE))
    assert columns.min() >= DPI - 1 and columns.max() <= 3 * DPI
    assert rows.min() == pytest.approx(1.508 * DPI, abs=3) and rows.max() == pytest.approx(2.508 * DPI, abs=3)


def test_ellipses_have_their_own_colours(axis, tmp_path):
    draw_frame(axis)
    draw_ellipses(axis, np.array([[30, 60, 40, 60, 0], [90, 60, 40, 60, 0]]), [ORANGE, BLUE], width=1.4)
    picture = pixels(axis, tmp_path)
    assert np.nonzero(is_colour(picture, ORANGE))[1].max() < 2 * DPI < np.nonzero(is_colour(picture, BLUE))[1].min()


def test_an_outline_is_closed_at_the_edge_and_absent_for_an_empty_mask(axis, tmp_path):
    draw_frame(axis)
    mask = np.zeros((120, 120), np.uint8)
    draw_outline(axis, mask, BLUE)
    assert not is_colour(pixels(axis, tmp_path), BLUE).any()
    mask[:60] = 1
    draw_outline(axis, mask, BLUE, width=4)
    blue = is_colour(pixels(axis, tmp_path), BLUE)
    for x, y in ((2, 2), (2, 1.01), (1.01, 1.5), (2.99, 1.5)):
        assert blue[round(y * DPI), round(x * DPI)]
    assert not blue[round(1.5 * DPI), 2 * DPI] and not blue[round(2.5 * DPI), DPI + 2]


@pytest.mark.parametrize(
    ("area", "middle"),
    [
        ((0.9, 0.25, 0.1, 0.5), (3.3, 2)),
        ((0, 0.25, 0.1, 0.5), (0.7, 2)),
        ((0.25, 0.9, 0.5, 0.1), (2, 0.7)),
        ((0.4, 0, 0.2, 0.1), (2, 3.3)),
    ],
)
def test_an_arrow_leads_to_the_other_axis(axis, area, middle, tmp_path):
    other = axis.figure.add_axes(area, **BLANK)
    for box in (axis, other):
        draw_frame(box, width=0)
    connect(axis, other)
    dark = pixels(axis, tmp_path).max(axis=-1) < 90
    assert dark[round(middle[1] * DPI), round(middle[0] * DPI)]
    y, x = np.nonzero(dark)
    assert np.ptp(x if middle[1] == 2 else y) == pytest.approx(0.6 * DPI - 10 / 72 * DPI, abs=6)
    assert np.ptp(y if middle[1] == 2 else x) < 0.1 * DPI


def test_the_same_page_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        figure = Figure(figsize=(2, 1))
        figure.text(0.5, 0.5, "words")
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"matplotlib" not in (tmp_path / "a.png").read_bytes()
