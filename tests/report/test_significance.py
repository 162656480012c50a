"""Paired differences, by hand and by simulation."""

import math

import numpy as np
import pytest
from test_results import floor, result

from common.evaluation.results import read_lesion_metrics
from common.report.runs import group_runs
from common.report.significance import Difference, comparisons, mean_by_lesion, paired_difference, seed_difference
from common.utils.errors import UserError
from common.utils.files import write_csv


def test_by_hand():
    ours, theirs = {"a": 0.9, "b": 0.8, "c": 0.7, "x": 0.0}, {"a": 0.8, "b": 0.6, "c": 0.4, "y": 1.0}
    found = paired_difference(ours, theirs)
    assert found.mean == pytest.approx(0.2)
    assert found.lesions == 3
    assert 0.0999 <= found.low < 0.2 < found.high <= 0.3001
    assert found.p == pytest.approx(0.25)  # all three of one sign: 2 of the 8 ways to give signs


def test_a_real_difference_is_found_and_chance_is_not():
    rng = np.random.default_rng(0)
    base = {str(number): float(value) for number, value in enumerate(rng.uniform(0.5, 0.9, 200))}
    better = {name: value + 0.02 + rng.normal(0, 0.03) for name, value in base.items()}
    chance = {name: value + rng.normal(0, 0.03) for name, value in base.items()}
    found = paired_difference(better, base)
    assert found.low > 0
    assert found.p < 1e-6
    found = paired_difference(chance, base)
    assert found.low < 0 < found.high
    assert found.p > 0.05


def test_nothing_to_compare():
    assert paired_difference({"a": 1.0}, {"a": 1.0}) is None
    assert math.isnan(paired_difference({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}).p)


def test_over_seeds_by_hand():
    one, two, three = (Difference(mean, 0, 0, 0.5, lesions) for mean, lesions in ((0.01, 40), (0.02, 39), (0.03, 40)))
    found = seed_difference([one, two, three])
    # Mean 2, standard error 1/sqrt(3), t of two degrees of freedom 4.3027 (points).
    assert found == pytest.approx((0.02, 0.02 - 0.0248414, 0.02 + 0.0248414, 0.0741799, 39), rel=1e-4)
    assert seed_difference([one]) is None
    same = seed_difference([one, one])
    assert same[:3] == (0.01, 0.01, 0.01) and math.isnan(same.p)


def test_mean_over_seeds_by_lesion():
    assert mean_by_lesion([{"a": 1.0, "b": 0.0}, {"a": 0.5, "c": 1.0}]) == {"a": 0.75}
    assert mean_by_lesion([]) == {}


def scored(folder, name, values, made):
    rows = [{"lesion": lesion, "dice": value, "iou": value} for lesion, value in zip("abcd", values, strict=True)]
    write_csv(folder / f"{name}.csv", rows, ["lesion", "dice", "iou"])
    return made | {"path": folder / f"{name}.json", "lesions": len(rows)}


def test_ours_is_compared_with_every_row_of_its_block(tmp_path):
    """Methods seed by seed and together; a floor and the ceiling together only, the floor's one run with each seed."""
    ceiling = {"settings": {"target": "truth"}}
    rows = group_runs(
        [
            scored(tmp_path, "ours0", (0.5, 0.6, 0.7, 0.8), result("A1+L")),
            scored(tmp_path, "ours1", (0.7, 0.8, 0.9, 1.0), result("A1+L", seed=1)),
            scored(tmp_path, "a1", (0.4, 0.5, 0.6, 0.7), result(seed=1)),
            scored(tmp_path, "floor", (0.6, 0.7, 0.8, 0.9), floor()),
            scored(tmp_path, "top0", (0.9, 0.9, 0.9, 0.9), result(**ceiling)),
            scored(tmp_path, "top1", (1.0, 1.0, 1.0, 1.0), result(seed=1, **ceiling)),
            scored(tmp_path, "other", (0.1, 0.1, 0.1, 0.1), result(dataset="LiTS")),
        ]
    )
    found = [it for it in comparisons(rows) if it.figure == "dice"]
    assert [(it.theirs.name, it.over, round(it.difference.mean, 6)) for it in found] == [
        ("A1", "lesions, seed 1", 0.3),
        ("ellipse itself", "lesions, mean of 2 seeds", 0.0),
        ("ellipse itself", "2 seeds", 0.0),
        ("A1 trained on truth", "lesions, mean of 2 seeds", -0.2),
        ("A1 trained on truth", "2 seeds", -0.2),
    ]


def test_a_damaged_csv_is_named(tmp_path):
    made = {"path": tmp_path / "a.json", "lesions": 2}
    assert read_lesion_metrics(made, "dice") == {}
    (tmp_path / "a.csv").write_text("lesion,dice\na,0.5\nb,\n")
    assert read_lesion_metrics(made, "dice") == {"a": 0.5}  # what is undefined is left out
    for content in ("a,nine\nb,1\n", "a,1\n", "a,1\nb\n", "a,1\na,1\n", "a,1\nb,1\nc,1\n"):
        (tmp_path / "a.csv").write_text(f"lesion,dice\n{content}")
        with pytest.raises(UserError, match=r"a\.csv is damaged"):
            read_lesion_metrics(made, "dice")
    with pytest.raises(UserError, match=r"a\.csv is damaged"):
        read_lesion_metrics(made, "iou")
