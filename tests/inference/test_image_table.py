"""Tables with a row an image: which rows are taken, and which end points can't be px of an image."""

from pathlib import Path

import numpy as np
import pytest

from common.inference.image_table import check_ends, read_ends
from common.io.images import Photo
from common.utils.errors import UserError

HEADER = "image,x1,y1,x2,y2,x3,y3,x4,y4\n"
IMAGES = [Path("new/a b.png"), Path("new/c.jpg")]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "my marks.csv"
    path.write_text(HEADER + "C,9,8,7,6,5,4,3,2\nold/z.png,1,1,1,1,1,1,1,1\na b.png,1,2,3,4,5,6,7,8.5\n")
    return path


def test_rows_of_other_images_may_be_there_if_that_is_said(table):
    ends = read_ends(table, IMAGES, others=True)
    assert list(ends) == IMAGES[::-1]
    assert ends[IMAGES[0]].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8.5]]
    with pytest.raises(UserError, match=r"my marks\.csv line 3: 'old/z\.png' is none of the images"):
        read_ends(table, IMAGES)


def test_each_image_needs_a_row_unless_that_is_said(table):
    images = [*IMAGES, Path("new/d.png")]
    with pytest.raises(UserError, match=r"my marks\.csv has no row for d\.png; add rows, or move the images away"):
        read_ends(table, images, others=True)
    assert len(read_ends(table, images, complete=False, others=True)) == 2
    with pytest.raises(UserError, match=r"has no row for e\.png"):  # a table of none of them is no table of theirs
        read_ends(table, [Path("e.png")], complete=False, others=True)


def test_images_of_two_folders_with_one_name_are_never_confused(table):
    with pytest.raises(UserError, match=r"line 4: 'a b\.png' may be new/a b\.png or newer/a b\.png; write a "):
        read_ends(table, [*IMAGES, Path("newer/a b.png")], others=True)


def test_a_row_of_another_folder_is_of_another_image(tmp_path):
    table, here, there = tmp_path / "t.csv", Path("a/1.jpg"), Path("b/1.jpg")
    table.write_text(HEADER + "b/1.JPG,2,2,3,4,5,6,7,8\n./A/1,1,2,3,4,5,6,7,8\n")
    ends = read_ends(table, [here, there], others=True)
    assert {image: points[0, 0] for image, points in ends.items()} == {here: 1, there: 2}
    assert list(read_ends(table, [here], others=True)) == [here]
    with pytest.raises(UserError, match=r"has no row for 1\.jpg"):
        read_ends(table, [Path("c/1.jpg")], others=True)


def test_a_row_of_the_same_name_in_another_folder_is_told(tmp_path):
    (tmp_path / "t.csv").write_text(HEADER + "/mnt/study/1.jpg,2,2,3,4,5,6,7,8\n")
    with pytest.raises(UserError, match=r"has no row for 1\.jpg; line 2 names /mnt/study/1\.jpg, in another folder"):
        read_ends(tmp_path / "t.csv", [Path("a/1.jpg")], others=True)


@pytest.mark.parametrize("more", ["9", ",9"])
def test_rows_with_more_cells_than_the_header_are_refused(more, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(HEADER + "1,2,0,3,0,5,6,7,8\n" + f"2,2,0,3,0,5,6,7,8,{more}\n")  # decimal commas, say
    with pytest.raises(UserError, match=r"t\.csv, row 2 after the header, has more cells than the header; write"):
        read_ends(table, [Path("1.jpg"), Path("2.jpg")])
    table.write_text(HEADER + "1,2,0,3,0,5,6,7,8,,\n")  # empty ones are what spreadsheets leave
    assert read_ends(table, [Path("1.jpg")])[Path("1.jpg")][0].tolist() == [2, 0]


def test_paths_from_anywhere_name_their_image(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, image = tmp_path / "t.csv", Path("x/../imgs/a.jpg")
    for path in (
        tmp_path / "imgs" / "a.jpg",
        "imgs//a.jpg",
        f"../{tmp_path.name}/imgs/A",
        "imgs\\a.jpg",
        "y/../imgs/a",
    ):
        table.write_text(f"{HEADER}{path},1,2,3,4,5,6,7,8\n")
        assert list(read_ends(table, [image], others=True)) == [image]


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ((0.2, 0.3, 0.6, 0.3, 0.4, 0.2, 0.4, 1), r"a\.png lie between 0 and 1; multiply them by its width and height"),
        ((2, 3, 61.5, 3, 4, 2, 4, 9), r"a\.png lie outside the image of 60 columns and 40 rows"),
        ((2, 3, 9, 3, 4, 2, 4, 41), "lie outside the image"),
        ((2, 3, 9, 3, 4, -1.5, 4, 9), "lie outside the image"),
    ],
)
def test_end_points_that_are_not_px_of_the_image(ends, sentence):
    photo = Photo(np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(UserError, match=sentence):
        check_ends(Path("a.png"), np.array(ends, float).reshape(4, 2), photo)
    borders = np.array([(0, 0), (60, 40), (0, 40), (60, 0)], float)
    assert check_ends(Path("a.png"), borders, photo) == []
    assert check_ends(Path("a.png"), borders, photo._replace(orientation=3)) == [
        "its EXIF orientation turns it; its end points are taken as on the picture that viewers show"
    ]
