"""Learning curves: losses and Dice of trainings by epoch."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from common.evaluation.results import read_evaluation
from common.recipe import METHODS
from common.report.figures.page import INK, PLOTS, TEXT, WIDTH, rgb, save_figure
from common.report.runs import setting_text
from common.training.config import HISTORY
from common.utils.drawing import BLUE, GREEN, NAVY, ORANGE, PURPLE, VERMILION
from common.utils.errors import UserError
from common.utils.files import read_csv

PANELS = {
    "train_total": "training loss, weighted",
    "val_mask": "validation BCE of the mask",
    "val_dice": "validation Dice, %",
}  # columns of a history that are drawn, and their titles; only the training loss contains the recipe's weights
NOT_COMPARED = ("dataset", "method", "seed", "epoch", "versions", "groups")  # settings that aren't named in a label
COLOURS = (NAVY, ORANGE, GREEN, PURPLE, BLUE, VERMILION)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # tell curves apart in black and white too
THIN: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.6}
RING: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "white", "linestyle": "none", "zorder": 3}


class History(NamedTuple):
    """One training, epoch by epoch."""

    dataset: str  # empty where neither checkpoint nor evaluation is found
    method: str  # as in the paper's table, else the file's stem
    settings: Mapping[str, Any]  # the training's, without `NOT_COMPARED`
    columns: Mapping[str, np.ndarray]  # (E,) values of "epoch" and each of `PANELS`
    best: int  # index of the best epoch


def read_history(path: Path) -> History:
    """Read `<stem>.history.csv`, and the training's settings from its checkpoint or its evaluation, where there is one.

    They are `<stem>.pt` beside it, or `<stem>.json` beside it or, as an experiment leaves them, in `../results`.

    Raises:
        UserError: not a history, or checkpoint or evaluation is damaged.
    """
    rows = read_csv(path)
    try:
        columns = {name: np.array([float(row[name]) for row in rows]) for name in ("epoch", "best", *PANELS)}
        best = int(np.flatnonzero(columns["best"])[-1])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not the history of a training; pass a file *{HISTORY}") from error
    stem = path.name.removesuffix(HISTORY)
    settings = _find_settings(path.parent, stem)
    dataset, method = str(settings.get("dataset", "")), METHODS.get(settings.get("method", ""))
    own = {name: value for name, value in settings.items() if name not in NOT_COMPARED}
    return History(dataset, method.label if method else stem, own, columns, best)


def _find_settings(folder: Path, stem: str) -> Mapping[str, Any]:
    if (checkpoint := folder / f"{stem}.pt").is_file():
        from common.training.checkpoint import load_checkpoint  # torch takes seconds to import

        return load_checkpoint(checkpoint).settings
    for file in (folder / f"{stem}.json", folder.parent / "results" / f"{stem}.json"):
        if file.is_file() and (evaluation := read_evaluation(file)):
            return evaluation.get("training", {})
    return {}


def group_histories(histories: Sequence[History]) -> dict[str, dict[str, list[History]]]:
    """Group trainings that differ in the seed only, by dataset and label.

    The label is the method, with the settings in which trainings of that method on that dataset differ.
    """
    groups: dict[str, dict[str, list[History]]] = defaultdict(lambda: defaultdict(list))
    for history in histories:
        peers = [peer.settings for peer in histories if peer[:2] == history[:2]]
        label = history.method
        for name, value in history.settings.items():
            if any(peer.get(name) != value for peer in peers):
                label += f", {name} {setting_text(value)[: 8 if name == 'prepared' else None]}"
        groups[history.dataset][label].append(history)
    return groups


@rc_context(PLOTS)
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
            axis.set(title=f"{dataset}: {title}" if dataset else title, xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            if column != "val_dice":
                use_log_scale(axis)
            for label, members in groups.items():
                legend[label] = _draw_group(axis, members, column, labels.index(label))
    if len(histories) > sum(map(len, datasets.values())):
        legend["one seed"] = Line2D([], [], **THIN, color=rgb(INK))
    legend["best epoch"] = Line2D([], [], **RING, color=rgb(INK))
    columns = min(max(120 // (max(map(len, legend)) + 8), 1), len(legend))  # the page is about 120 letters wide
    place: dict[str, Any] = {"loc": "outside upper center", "ncols": columns, "fontsize": TEXT, "handlelength": 2.8}
    figure.legend(legend.values(), legend.keys(), **place)
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


def use_log_scale(axis: Axes) -> None:
    """Give a panel a logarithmic y axis, with several ticks even over a short range."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.minorticks_off()
