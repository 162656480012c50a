"""Is it real? Paired differences between methods over the same lesions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.errors import UserError
from common.files import read_csv
from common.metrics import bootstrap_interval
from common.recipe import A1CLASS
from common.results import Row, blocks


class Difference(NamedTuple):
    """Mean paired difference with its 95 % bootstrap interval and Wilcoxon's signed-rank p."""

    mean: float
    low: float
    high: float
    p: float
    """NaN where no two values differ."""
    lesions: int


class Comparison(NamedTuple):
    """A paired difference between two rows of the table."""

    ours: Row
    theirs: Row
    figure: str
    over: str
    """"seed 0", or "mean of 3 seeds"."""
    difference: Difference


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


def read_lesions(result: Mapping[str, Any], figure: str) -> dict[str, float]:
    """A figure by lesion, from the CSV beside an evaluation's JSON; empty where it is not there.

    Raises:
        UserError: the CSV is damaged, or its lesions are not as many as the JSON says.
    """
    path = result["path"].with_suffix(".csv")
    if not path.is_file():
        return {}
    rows, remedy = read_csv(path), "delete it and run the eval script again"
    try:
        values = {row["lesion"]: float(row[figure]) if row[figure] != "" else math.nan for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    if not len(values) == len(rows) == result["lesions"]:
        raise UserError(
            f"{path} is damaged: it has {len(values)} lesions in {len(rows)} rows, not {result['lesions']}; {remedy}"
        )
    return {name: value for name, value in values.items() if not math.isnan(value)}  # an undefined figure is empty


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """A1+L minus every other row of its block, over the lesions' means over seeds; minus methods for each seed too."""
    return [
        comparison
        for block in blocks(rows)
        for ours in block
        if ours.label == A1CLASS.label
        for theirs in block
        if theirs is not ours
        for figure in ("dice", "iou")
        for comparison in _compare(ours, theirs, figure)
    ]


def _compare(ours: Row, theirs: Row, figure: str) -> list[Comparison]:
    mine, others = ({run["settings"].get("seed"): run for run in row.runs} for row in (ours, theirs))
    if theirs.target is None:  # a floor is the same for every seed
        others = dict.fromkeys(mine, theirs.runs[0])
    seeds = sorted(mine.keys() & others.keys(), key=str)
    first, second = ([read_lesions(runs[seed], figure) for seed in seeds] for runs in (mine, others))
    pairs = {f"seed {seed}": pair for seed, pair in zip(seeds, zip(first, second, strict=True), strict=True)}
    if len(seeds) > 1:
        together = {f"mean of {len(seeds)} seeds": (mean_by_lesion(first), mean_by_lesion(second))}
        pairs = pairs | together if theirs.competes else together
    found = {over: paired_difference(*pair) for over, pair in pairs.items()}
    return [Comparison(ours, theirs, figure, over, it) for over, it in found.items() if it is not None]
