"""Whole groups on one side."""

from collections import Counter

import pytest

from common.data.splits import split_groups


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_splits_and_fractions_hold(seed):
    groups = [index // 3 for index in range(300)]
    names = split_groups(groups, seed)
    assert len({(group, name) for group, name in zip(groups, names, strict=True)}) == 100
    counts = Counter(names)
    assert counts["train"] == pytest.approx(210, abs=3)
    assert counts["val"] == pytest.approx(60, abs=3)


@pytest.mark.parametrize("seed", range(8))
def test_three_groups_of_any_size_give_three_splits(seed):
    assert set(split_groups(["a"] * 100 + ["b"] + ["c"] * 5, seed)) == {"train", "val", "test"}


def test_the_seed_decides():
    groups = list(range(50))
    assert split_groups(groups, 1) == split_groups(groups, 1) != split_groups(groups, 2)
