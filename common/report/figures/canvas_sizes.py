"""What a canvas's size gives and costs: Dice, seconds and FLOPs over its area."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.data.images import NAVY
from common.evaluation.results import read_results
from common.patches import CANVAS
from common.recipe import HISTORY, METHODS
from common.report.figures.curves import log_scale, style
from common.report.figures.page import FAINT, SMALL, WIDTH, rgb, save_figure
from common.report.runs import RunGroup, group_runs
from common.report.significance import Difference, compare_runs
from common.utils.errors import UserError
from common.utils.files import read_csv

HEADER = [
    *("canvas", "runs", "lesions", "Dice %", "minus the largest", "95 % over lesions", "95 % over seeds"),
    *("ms an image", "GFLOPs"),
]


@dataclass(frozen=True)
class Measured:
    """What was measured on one canvas."""

    canvas: tuple[int, int]
    """(rows, columns) in px."""
    row: RunGroup
    """The runs on it."""
    seconds: float
    """A training image's."""
    flops: float
    """A training image's."""

    @property
    def area(self) -> int:
        """In px²."""
        return self.canvas[0] * self.canvas[1]


def read_canvas_sizes(folders: Sequence[Path]) -> list[Measured]:
    """Read experiments that differ in nothing but the canvas, the smallest canvas first.

    Args:
        folders: what `experiment` wrote, one for each canvas, with one method in each.

    Raises:
        UserError: no results or histories in a folder, several kinds of runs, or two folders of one canvas.
    """
    measured = sorted(map(_read, folders), key=lambda one: one.area)
    for one, other in pairwise(measured):
        if one.canvas == other.canvas:
            raise UserError(f"two folders hold runs on {one.row.block['canvas']}; name each canvas once")
    return measured


def _read(folder: Path) -> Measured:
    rows = [row for row in group_runs(read_results([folder])) if row.target is not None]
    if len(rows) != 1:
        kinds = ", ".join(row.name for row in rows) or "none"
        raise UserError(f"{folder} must hold runs of one method with the same settings, and holds {kinds}")
    (row,) = rows
    epochs = [1 / float(line["images_per_second"]) for path in folder.rglob(f"*{HISTORY}") for line in read_csv(path)]
    if not epochs:
        raise UserError(f"{folder} holds no *{HISTORY}, which tells how long training took")
    from common.model import build_network, count_flops  # torch takes seconds to import

    told = row.runs[0]["settings"]
    canvas = told["canvas"][0], told["canvas"][1]
    network = build_network(METHODS[row.runs[0]["method"]], told["encoder"], told["clusters"])
    return Measured(canvas, row, float(np.median(epochs)), count_flops(network, canvas))


def canvas_table(measured: Sequence[Measured]) -> list[list[str]]:
    """A line of cells for each canvas, as `HEADER`; differences as in `statistics`, in percentage points.

    Raises:
        UserError: a CSV of lesions is damaged.
    """
    lines = []
    for one in measured:
        cells, spread = ["", "", ""], one.row.spread("dice")
        if one is not measured[-1]:
            compared = compare_runs(one.row, measured[-1].row, "dice")
            gap = f"{100 * compared.lesions.mean:+.2f}" if compared.lesions else ""
            cells = [gap, _interval(compared.lesions), _interval(compared.seeds)]
        dice = f"{one.row.mean('dice'):.2f}" + (f"±{spread:.2f}" if spread is not None else "")
        head = [one.row.block["canvas"], str(len(one.row.runs)), str(one.row.lesions), dice]
        lines.append([*head, *cells, f"{1e3 * one.seconds:.0f}", f"{one.flops / 1e9:.1f}"])
    return lines


def _interval(difference: Difference | None) -> str:
    return f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}" if difference else ""


def draw_canvas_sizes(path: Path, measured: Sequence[Measured]) -> None:
    """Write three panels over the canvas's area: Dice with its spread, seconds and FLOPs of an image."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    gain, *costs = panels = figure.subplots(1, 3)
    areas = np.array([one.area for one in measured], float)
    look: dict[str, Any] = {"color": rgb(NAVY), "marker": "o", "markersize": 5, "linewidth": 1.6}
    style(gain, "Dice, %: mean ± spread")
    spread = [one.row.spread("dice") or 0 for one in measured]
    gain.errorbar(areas, [one.row.mean("dice") for one in measured], spread, capsize=3, **look)

    guide: dict[str, Any] = {"color": rgb(FAINT), "linestyle": "--", "label": "in proportion to the area"}
    seconds, gigaflops = [one.seconds for one in measured], [one.flops / 1e9 for one in measured]
    titled = (("seconds a training image", seconds), ("GFLOPs a training image", gigaflops))
    for axis, (title, values) in zip(costs, titled, strict=True):
        style(axis, title)
        axis.plot(areas, values[0] * areas / areas[0], **guide)
        axis.plot(areas, values, **look)
        log_scale(axis)
        axis.legend(fontsize=SMALL, frameon=False, loc="upper left")
    names = [one.row.block["canvas"] for one in measured]
    for axis in panels:
        axis.set_xscale("log")
        axis.xaxis.minorticks_off()
        axis.set_xticks(areas, names, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_xlabel(f"canvas, by area (published: {CANVAS[0]}x{CANVAS[1]})", fontsize=SMALL)
    save_figure(figure, path)
