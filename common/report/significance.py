"""Is the difference real? Paired differences between groups of runs, over the same lesions and over seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.evaluation.results import read_groups, read_lesion_metrics
from common.metrics import bootstrap_interval
from common.report.runs import RunGroup

if TYPE_CHECKING:
    import pandas as pd


class Difference(NamedTuple):
    """Mean paired difference of a metric, with its 95 % interval."""

    mean: float
    low: float
    high: float
    p: float  # of Wilcoxon's signed-rank test over lesions, of Student's t-test over seeds; NaN without spread
    lesions: int


class Comparison(NamedTuple):
    """Paired differences between two groups of runs in one metric."""

    by_seed: dict[str, Difference]  # over lesions, for each seed that both groups have and that left lesions to compare
    lesions: Difference | None  # over lesions, whose metrics are averaged over those seeds
    seeds: Difference | None  # over seeds; None with fewer than two


def interval_text(difference: Difference | None) -> str:
    """The interval of a fraction's difference in percentage points; empty where there is none."""
    known = difference and not np.isnan(difference.low)
    return f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}" if difference and known else ""


def p_text(difference: Difference) -> str:
    """The p of a difference; "identical" where there is none at all, empty where nothing tells how large chance is."""
    if np.isnan(difference.p):
        return "" if difference.mean else "identical"
    return f"{difference.p:.2g}"


def paired_difference(
    ours: "pd.Series", theirs: "pd.Series", groups: Mapping[str, str] | None = None
) -> Difference | None:
    """Ours minus theirs, values by lesion, over the lesions that both have; None with fewer than two of them.

    ``groups`` maps lesions to groups, such as patients, within which they are not independent: Wilcoxon's test sees the
    groups' means, and so does the interval (see `bootstrap_interval`).
    """
    from scipy.stats import wilcoxon  # slow to import

    differences = (ours - theirs).dropna().sort_index()
    if len(differences) < 2:
        return None
    names = [(groups or {}).get(lesion, lesion) for lesion in differences.index]
    means = differences.groupby(names).mean().to_numpy(float).round(9)  # equal ones must tie in ranks
    p = float(wilcoxon(means).pvalue) if means.any() and len(means) > 1 else np.nan
    return Difference(*bootstrap_interval(differences.to_numpy(float), names), p, len(differences))


def seed_difference(by_seed: Sequence[Difference]) -> Difference | None:
    """Mean difference over seeds, with an interval for the randomness of training; None with fewer than two seeds."""
    from scipy.stats import ttest_1samp  # slow to import

    if len(by_seed) < 2:
        return None
    means = np.array([difference.mean for difference in by_seed])
    lesions = min(difference.lesions for difference in by_seed)
    if np.ptp(means) == 0:  # without spread there is nothing to judge by
        return Difference(means[0], means[0], means[0], np.nan, lesions)
    test = ttest_1samp(means, 0)
    interval = test.confidence_interval(0.95)
    return Difference(means.mean(), interval.low, interval.high, test.pvalue, lesions)


def lesion_table(runs: Mapping[Any, Mapping[str, Any]], metric: str) -> "pd.DataFrame":
    """A metric with a row per lesion and a column per run, NaN where a run leaves the lesion out.

    Raises:
        UserError: a run's CSV is damaged.
    """
    import pandas as pd  # slow to import

    return pd.DataFrame({name: read_lesion_metrics(run, metric) for name, run in runs.items()})


def mean_by_lesion(table: "pd.DataFrame") -> "pd.Series":
    """Each lesion's mean over the runs of a `lesion_table`, for the lesions that every run has scored."""
    return table.dropna().mean(axis=1)


def compare_groups(ours: RunGroup, theirs: RunGroup, metric: str) -> Comparison:
    """Ours minus theirs, seed by seed; a baseline, which has no seed, is compared with every seed."""
    our_runs, their_runs = ({str(run["settings"].get("seed")): run for run in group.runs} for group in (ours, theirs))
    if theirs.target is None:
        their_runs = dict.fromkeys(our_runs, theirs.runs[0])
    seeds = sorted(our_runs.keys() & their_runs.keys())
    first, second = (lesion_table({seed: runs[seed] for seed in seeds}, metric) for runs in (our_runs, their_runs))
    groups = read_groups(our_runs[seeds[0]]) if seeds else {}
    pairs = [(seed, paired_difference(first[seed], second[seed], groups)) for seed in seeds]
    by_seed = {seed: difference for seed, difference in pairs if difference}
    lesions = paired_difference(mean_by_lesion(first), mean_by_lesion(second), groups)
    return Comparison(by_seed, lesions, seed_difference(list(by_seed.values())))
