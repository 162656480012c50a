"""Is it real? Paired differences between methods over the same lesions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.evaluation.results import read_lesion_metrics
from common.metrics import bootstrap_interval
from common.recipe import A1CLASS
from common.report.runs import RunGroup, comparable_groups


class Difference(NamedTuple):
    """Mean paired difference with its 95 % interval."""

    mean: float
    low: float
    high: float
    p: float
    """Over lesions Wilcoxon's signed-rank p, over seeds that of Student's t; NaN where no two values differ."""
    lesions: int


class Comparison(NamedTuple):
    """A paired difference between two rows of the table."""

    ours: RunGroup
    theirs: RunGroup
    figure: str
    over: str
    """What was paired: "lesions, seed 0", "lesions, mean of 3 seeds" or "3 seeds"."""
    difference: Difference


def paired_difference(ours: Mapping[str, float], theirs: Mapping[str, float], seed: int = 0) -> Difference | None:
    """Ours minus theirs over the lesions that both have scored; the interval is a bootstrap's.

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


def seed_difference(by_seed: Sequence[Difference]) -> Difference | None:
    """The mean of the seeds' differences with Student's interval: how far the chance of training reaches.

    Returns:
        The difference; None with under two seeds.
    """
    from scipy.stats import ttest_1samp

    if len(by_seed) < 2:
        return None
    means = np.array([difference.mean for difference in by_seed])
    lesions = min(difference.lesions for difference in by_seed)
    if np.ptp(means) == 0:  # the same in every seed: there is no spread to judge by
        return Difference(float(means[0]), float(means[0]), float(means[0]), float("nan"), lesions)
    test = ttest_1samp(means, 0)
    interval = test.confidence_interval(0.95)
    return Difference(float(means.mean()), float(interval.low), float(interval.high), float(test.pvalue), lesions)


def mean_by_lesion(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each lesion's mean over runs (seeds), for the lesions that every run has scored."""
    common = set.intersection(*(set(run) for run in runs)) if runs else set()
    return {name: float(np.mean([run[name] for run in runs])) for name in sorted(common)}


class Compared(NamedTuple):
    """Ours minus theirs."""

    by_seed: dict[Any, Difference]
    """Over lesions, for each seed that both have and that left lesions to compare."""
    lesions: Difference | None
    """Over lesions, whose figures are averaged over those seeds."""
    seeds: Difference | None
    """Over seeds; None under two."""


def compare_runs(ours: RunGroup, theirs: RunGroup, figure: str) -> Compared:
    """Compare the runs of two rows seed by seed; a floor, which has no seed, is compared with every one.

    Raises:
        UserError: as `read_lesion_metrics`.
    """
    our_runs, their_runs = ({run["settings"].get("seed"): run for run in row.runs} for row in (ours, theirs))
    if theirs.target is None:
        their_runs = dict.fromkeys(our_runs, theirs.runs[0])
    seeds = sorted(our_runs.keys() & their_runs.keys(), key=str)
    first, second = ([read_lesion_metrics(runs[seed], figure) for seed in seeds] for runs in (our_runs, their_runs))
    pairs = zip(seeds, first, second, strict=True)
    found = {seed: paired_difference(mine, other) for seed, mine, other in pairs}
    by_seed = {seed: difference for seed, difference in found.items() if difference is not None}
    together = paired_difference(mean_by_lesion(first), mean_by_lesion(second))
    return Compared(by_seed, together, seed_difference(list(by_seed.values())))


def comparisons(rows: Sequence[RunGroup]) -> list[Comparison]:
    """A1+L minus every other row of its block, over the lesions' means over seeds; minus methods by seed too."""
    return [
        comparison
        for block in comparable_groups(rows)
        for ours in block
        if ours.label == A1CLASS.label
        for theirs in block
        if theirs is not ours
        for figure in ("dice", "iou")
        for comparison in _compare(ours, theirs, figure)
    ]


def _compare(ours: RunGroup, theirs: RunGroup, figure: str) -> list[Comparison]:
    found = compare_runs(ours, theirs, figure)
    seeds = len(found.by_seed)
    told: dict[str, Difference | None] = {f"lesions, seed {seed}": it for seed, it in found.by_seed.items()}
    if seeds > 1:
        both = {f"lesions, mean of {seeds} seeds": found.lesions, f"{seeds} seeds": found.seeds}
        told = told | both if theirs.competes else both
    return [Comparison(ours, theirs, figure, over, it) for over, it in told.items() if it is not None]
