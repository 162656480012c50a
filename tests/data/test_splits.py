"""Whole groups on one side."""

from collections import Counter

import pytest

from common.data.splits import split_rows


@pytest.mark.parametrize("start", range(5))
def test_no_group_is_in_two_splits_and_fractions_hold(start):
    rows = [{"patient": f"{start + index // 3}"} for index in range(300)]
    names = split_rows(rows, "patient")
    assert len({(row["patient"], name) for row, name in zip(rows, names, strict=True)}) == 100
    counts = Counter(names)
    assert counts["train"] == pytest.approx(210, abs=3)
    assert counts["val"] == pytest.approx(60, abs=3)


@pytest.mark.parametrize("sizes", [(100, 1, 5), (1, 100, 5), (1, 5, 100), (1, 1, 1)])
def test_three_groups_of_any_size_give_three_splits(sizes):
    rows = [{"group": group} for group, size in zip("abc", sizes, strict=True) for _ in range(size)]
    assert set(split_rows(rows)) == {"train", "val", "test"}


def test_groups_are_shuffled_the_same_every_time():
    rows = [{"group": f"{index:02}"} for index in range(50)]
    assert split_rows(rows) == split_rows(rows) == split_rows(rows[::-1])[::-1]
    assert split_rows(rows)[:35] != ["train"] * 35
    # What was prepared elsewhere must be split the same (r: train, a: val, e: test).
    assert "".join(name[1] for name in split_rows(rows[:20])) == "rrarerraerarrrarrrrr"
