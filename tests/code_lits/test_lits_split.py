"""The LiTS split: published, seeded, or from a file; no volume in two."""

from pathlib import Path

import pytest

import lits_split
from common.utils.errors import UserError


def assert_whole(volumes: list[str], splits: list[str]) -> None:
    assert len(set(zip(volumes, splits, strict=True))) == len(set(volumes))
    assert set(splits) == {"train", "val", "test"}


def test_published_runs_add_up():
    split = lits_split.published_split()
    assert len(split) == 16_462
    assert [split.count(name) for name in ("train", "val", "test")] == [11_522, 3_310, 1_630]


def published_rows() -> list[dict[str, str]]:
    """As many patches as published; a volume for each run."""
    runs = [int(run[1:]) for run in lits_split.PUBLISHED_RUNS.split()]
    return [{"group": f"volume-{number}"} for number, length in enumerate(runs) for _ in range(length)]


def test_the_published_patches_get_the_published_split(capsys):
    rows = published_rows()
    assert lits_split.split_by_volume(rows) == lits_split.published_split()
    assert "published" in capsys.readouterr().out
    assert_whole([row["group"] for row in rows], lits_split.published_split())


@pytest.mark.parametrize("change", ["one patch fewer", "runs across volumes"])
def test_other_patches_get_a_split_of_whole_volumes(change, capsys):
    rows = published_rows()
    rows = rows[1:] if change == "one patch fewer" else rows[7:] + rows[:7]
    splits = lits_split.split_by_volume(rows)
    assert_whole([row["group"] for row in rows], splits)
    assert abs(splits.count("train") / len(rows) - 0.7) < 0.05
    assert capsys.readouterr().out.count("\n") == 1


def write_split(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_split_file_decides(tmp_path):
    path = write_split(tmp_path / "split.csv", "volume,split", "volume-3,test", "12,train")
    chosen = lits_split.read_split_file(path, {"volume-3", "volume-12"})
    assert lits_split.split_by_volume([{"group": "volume-12"}, {"group": "volume-3"}], chosen) == ["train", "test"]


@pytest.mark.parametrize(
    "name", ["7", "volume-7", "volume-7.nii", "volume-7.nii.gz", "liver_7", "liver_7.nii.gz", " 7 "]
)
def test_a_volume_has_several_names(tmp_path, name):
    path = write_split(tmp_path / "split.csv", "volume,split", f"{name},val")
    assert lits_split.read_split_file(path, {"volume-7"}) == {"volume-7": "val"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["volume,split", "1,train", "2,val", "9,test"], "line 4 names volume-9, which has no volume"),
        (["volume,split", "1,train", "2,val", "volume-,test"], "line 4 names volume-, which has no volume"),
        (["volume,split", "1,train", "2,val", "liver_1,test"], "line 4 puts volume-1 into test, an earlier one"),
        (["volume,split", "1,train", "2,validation"], "line 3 says 'validation'"),
        (["volume,split", "1,train"], "doesn't name volume-2"),
        (["volume,set", "1,train"], "lacks the column volume or split"),
        (["volume,split", "1"], "line 2 says ''"),
    ],
)
def test_bad_split_files(tmp_path, lines, message):
    path = write_split(tmp_path / "split.csv", *lines)
    with pytest.raises(UserError, match=message) as error:
        lits_split.read_split_file(path, {"volume-1", "volume-2"})
    assert str(path) in str(error.value)
