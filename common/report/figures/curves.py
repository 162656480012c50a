"""Learning curves: how trainings went, epoch by epoch."""

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
"""Columns of a history that are drawn. Only the training loss has the recipe's weights in it."""
SEED_ONLY = ("seed", "epoch", "versions")
"""What may differ between trainings that are averaged."""
COLOURS = (NAVY, ORANGE, GREEN, PURPLE, BLUE, VERMILION)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
"""Beside the colour, so that a print in black and white tells curves apart too."""
THIN: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.6}
RING: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "white", "linestyle": "none", "zorder": 3}


@dataclass(frozen=True)
class History:
    """One training, epoch by epoch."""

    dataset: str
    """Empty where no checkpoint tells."""
    method: str
    """As the paper calls it, else the file's stem."""
    settings: Mapping[str, Any]
    """The checkpoint's recipe, without dataset, method and what a seed may change."""
    columns: Mapping[str, np.ndarray]
    """(E,) figures by name, "epoch" among them."""
    best: int
    """Index of the best epoch."""


def read_history(path: Path) -> History:
    """Read `<stem>.history.csv` and, from the checkpoint `<stem>.pt` beside it, what was trained.

    Raises:
        UserError: no history.
    """
    rows = read_csv(path)
    try:
        columns = {name: np.array([float(row[name]) for row in rows]) for name in ("epoch", "best", *PANELS)}
        best = int(np.flatnonzero(columns["best"])[-1])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} is not the history of a training; pass a file *{HISTORY}") from error
    stem = path.name.removesuffix(HISTORY)
    checkpoint, recipe = path.with_name(f"{stem}.pt"), {}
    if checkpoint.is_file():
        from common.training.checkpoint import load_checkpoint  # torch takes seconds to import

        recipe = load_checkpoint(checkpoint).settings
    settings = {name: value for name, value in recipe.items() if name not in ("dataset", "method", *SEED_ONLY)}
    method = METHODS[recipe["method"]].label if recipe.get("method") in METHODS else stem
    return History(str(recipe.get("dataset", "")), method, settings, columns, best)


def group(histories: Sequence[History]) -> dict[str, dict[str, list[History]]]:
    """Trainings that differ in the seed only, by dataset and label.

    The label is the method and, where trainings of one method differ, the settings in which they do.
    """
    found: dict[str, dict[str, list[History]]] = defaultdict(lambda: defaultdict(list))
    for history in histories:
        kind = history.dataset, history.method
        alike = [other.settings for other in histories if (other.dataset, other.method) == kind]
        differing = [
            f"{name} {'x'.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in history.settings.items()
            if any(other.get(name) != value for other in alike)
        ]
        found[history.dataset][", ".join([history.method, *differing])].append(history)
    return found


def draw_histories(path: Path, histories: Sequence[History]) -> None:
    """Write a row of panels for each dataset: training loss, validation loss and Dice by epoch.

    Each training has a ring at its best epoch. Several with one label are thin lines, and the thick one is their mean
    over the epochs that all of them reached.
    """
    datasets = group(histories)
    labels = list(dict.fromkeys(label for of_dataset in datasets.values() for label in of_dataset))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.1 * len(datasets)), layout="constrained")
    axes = figure.subplots(len(datasets), len(PANELS), squeeze=False)
    lines = {}
    for row, (dataset, of_dataset) in zip(axes, datasets.items(), strict=True):
        for axis, (name, title) in zip(row, PANELS.items(), strict=True):
            style(axis, f"{dataset}: {title}" if dataset else title)
            axis.set_xlabel("epoch", fontsize=SMALL)
            axis.xaxis.get_major_locator().set_params(integer=True)
            if name != "val_dice":
                log_scale(axis)
            for label, members in of_dataset.items():
                lines[label] = _draw_members(axis, members, name, labels.index(label))
    if any(len(members) > 1 for of_dataset in datasets.values() for members in of_dataset.values()):
        lines["one seed"] = Line2D([], [], **THIN, color=rgb(INK))
    lines["best epoch"] = Line2D([], [], **RING, color=rgb(INK))
    columns = max(120 // (max(map(len, lines)) + 8), 1)  # about 120 letters are as wide as the page
    figure.legend(list(lines.values()), list(lines), loc="outside upper center", ncols=min(columns, len(lines)),
                  fontsize=TEXT, frameon=False, handlelength=2.8)  # fmt: skip
    save_figure(figure, path)


def _draw_members(axis: Axes, members: Sequence[History], name: str, place: int) -> Line2D:
    """One label's curves in one panel; the line that stands for them in the legend."""
    colour, scale = rgb(COLOURS[place % len(COLOURS)]), 100 if name == "val_dice" else 1
    for member in members:
        epochs, values = member.columns["epoch"], scale * member.columns[name]
        if len(members) > 1:
            axis.plot(epochs, values, **THIN, color=colour)
        axis.plot(epochs[member.best], values[member.best], **RING, color=colour)
    common = min(len(member.columns["epoch"]) for member in members)
    mean = scale * np.mean([member.columns[name][:common] for member in members], axis=0)
    epochs = members[0].columns["epoch"][:common]
    return axis.plot(epochs, mean, color=colour, linestyle=DASHES[place % len(DASHES)], linewidth=2)[0]


def style(axis: Axes, title: str) -> None:
    """A panel as all our curves have it."""
    axis.set_title(title, fontsize=TEXT, color=rgb(INK))
    axis.tick_params(labelsize=SMALL)
    axis.grid(color=rgb(FAINT), alpha=0.3, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def log_scale(axis: Axes) -> None:
    """A logarithmic y axis with plain numbers, several of them even where it spans little."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.minorticks_off()
