"""A cell means a file by its name, its folders, its series or its number; other tests go through the tables."""

from pathlib import Path

import pytest

from common.inference.file_index import FileIndex, last_number

PHOTOS = [Path("new/a.png"), Path("new/a"), Path("old/A.JPG"), Path("new/b-7.png")]
SLICES = [Path("1_01/009.png"), Path("1_01/010.png"), Path("2_01/010.png"), Path("p/volume-12.nii.gz")]


@pytest.mark.parametrize(
    ("cell", "files"),
    [
        ("a", [PHOTOS[1]]),  # a whole name comes before a name without its suffix
        ("a.jpg", [PHOTOS[2]]), ("OLD\\a", [PHOTOS[2]]), ("./new/A.png", [PHOTOS[0]]), ("other/a.png", []),
        ("a.tif", []), ("7", []), ("new_a", []), ("", []),
    ],
)  # fmt: skip
def test_photos_are_named(cell, files):
    assert FileIndex(PHOTOS).find(cell) == files


@pytest.mark.parametrize(
    ("cell", "files"),
    [
        ("1_01_010.png", [SLICES[1]]), ("Images/1_01_010", []), ("2_01/010", [SLICES[2]]), ("010.dcm", SLICES[1:3]),
        ("10", SLICES[1:3]), ("9.0", [SLICES[0]]), ("2_01/10", [SLICES[2]]), ("9.5", []), ("-9", []), ("1e9", []),
        ("volume-12.nii", [SLICES[3]]), ("12", [SLICES[3]]), ("volume-1", []), ("p_volume-12", [SLICES[3]]),
    ],
)  # fmt: skip
def test_ct_is_named_by_series_and_number_too(cell, files):
    assert FileIndex(SLICES, ct=True).find(cell) == files


def test_namesakes_lie_in_any_folder():
    index = FileIndex(PHOTOS)
    assert index.find("other/b-7.png") == []
    assert index.namesakes("other/b-7.png") == [PHOTOS[3]]


@pytest.mark.parametrize(
    ("name", "number"), [("volume-012.nii.gz", 12), ("7.png", 7), ("1.2.png", 2), ("3a.nii", None)]
)
def test_the_number_that_a_name_ends_with(name, number):
    assert last_number(Path(name)) == number
