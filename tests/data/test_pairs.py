"""Files without their counterparts, and files that are there twice."""

from pathlib import Path

import pytest

from common.data.lesion import Dropped
from common.data.pairs import drop_unpaired, unique_files
from common.utils.errors import UserError


def files(keys: str) -> dict[str, Path]:
    return {key: Path(key) for key in keys}


def test_both_sides_are_listed_in_the_order_of_their_keys(capsys):
    assert drop_unpaired(files("dbac"), files("cefb"), ("image", "mask")) == [
        Dropped("a", "image without mask"),
        Dropped("d", "image without mask"),
        Dropped("e", "mask without image"),
        Dropped("f", "mask without image"),
    ]
    assert capsys.readouterr().err == "a, d: image without mask, left out\ne, f: mask without image, left out\n"


def test_many_files_without_counterpart_are_one_line(capsys):
    numbers = {str(number): Path(str(number)) for number in range(131)}
    dropped = drop_unpaired({"0": Path("0"), "7": Path("7")}, numbers, ("volume", "segmentation"), "{kind}-{key}")
    assert len(dropped) == 129
    assert capsys.readouterr().err == (
        "segmentation-1, segmentation-10, segmentation-100 and 126 more: segmentation without volume, left out\n"
    )


def test_names_follow_the_template(capsys):
    (dropped,) = drop_unpaired(files("17"), files("1"), ("volume", "segmentation"), "{kind}-{key}")
    assert dropped == Dropped("volume-7", "volume without segmentation")


def test_nothing_is_said_when_every_file_has_its_counterpart(capsys):
    assert drop_unpaired(files("ab"), files("ba"), ("image", "mask")) == []
    assert capsys.readouterr().err == ""


def test_a_file_in_two_folders_is_taken_once_and_two_contents_are_refused(tmp_path):
    for name, content in (("x/a", "1"), ("y/a", "1"), ("x/b", "2"), ("y/b", "3")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    a, b = ([tmp_path / "x" / name, tmp_path / "y" / name] for name in "ab")
    assert unique_files(("a", path) for path in a) == {"a": a[0]}
    with pytest.raises(UserError, match=r"y/b differs from .*x/b, of the same name or number; keep one of them"):
        unique_files(("b", path) for path in b)
