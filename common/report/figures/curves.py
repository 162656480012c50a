"""Learning curves: losses and Dice of trainings by epoch."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from common.data.images import BLUE, GREEN, NAVY, ORANGE, PURPLE, VERMILION
from common.recipe import HISTORY, METHODS
from common.report.figures.page import FAINT, INK, SMALL, TEXT, WIDTH, rgb, save_figure
from common.utils.errors import UserError
from common.utils.files import read_csv

PANELS = {
    "train_total": "training loss, weighted",
    "val_mask": "validation BCE of the mask",
    "val_dice": "validation Dice, %",
}
"""Columns of a history that are drawn, with their titles. Only the training loss contains the recipe's weights."""
SEED_SETTINGS = ("seed", "epoch", "versions")
"""Settings that may differ between trainings of one group."""
COLOURS = (NAVY, ORANGE, GREEN, PURPLE, BLUE, VERMILION)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Beside the colour, to tell curves apart in black and white too."""
THIN: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.6}
RING: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "white", "linestyle": "none", "zorder": 3}


@dataclass(frozen=True)
class History:
    """One training, epoch by epoch."""

    dataset: str
    """Empty where there is no checkpoint."""
    method: str
    """As in the paper's table, else the file's stem."""
    settings: Mapping[str, Any]
    """The checkpoint's settings without dataset, method and `SEED_SETTINGS`."""
    columns: Mapping[str, np.ndarray]
    """(E,) values of "epoch" and each of `PANELS`."""
    best: int
    """Index of the best epoch."""


def read_history(path: Path) -> History:
    """Read `<stem>.history.csv` and the settings in the checkpoint `<stem>.pt` beside it, where there is one.

    Raises:
        UserError: not a history.
    """
    rows = read_csv(path)
    try:
        columns = {name: np.array([float(row[name]) for row in rows]) for name in ("epoch", "best", *PANELS)}
        best = int(np.flatnonzero(columns["best"])[-1])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not the history of a training; pass a file *{HISTORY}") from error
    stem = path.name.removesuffix(HISTORY)
    checkpoint, settings = path.with_name(f"{stem}.pt"), {}
    if checkpoint.is_file():
        from common.training.checkpoint import load_checkpoint  # torch takes seconds to import

        settings = load_checkpoint(checkpoint).settings
    dataset, method = str(settings.get("dataset", "")), METHODS.get(settings.get("method", ""))
    own = {name: value for name, value in settings.items() if name not in ("dataset", "method", *SEED_SETTINGS)}
    return History(dataset, method.label if method else stem, own, columns, best)


def group_histories(histories: Sequence[History]) -> dict[str, dict[str, list[History]]]:
    """Group trainings that differ in the seed only, by dataset and label.

    The label is the method, with the settings in which trainings of that method on that dataset differ.
    """
    groups: dict[str, dict[str, list[History]]] = defaultdict(lambda: defaultdict(list))
    for history in histories:
        kind = history.dataset, history.method
        peers = [peer.settings for peer in histories if (peer.dataset, peer.method) == kind]
        label = history.method
        for name, value in history.settings.items():
            if any(peer.get(name) != value for peer in peers):
                label += f", {name} {'x'.join(map(str, value)) if isinstance(value, list) else value}"
        groups[history.dataset][label].append(history)
    return groups


def draw_histories(path: Path, histories: Sequence[History]) -> None:
    """Write a row of panels for each dataset: training loss, validation loss and validation Dice by epoch.

    A ring marks each training's best epoch. Trainings of one group are thin lines, and a thick line is their mean over
    the epochs that all of them reached.
    """
    datasets = group_histories(histories)
    labels = list(dict.fromkeys(label for groups in datasets.values() for label in groups))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.1 * len(datasets)), layout="constrained")
    axes = figure.subplots(len(datasets), len(PANELS), squeeze=False)
    legend = {}
    for row, (dataset, groups) in zip(axes, datasets.items(), strict=True):
        for axis, (column, title) in zip(row, PANELS.items(), strict=True):
            style_axis(axis, f"{dataset}: {title}" if dataset else title, log=column != "val_dice")
            axis.set_xlabel("epoch", fontsize=SMALL)
            axis.xaxis.get_major_locator().set_params(integer=True)
            for label, members in groups.items():
                legend[label] = _draw_group(axis, members, column, labels.index(label))
    if len(histories) > sum(map(len, datasets.values())):
        legend["one seed"] = Line2D([], [], **THIN, color=rgb(INK))
    legend["best epoch"] = Line2D([], [], **RING, color=rgb(INK))
    columns = min(max(120 // (max(map(len, legend)) + 8), 1), len(legend))  # the page is about 120 letters wide
    look: dict[str, Any] = {"fontsize": TEXT, "frameon": False, "handlelength": 2.8}
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=columns, **look)
    save_figure(figure, path)


def _draw_group(axis: Axes, histories: Sequence[History], column: str, number: int) -> Line2D:
    """Draw a group's curves in one panel; returns the line that represents them in the legend."""
    colour, scale = rgb(COLOURS[number % len(COLOURS)]), 100 if column == "val_dice" else 1
    for history in histories:
        epochs, values = history.columns["epoch"], scale * history.columns[column]
        if len(histories) > 1:
            axis.plot(epochs, values, **THIN, color=colour)
        axis.plot(epochs[history.best], values[history.best], **RING, color=colour)
    shortest = min(len(history.columns["epoch"]) for history in histories)
    mean = scale * np.mean([history.columns[column][:shortest] for history in histories], axis=0)
    epochs = histories[0].columns["epoch"][:shortest]
    return axis.plot(epochs, mean, color=colour, linestyle=DASHES[number % len(DASHES)], linewidth=2)[0]


def style_axis(axis: Axes, title: str, log: bool = False) -> None:
    """Give a panel the look that all curves share, and a logarithmic y axis if asked."""
    axis.set_title(title, fontsize=TEXT, color=rgb(INK))
    axis.tick_params(labelsize=SMALL)
    axis.grid(color=rgb(FAINT), alpha=0.3, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if log:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # several ticks even over a short range
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.minorticks_off()
