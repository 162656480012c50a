"""Outlines and tables of your own data: what clearly matches is used, all else is one sentence."""

import time
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.io.images import Photo
from common.run.own_files import check_masks, find_copies, read_ends, read_outline, read_patients
from common.utils.errors import UserError

HEADER = "image,x1,y1,x2,y2,x3,y3,x4,y4\n"
IMAGES = [Path("data/images") / name for name in ("a b.png", "Läsion.1.JPG", "c.jpg", "c.png", "d.png", "d")]


@pytest.mark.parametrize("name", ["recist.csv", "RECIST.csv", "Recist.CSV"])
def test_end_points_by_image(tmp_path, name):
    (tmp_path / "masks").mkdir()
    assert read_ends(tmp_path, IMAGES) == {}
    (tmp_path / name).write_text(HEADER + "a b.png,1,2,3,4,5,6,7,8.5\n")
    ends = read_ends(tmp_path, IMAGES)
    assert [path.name for path in ends] == ["a b.png"]
    assert ends[IMAGES[0]].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8.5]]


@pytest.mark.parametrize(
    ("cell", "image"),
    [
        ("a b", "a b.png"),
        ("A B.PNG", "a b.png"),
        (" a b.png ", "a b.png"),
        ("images/a b.png", "a b.png"),
        ("C:\\data\\images\\a b.png", "a b.png"),
        ("./A b", "a b.png"),
        ("läsion.1", "Läsion.1.JPG"),
        (unicodedata.normalize("NFD", "Läsion.1.jpg"), "Läsion.1.JPG"),  # as macOS writes names
        ("c.png", "c.png"),
        ("d", "d"),  # a full name comes before a stem
    ],
)
def test_a_row_names_its_image_with_or_without_folder_suffix_and_case(cell, image, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "recist.csv").write_text(HEADER.replace("image", " Image") + f"{cell},1,2,3,4,5,6,7,8\n")
    assert [path.name for path in read_ends(tmp_path, IMAGES)] == [image]


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("b.png", r"line 2: 'b\.png' is none of the images"),
        ("a b.jpg", r"line 2: 'a b\.jpg' is none of the images"),  # another file's suffix
        ("läsion", "is none of the images"),
        ("", "line 2: '' is none of the images"),
        ("c", r"line 2: 'c' may be .*c\.jpg or .*c\.png; write a file's name in full"),
        ("d.png,1,2,3,4,5,6,7,8\nD.png", r"line 3 names d\.png again"),
    ],
)
def test_a_row_that_names_no_image_or_several_is_one_sentence(cell, sentence, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "recist.csv").write_text(HEADER + f"{cell},1,2,3,4,5,6,7,8\n")
    with pytest.raises(UserError, match=sentence):
        read_ends(tmp_path, IMAGES)


def test_images_without_a_row_are_named_where_there_are_no_outlines(tmp_path):
    (tmp_path / "recist.csv").write_text(HEADER + "a b,1,2,3,4,5,6,7,8\n")
    with pytest.raises(UserError, match=r"has no row for Läsion\.1\.JPG, c\.jpg, c\.png and 2 more; add rows"):
        read_ends(tmp_path, IMAGES)
    (tmp_path / "masks").mkdir()
    assert len(read_ends(tmp_path, IMAGES)) == 1
    (tmp_path / "recist.csv").write_text(HEADER)
    with pytest.raises(UserError, match=r"has no row for a b\.png"):  # an empty table is no table of outlines
        read_ends(tmp_path, IMAGES)


@pytest.mark.parametrize("names", [["recist.csv", "Recist.csv"], ["recist.xlsx"], ["my_recist.csv"]])
def test_a_table_that_would_not_be_read_is_one_sentence(names, tmp_path):
    for name in names:
        (tmp_path / name).write_text(HEADER)
    remedy = "save the one to read as" if names == ["recist.xlsx"] else "name the one to read"
    with pytest.raises(UserError, match=rf"holds .*{names[-1]}.*; {remedy} recist\.csv, "):
        read_ends(tmp_path, IMAGES)


def test_patients_by_image(tmp_path):
    assert read_patients(tmp_path, IMAGES[:2]) == {}
    (tmp_path / "patients.csv").write_text("image,patient\nA b, 7 \nläsion.1,7\n")
    assert read_patients(tmp_path, IMAGES[:2]) == {"a b.png": "7", "Läsion.1.JPG": "7"}
    with pytest.raises(UserError, match=r"patients\.csv has no row for c\.jpg"):
        read_patients(tmp_path, IMAGES[:3])
    (tmp_path / "patients.csv").write_text("image,patient\nA b,p7\nläsion.1,P7\n")
    assert set(read_patients(tmp_path, IMAGES[:2]).values()) == {"p7"}
    (tmp_path / "patients.csv").write_text("image,patient\na b,\nläsion.1,7\n")
    with pytest.raises(UserError, match=r"names no patient for a b\.png"):
        read_patients(tmp_path, IMAGES[:2])


