"""A cell means a file by its name, its folders, its series or its number; other tests go through the tables."""

from pathlib import Path

import pytest

from common.utils.file_index import FileIndex

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
        ("1e1", []),
        ("volume-12.late", []), ("volume-12.nii", [SLICES[3]]), ("12", [SLICES[3]]), ("volume-1", []),
        ("p_volume-12", [SLICES[3]]),
    ],
)  # fmt: skip
def test_ct_is_named_by_series_and_number_too(cell, files):
    assert FileIndex(SLICES, ct=True).find(cell) == files


def test_namesakes_lie_in_any_folder():
    index = FileIndex(PHOTOS)
    assert index.find("other/b-7.png") == []
    assert index.namesakes("other/b-7.png") == [PHOTOS[3]]


@pytest.mark.parametrize(("name", "number"), [("a-012.nii.gz", "12"), ("7.png", "07"), ("1.2.png", "2.0"),
                                              ("id_20261127.nii", "20261127")])  # fmt: skip
def test_the_number_that_a_name_ends_with(name, number):
    assert FileIndex([Path(name)], ct=True).find(number) == [Path(name)]
    assert not FileIndex([Path(f"{name[0]}.png"), Path("3a.nii")], ct=True).find("3")


def test_a_path_that_goes_up_is_in_its_folder(tmp_path, monkeypatch):
    (tmp_path / "1_01" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "1_01" / "sub")
    assert FileIndex([Path("../109.png")], ct=True).find("1_01_109.png") == [Path("../109.png")]


def test_further_cells_may_not_contradict():
    index = FileIndex([Path("key.png"), Path("8.png")], ct=True)
    assert index.may_mean("7", Path("key.png")) and index.may_mean("8", Path("8.png"))
    assert not index.may_mean("7", Path("8.png")) and not index.may_mean("other", Path("key.png"))
