"""Files without their counterparts."""

from pathlib import Path

from common.data.dataset import Dropped
from common.data.pairs import drop_unpaired


def files(keys: str) -> dict[str, Path]:
    return {key: Path(key) for key in keys}


def test_both_sides_are_listed_in_the_order_of_their_keys(capsys):
    assert drop_unpaired(files("dbac"), files("cefb"), ("image", "mask")) == [
        Dropped("a", "image without mask"),
        Dropped("d", "image without mask"),
        Dropped("e", "mask without image"),
        Dropped("f", "mask without image"),
    ]
    assert capsys.readouterr().err.splitlines()[0] == "a: image without mask, left out"


def test_names_follow_the_template(capsys):
    (dropped,) = drop_unpaired(files("17"), files("1"), ("volume", "segmentation"), "{kind}-{key}")
    assert dropped == Dropped("volume-7", "volume without segmentation")


def test_nothing_is_said_when_every_file_has_its_counterpart(capsys):
    assert drop_unpaired(files("ab"), files("ba"), ("image", "mask")) == []
    assert capsys.readouterr().err == ""