def test_many_rows_are_matched_at_once(tmp_path):
    images = [Path(f"{number:05d}.png") for number in range(20_000)]
    (tmp_path / "patients.csv").write_text("image,patient\n" + "".join(f"{path.stem},1\n" for path in images))
    start = time.monotonic()
    assert len(read_patients(tmp_path, images)) == 20_000
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,x1\na,1\n", "lacks the column y1; its first line must be image,x1,y1"),
        (HEADER + "a,1,2,3,4,5,6,7\n", "line 2 must have a number"),
        (HEADER + "a,1,2,3,4,5,6,7,8\nb,1,2,3,4,5,6,7,x\n", "line 3 must have a number"),
        (HEADER + "a,1,2,3,4,5,6,7,inf\n", "line 2 must have a number"),
        (HEADER + "a,1,2,3,4,5,6,7,8\na,1,2,3,4,5,6,7,8\n", "line 3 names a again"),
    ],
)
def test_bad_end_points_are_one_sentence(text, sentence, tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "recist.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_ends(tmp_path, [Path("a"), Path("b")])


def test_outlines(tmp_path):
    image, mask = tmp_path / "images" / "a.b.jpg", np.zeros((20, 30), np.uint8)
    photo = Photo(np.zeros((20, 30, 3), np.uint8))
    assert read_outline(image, photo, marked=False) == (None, [])
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"a\.b\.jpg has neither a mask in .*masks nor a row in recist\.csv"):
        read_outline(image, photo, marked=False)
    assert read_outline(image, photo, marked=True) == (None, ["no outline in masks/; its mark alone is used"])
    mask[5:9, 4:20] = 255
    cv2.imwrite(str(tmp_path / "masks" / "a.b.png"), mask)
    np.testing.assert_array_equal(read_outline(image, photo, marked=True)[0], mask > 0)
    for name in ("A.B.PNG", "a.b.jpg"):
        (tmp_path / "masks" / "a.b.png").rename(tmp_path / "masks" / name)
        np.testing.assert_array_equal(read_outline(image, photo, marked=False)[0], mask > 0)
        (tmp_path / "masks" / name).rename(tmp_path / "masks" / "a.b.png")
    with pytest.raises(UserError, match="is 30x20 px but its image is 40x20"):
        read_outline(image, Photo(np.zeros((20, 40, 3), np.uint8)), marked=True)


def test_masks_that_belong_to_no_image(tmp_path, capsys):
    images = [tmp_path / "images" / name for name in ("a.jpg", unicodedata.normalize("NFD", "é.jpg"))]
    check_masks(tmp_path, images)  # there are none
    (tmp_path / "masks").mkdir()
    check_masks(tmp_path, images)
    for name in ("a_mask.png", "b.png"):
        (tmp_path / "masks" / name).touch()
    with pytest.raises(UserError, match=r"holds a_mask\.png, b\.png, none named like an image; .* be named a\.png$"):
        check_masks(tmp_path, images)
    (tmp_path / "masks" / "é.PNG").touch()
    check_masks(tmp_path, images)
    assert capsys.readouterr().err == f"{tmp_path / 'masks'}: a_mask.png, b.png: mask without image, left out\n"
    (tmp_path / "masks" / "B.png").touch()
    with pytest.raises(UserError, match=r"B\.png and b\.png are masks of the same image|b\.png and B\.png are"):
        check_masks(tmp_path, images)


def test_copies_of_an_image_are_found_whatever_they_are_called(tmp_path, capsys):
    for name, content in {"a": b"12", "b": b"34", "c": b"12", "d": b"5"}.items():
        (tmp_path / name).write_bytes(content)
    assert find_copies(sorted(tmp_path.iterdir()), {}) == {"a": "a", "c": "a"}
    assert capsys.readouterr().err == "a, c: copies of the same image are kept in one split\n"
    assert find_copies([tmp_path / "a", tmp_path / "b"], {}) == {}
    patients = {"a": "7", "b": "8", "c": "7", "d": "9"}
    assert find_copies(sorted(tmp_path.iterdir()), patients) == {"a": "a", "c": "a"}
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"c is a copy of a, and patients\.csv gives them to the patients 8 and 7"):
        find_copies(sorted(tmp_path.iterdir()), patients | {"c": "8"})
