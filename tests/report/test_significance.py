"""Paired differences, by hand and by simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from common.evaluation.results import read_lesion_metrics
from common.report.runs import group_runs
from common.report.significance import (
    Difference,
    compare_groups,
    interval_text,
    mean_by_lesion,
    p_text,
    paired_difference,
    seed_difference,
)
from common.utils.errors import UserError
from common.utils.files import write_csv
from example_results import baseline, result, scored


def test_by_hand():
    ours = pd.Series({"c": 0.7, "a": 0.9, "b": 0.8, "x": 0.0})
    theirs = pd.Series({"a": 0.8, "b": 0.6, "c": 0.4, "y": 1.0})
    difference = paired_difference(ours, theirs)
    assert difference.mean == pytest.approx(0.2)
    assert difference.lesions == 3
    half = 4.3027 * 0.1 / math.sqrt(3)  # Student's t with 2 degrees of freedom
    assert (difference.low, difference.high) == pytest.approx((0.2 - half, 0.2 + half), abs=1e-5)
    assert difference.p == pytest.approx(0.25)  # all three of one sign: 2 of the 8 ways to give signs


def test_a_real_difference_is_found_and_chance_is_not():
    rng = np.random.default_rng(0)
    base = pd.Series(rng.uniform(0.5, 0.9, 200), map(str, range(200)))
    difference = paired_difference(base + 0.02 + rng.normal(0, 0.03, 200), base)
    assert difference.low > 0
    assert difference.p < 1e-6
    difference = paired_difference(base + rng.normal(0, 0.03, 200), base)
    assert difference.low < 0 < difference.high
    assert difference.p > 0.05


def test_lesions_of_a_patient_are_one_piece_of_evidence():
    ours = pd.Series({"a": 0.9, "b": 0.7, "c": 0.5, "d": 0.6})
    theirs = pd.Series({"a": 0.8, "b": 0.5, "c": 0.6, "d": 0.6})
    difference = paired_difference(ours, theirs, {"a": "p", "b": "p", "c": "p"})
    assert difference.mean == pytest.approx(0.05) and difference.lesions == 4
    # p: 0.2 of 3 lesions, 0.05 more than the mean; d: 0 of 1, 0.05 less. Student's t has 1 degree of freedom.
    half = 12.7062 * math.sqrt(2 * (0.05**2 + 0.05**2)) / 4
    assert (difference.low, difference.high) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-5)
    assert difference.p == 1  # of a single mean that is not 0
    of_one = paired_difference(ours, theirs, dict.fromkeys("abcd", "p"))
    assert of_one.mean == pytest.approx(0.05) and math.isnan(of_one.p)
    assert interval_text(of_one) == p_text(of_one) == ""


def test_patients_come_from_the_results(tmp_path):
    runs = []
    for label, values in (("A1+L", (0.9, 0.7, 0.5, 0.6)), ("A1", (0.8, 0.5, 0.6, 0.6))):
        runs.append(scored(tmp_path, label, values, result(label)))
        cells = zip("abcd", "pppq", values, strict=True)
        rows = [{"lesion": lesion, "group": group, "dice": value} for lesion, group, value in cells]
        write_csv(tmp_path / f"{label}.csv", rows, ["lesion", "group", "dice"])
    lesions = compare_groups(*group_runs(runs), "dice").lesions
    assert (lesions.low, lesions.high, lesions.p) == pytest.approx((-0.267655, 0.367655, 1), abs=1e-5)  # as above


def test_nothing_to_compare():
    assert paired_difference(pd.Series({"a": 1.0}), pd.Series({"a": 1.0})) is None
    same = pd.Series({"a": 1.0, "b": 1.0})
    assert math.isnan(paired_difference(same, same).p)
    assert p_text(paired_difference(same, same)) == "identical"
    assert p_text(Difference(0.1, 0.1, 0.1, math.nan, 2)) == ""  # all seeds differ by as much
    assert p_text(Difference(0.1, 0.0, 0.2, 0.01234, 2)) == "0.012"


def test_over_seeds_by_hand():
    one, two, three = (Difference(mean, 0, 0, 0.5, lesions) for mean, lesions in ((0.01, 40), (0.02, 39), (0.03, 40)))
    difference = seed_difference([one, two, three])
    # Mean 2, standard error 1/sqrt(3), t of two degrees of freedom 4.3027 (points).
    assert difference == pytest.approx((0.02, 0.02 - 0.0248414, 0.02 + 0.0248414, 0.0741799, 39), rel=1e-4)
    assert interval_text(difference) == "-0.48 to +4.48"
    assert seed_difference([one]) is None
    assert interval_text(None) == ""
    same = seed_difference([one, one])
    assert same[:3] == (0.01, 0.01, 0.01) and math.isnan(same.p)


def test_mean_over_seeds_by_lesion():
    table = pd.DataFrame([{"a": 1.0, "b": 0.0}, {"a": 0.5, "c": 1.0}]).T
    assert mean_by_lesion(table).to_dict() == {"a": 0.75}
    assert mean_by_lesion(pd.DataFrame()).empty


def test_lesions_of_another_evaluation_are_refused(tmp_path):
    run = scored(tmp_path, "a", (0.5, 0.6), result())
    assert read_lesion_metrics(run, "dice").tolist() == [0.5, 0.6]
    with pytest.raises(UserError, match=r"a\.csv is of another evaluation: its mean dice is 0\.55, not 0\.7"):
        read_lesion_metrics(run | {"dice": 0.7}, "dice")


def test_two_groups_by_hand(tmp_path):
    ours = [
        scored(tmp_path, f"ours{seed}", (0.5, 0.6, 0.7 + seed / 10), result("A1+L", seed=seed)) for seed in (0, 1, 2)
    ]
    theirs = [scored(tmp_path, f"a1{seed}", (0.4, 0.4, 0.6), result(seed=seed)) for seed in (0, 1, 3)]
    base = scored(tmp_path, "baseline", (0.5, 0.5, 0.5), baseline())
    ours, theirs, base = group_runs([*ours, *theirs, base])
    by_seed, lesions, seeds = compare_groups(ours, theirs, "dice")
    # Seed 0: 0.1, 0.2, 0.1; seed 1: 0.1, 0.2, 0.2.
    assert {seed: difference.mean for seed, difference in by_seed.items()} == pytest.approx(
        {"0": 0.4 / 3, "1": 0.5 / 3}
    )
    assert (lesions.mean, seeds.mean, seeds.lesions) == pytest.approx((0.15, 0.15, 3))
    by_seed, lesions, _ = compare_groups(ours, base, "dice")
    # The mean of seeds 0, 1 and 2 is 0.5, 0.6, 0.8, and the baseline has no seed.
    assert (list(by_seed), lesions.mean) == (["0", "1", "2"], pytest.approx(0.4 / 3))
