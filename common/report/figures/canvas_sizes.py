"""What a larger canvas gives and costs: Dice, seconds and FLOPs against the canvas's area."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from common.evaluation.results import read_results
from common.patches import CANVAS
from common.recipe import METHODS
from common.report.figures.curves import use_log_scale
from common.report.figures.page import FAINT, PLOTS, WIDTH, rgb, save_figure
from common.report.runs import RunGroup, group_runs
from common.report.significance import compare_groups, interval_text
from common.training.config import HISTORY
from common.utils.drawing import NAVY
from common.utils.errors import UserError
from common.utils.files import read_csv

HEADER = ["canvas", "runs", "lesions", "Dice %", "minus the largest", "95 % over lesions", "95 % over seeds"]
HEADER += ["ms an image", "GFLOPs"]


class CanvasRuns(NamedTuple):
    """The runs on one canvas, and what a training image costs on it."""

    canvas: tuple[int, int]  # (rows, columns) in px
    group: RunGroup
    seconds: float  # the median of all epochs
    flops: float


def read_canvas_sizes(folders: Sequence[Path]) -> list[CanvasRuns]:
    """Read experiments that differ only in the canvas, the smallest canvas first.

    Args:
        folders: one for each canvas, as `python common experiment` writes them, with a single method in each.

    Raises:
        UserError: a folder without results or histories or with several kinds of runs, or two folders with the same
            canvas or with other differences.
    """
    canvases = sorted(map(_read, folders), key=lambda runs: prod(runs.canvas))
    for runs, larger in pairwise(canvases):
        if runs.canvas == larger.canvas:
            raise UserError(f"two folders hold runs on {runs.group.settings['canvas']}; name each canvas once")
        if differing := sorted(runs.group.differences(larger.group) - {"canvas"}):
            raise UserError(f"the runs on two of the canvases differ in {', '.join(differing)} too; train them alike")
    return canvases


def _read(folder: Path) -> CanvasRuns:
    from common.model import build_network, count_flops  # torch takes seconds to import

    groups = [group for group in group_runs(read_results([folder])) if group.target]
    if len(groups) != 1:
        kinds = ", ".join(group.name for group in groups) or "none"
        raise UserError(f"{folder} must hold runs of one method with the same settings, and holds {kinds}")
    rows = [row for path in sorted(folder.rglob(f"*{HISTORY}")) for row in read_csv(path)]
    try:
        seconds = [1 / float(row["images_per_second"]) for row in rows]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"a *{HISTORY} in {folder} is not the history of a training; remove it") from error
    if not seconds:
        raise UserError(f"{folder} holds no *{HISTORY}, which tells how long training took")
    run = groups[0].runs[0]
    canvas = tuple(run["settings"]["canvas"])
    network = build_network(METHODS[run["method"]], run["settings"]["encoder"], run["settings"]["clusters"])
    return CanvasRuns(canvas, groups[0], float(np.median(seconds)), count_flops(network, canvas))


def canvas_table(canvases: Sequence[CanvasRuns]) -> list[list[str]]:
    """A row of cells for each canvas, as `HEADER`; differences from the largest canvas are in percentage points.

    Raises:
        UserError: the CSV of an evaluation is damaged.
    """
    rows, largest = [], canvases[-1].group
    for _, group, seconds, flops in canvases:
        *_, lesions, seeds = compare_groups(group, largest, "dice") if group is not largest else (None, None)
        mean = f"{100 * lesions.mean:+.2f}" if lesions else ""
        runs = [group.settings["canvas"], str(len(group.runs)), str(group.lesions), group.text("dice")]
        differences = [mean, interval_text(lesions), interval_text(seeds)]
        rows.append([*runs, *differences, f"{1e3 * seconds:.0f}", f"{flops / 1e9:.1f}"])
    return rows


@rc_context(PLOTS)
def draw_canvas_sizes(path: Path, canvases: Sequence[CanvasRuns]) -> None:
    """Write a picture of Dice with its spread, and of a training image's seconds and FLOPs, against the area."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    gain, *costs = panels = figure.subplots(1, 3)
    groups, areas = [runs.group for runs in canvases], np.array([prod(runs.canvas) for runs in canvases], float)
    curve: dict[str, Any] = {"color": rgb(NAVY), "marker": "o", "markersize": 5, "linewidth": 1.6}
    gain.set_title("Dice, %: mean ± spread")
    spreads = np.nan_to_num([group.spread("dice") for group in groups])
    gain.errorbar(areas, [group.mean("dice") for group in groups], spreads, capsize=3, **curve)

    guide: dict[str, Any] = {"color": rgb(FAINT), "linestyle": "--", "label": "in proportion to the area"}
    seconds, gigaflops = [runs.seconds for runs in canvases], [runs.flops / 1e9 for runs in canvases]
    for axis, values, name in zip(costs, (seconds, gigaflops), ("seconds", "GFLOPs"), strict=True):
        axis.set_title(f"{name} a training image")
        use_log_scale(axis)
        axis.plot(areas, values[0] * areas / areas[0], **guide)
        axis.plot(areas, values, **curve)
        axis.legend(loc="upper left")
    for axis in panels:
        axis.set(xscale="log", xlabel=f"canvas, by area (published: {CANVAS[0]}x{CANVAS[1]})")
        axis.xaxis.minorticks_off()
        names = [group.settings["canvas"] for group in groups]
        axis.set_xticks(areas, names, rotation=45, ha="right", rotation_mode="anchor")
    save_figure(figure, path)
