"""What a canvas's size gives and costs: Dice, seconds and FLOPs over its area."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common.curves import log_scale, style
from common.drawing import NAVY
from common.errors import UserError
from common.files import read_csv
from common.page import FAINT, SMALL, WIDTH, rgb, save_figure
from common.patches import CANVAS


@dataclass(frozen=True)
class Measured:
    """What was measured on one canvas."""

    canvas: tuple[int, int]
    """(rows, columns) in px."""
    dice_mean: float
    dice_spread: float
    """Both fractions."""
    seconds: float
    """A training image."""
    flops: float
    """An image."""

    @property
    def area(self) -> int:
        """In px²."""
        return self.canvas[0] * self.canvas[1]


def read_canvases(path: Path) -> list[Measured]:
    """Read measurements, the smallest canvas first.

    Raises:
        UserError: there are none, a column is missing, or a cell is no number.
    """
    measured = []
    for line, row in enumerate(read_csv(path), 2):
        try:
            rows, columns = re.fullmatch(r"(\d+)x(\d+)", row["canvas"]).groups()  # type: ignore[union-attr]
            figures = [float(row[name]) for name in ("dice_mean", "dice_spread", "seconds", "flops")]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"line {line} of {path} lacks a canvas such as 384x480, or a number in dice_mean, dice_spread, "
                "seconds or flops; mend it"
            ) from error
        measured.append(Measured((int(rows), int(columns)), *figures))
    if not measured:
        raise UserError(f"{path} has no measurements; give it a line for each canvas")
    return sorted(measured, key=lambda one: one.area)


def draw_canvases(path: Path, measured: Sequence[Measured]) -> None:
    """Write three panels over the canvas's area: Dice with its spread, seconds and FLOPs of an image."""
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    gain, *costs = panels = figure.subplots(1, 3)
    areas = np.array([one.area for one in measured], float)
    look: dict[str, Any] = {"color": rgb(NAVY), "marker": "o", "markersize": 5, "linewidth": 1.6}
    style(gain, "Dice, %: mean ± spread")
    spread = [100 * one.dice_spread for one in measured]
    gain.errorbar(areas, [100 * one.dice_mean for one in measured], spread, capsize=3, **look)

    guide: dict[str, Any] = {"color": rgb(FAINT), "linestyle": "--", "label": "in proportion to the area"}
    seconds, gigaflops = [one.seconds for one in measured], [one.flops / 1e9 for one in measured]
    titled = (("seconds a training image", seconds), ("GFLOPs an image", gigaflops))
    for axis, (title, values) in zip(costs, titled, strict=True):
        style(axis, title)
        axis.plot(areas, values[0] * areas / areas[0], **guide)
        axis.plot(areas, values, **look)
        log_scale(axis)
        axis.legend(fontsize=SMALL, frameon=False, loc="upper left")
    names = [f"{one.canvas[0]}x{one.canvas[1]}" for one in measured]
    for axis in panels:
        axis.set_xscale("log")
        axis.xaxis.minorticks_off()
        axis.set_xticks(areas, names, rotation=45, ha="right", rotation_mode="anchor")
        axis.set_xlabel(f"canvas, by area (published: {CANVAS[0]}x{CANVAS[1]})", fontsize=SMALL)
    save_figure(figure, path)
