"""Paired differences, by hand and by simulation."""

import math

import numpy as np
import pytest

from common.statistics import mean_by_lesion, paired_difference


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


def test_mean_over_seeds_by_lesion():
    assert mean_by_lesion([{"a": 1.0, "b": 0.0}, {"a": 0.5, "c": 1.0}]) == {"a": 0.75}
    assert mean_by_lesion([]) == {}
