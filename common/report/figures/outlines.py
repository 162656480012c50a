"""What true outlines give to a network that sees RECIST marks, against the quarter-ellipses of the same marks."""

from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from common.evaluation.results import read_results
from common.recipe import A1RECIST
from common.report.figures.page import PLOTS, WIDTH, rgb, save_figure
from common.report.runs import RunGroup, group_runs
from common.report.significance import compare_groups, interval_text
from common.utils.drawing import BLUE, GREEN, NAVY, ORANGE
from common.utils.errors import UserError

HEADER = ["marks moved by, %", "outlines", "runs", "lesions", "Dice %", "minus quarters"]
HEADER += ["95 % over lesions", "95 % over seeds"]
_COLOURS = (NAVY, BLUE, GREEN, ORANGE)
_MAY_DIFFER = {"outlines", "prompt_noise", "noise_seed"}  # settings of runs in one picture


class OutlineRuns(NamedTuple):
    """Runs of A1+R with the same number of outlines and the same noise, and the quarters of the same marks."""

    noise: float  # per cent of the long diameter
    outlines: int
    group: RunGroup
    quarters: RunGroup


def read_outlines(folders: Sequence[Path]) -> list[OutlineRuns]:
    """Read results of A1+R that differ only in outlines, marks and seed, by noise and then by outlines.

    Raises:
        UserError: there are none, they differ in more, or the quarters were not scored on the same marks.
    """
    groups = group_runs(read_results(folders))
    quarters = {group.scoring: group for group in groups if group.target is None and "quarters" in group.label}
    networks = [group for group in groups if group.label == A1RECIST.label and group.competes]
    if differing := sorted(
        {name for first, second in pairwise(networks) for name in first.differences(second)} - _MAY_DIFFER
    ):
        raise UserError(f"{folders[0]} holds results of A1+R that differ in {', '.join(differing)}")
    if not networks:
        raise UserError(f"{folders[0]} holds no results of A1+R")
    for group in networks:
        if group.scoring not in quarters:
            raise UserError(
                f"{folders[0]} lacks the quarters of marks moved by {_noise(group):g} %; run python common baselines "
                f"--prompt-noise {_noise(group):g} with --results there, and --seed and --limit as for the network"
            )
    runs = [
        OutlineRuns(_noise(group), group.runs[0]["training"].get("outlines") or 0, group, quarters[group.scoring])
        for group in networks
    ]
    runs.sort(key=lambda run: (run.noise, run.outlines))
    for first, second in pairwise(runs):
        if first[:2] == second[:2]:
            raise UserError(f"{folders[0]} holds results of two seeds of noise, or kinds of A1+R, for the same point")
    return runs


def _noise(group: RunGroup) -> float:
    return group.runs[0]["settings"].get("prompt_noise") or 0.0


def outline_table(runs: Sequence[OutlineRuns]) -> list[list[str]]:
    """A row of cells for each of the runs, as `HEADER`; differences are in percentage points of Dice.

    Raises:
        UserError: the CSV of an evaluation is damaged.
    """
    rows = []
    for noise, outlines, group, quarters in runs:
        _, lesions, seeds = compare_groups(group, quarters, "dice")
        mean = f"{group.mean('dice') - quarters.mean('dice'):+.2f}"
        counts = [f"{noise:g}", str(outlines), str(len(group.runs)), str(group.lesions)]
        rows.append([*counts, group.text("dice"), mean, interval_text(lesions), interval_text(seeds)])
    return rows


@rc_context(PLOTS)
def draw_outlines(path: Path, runs: Sequence[OutlineRuns]) -> None:
    """Write a picture of Dice against the number of outlines, one curve per noise level; the quarters' are dashed."""
    figure = Figure(figsize=(WIDTH / 1.5, 3.2), layout="constrained")
    axis = figure.subplots()
    for noise, colour in zip(sorted({run.noise for run in runs}), cycle(_COLOURS)):
        own = [run for run in runs if run.noise == noise]
        outlines, dice = [run.outlines for run in own], [run.group.mean("dice") for run in own]
        spreads = np.nan_to_num([run.group.spread("dice") for run in own])
        axis.axhline(own[0].quarters.mean("dice"), color=rgb(colour), linestyle="--", linewidth=1)
        axis.errorbar(
            outlines, dice, spreads, capsize=3, marker="o", markersize=4, color=rgb(colour), label=f"{noise:g} %"
        )
    axis.set_xscale("symlog", linthresh=10)
    ticks = sorted({run.outlines for run in runs})
    axis.set_xticks(ticks, map(str, ticks))
    axis.xaxis.minorticks_off()
    axis.set(xlabel="true outlines in training", title="Dice, %: A1+R (mean ± spread) and quarters (dashed)")
    axis.legend(title="marks moved by", loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)
