"""Is it real? Paired differences between two methods over the same lesions."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.metrics import bootstrap_interval


class Difference(NamedTuple):
    """Mean paired difference with its 95 % bootstrap interval and Wilcoxon's signed-rank p."""

    mean: float
    low: float
    high: float
    p: float
    """NaN where no two values differ."""
    lesions: int


def paired_difference(ours: Mapping[str, float], theirs: Mapping[str, float], seed: int = 0) -> Difference | None:
    """Ours minus theirs over the lesions that both have scored.

    Args:
        ours: a figure by lesion name.
        theirs: the same figure by lesion name.
        seed: of the bootstrap.

    Returns:
        The difference; None with under two lesions in common.
    """
    from scipy.stats import wilcoxon

    common = sorted(ours.keys() & theirs.keys())
    if len(common) < 2:
        return None
    differences = np.array([ours[name] - theirs[name] for name in common])
    interval = bootstrap_interval(differences, seed)
    p = float(wilcoxon(differences).pvalue) if differences.any() else float("nan")
    return Difference(interval.mean, interval.low, interval.high, p, len(common))


def mean_by_lesion(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each lesion's mean over runs (seeds), for the lesions that every run has scored."""
    common = set.intersection(*(set(run) for run in runs)) if runs else set()
    return {name: float(np.mean([run[name] for run in runs])) for name in sorted(common)}
