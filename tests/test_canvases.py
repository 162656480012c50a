"""Measurements on canvases are read as they stand, smallest first, and drawn."""

import cv2
import pytest

from common.canvases import Measured, draw_canvases, read_canvases
from common.errors import UserError

HEADER = "canvas,dice_mean,dice_spread,seconds,flops\n"


def test_smallest_first(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEADER}384x480,0.9,0.01,2,6e10\n128x256,0.8,nan,0.5,1e10\n")
    small, large = read_canvases(tmp_path / "a.csv")
    assert (small.canvas, small.area, small.seconds) == ((128, 256), 32768, 0.5)
    assert large == Measured((384, 480), 0.9, 0.01, 2, 6e10)
    for name in ("a.png", "b.png"):
        draw_canvases(tmp_path / name, [small, large])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10


@pytest.mark.parametrize(
    "row", ["128,0.8,0,1,1", "128x,0.8,0,1,1", "128x128,,0,1,1", "128x128,0.8", "128x128,0.8,0,1,many"]
)
def test_a_bad_line_is_named(tmp_path, row):
    (tmp_path / "a.csv").write_text(f"{HEADER}128x128,0.8,0,1,1\n{row}\n")
    with pytest.raises(UserError, match=r"line 3 of .*a\.csv"):
        read_canvases(tmp_path / "a.csv")


def test_nothing_measured(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER)
    with pytest.raises(UserError, match="no measurements"):
        read_canvases(tmp_path / "a.csv")
