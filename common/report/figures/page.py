"""The look that all pictures share, and the drawing of patches, masks and ellipses on matplotlib's axes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from common.patches import PATCH
from common.utils.drawing import Colour
from common.utils.files import atomic_path

WIDTH = 9.0  # inches; a README shows a picture about 900 px wide, where 8 pt are 11 px
DPI = 160
SMALL, TEXT, TITLE = 8, 9, 10.5  # pt
INK, FAINT, WHITE = (34, 34, 34), (150, 150, 150), (255, 255, 255)  # text and lines, context, a plot's background


def rgb(colour: Colour) -> tuple[float, float, float]:
    """Convert a colour of 0..255 to matplotlib's 0..1."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


# Matplotlib's settings for pages of patches, and for plots.
STYLE: dict[Any, Any] = {"font.size": SMALL, "axes.titlesize": SMALL, "text.color": rgb(INK), "patch.linewidth": 0.6}
PLOTS: dict[Any, Any] = {"font.size": SMALL, "axes.titlesize": TEXT, "axes.titlecolor": rgb(INK), "axes.grid": True}
PLOTS |= {"grid.color": rgb(FAINT), "grid.alpha": 0.3, "grid.linewidth": 0.6, "legend.frameon": False}
PLOTS |= {"axes.spines.top": False, "axes.spines.right": False}
HEADING: dict[str, Any] = {"fontsize": TITLE, "weight": "bold"}
BLANK: dict[str, Any] = {"frame_on": False, "xticks": [], "yticks": []}  # an axis until something is drawn on it
ARROW: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.1, "color": rgb(INK)}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically; equal figures give equal bytes, whatever matplotlib's version."""
    with atomic_path(path) as temporary:
        metadata, encoding = {"Software": None}, {"optimize": True}  # no version; small enough for a repository
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata=metadata, pil_kwargs=encoding)


def draw_frame(axis: Axes, colour: Colour = FAINT, width: float = 0.6, fill: Colour = WHITE) -> None:
    """Give a `BLANK` axis a border ``width`` points wide and a background; its units are px of a patch."""
    axis.set(frame_on=True, xlim=(-0.5, PATCH - 0.5), ylim=(PATCH - 0.5, -0.5), facecolor=rgb(fill))
    axis.spines[:].set(color=rgb(colour), linewidth=width)


def draw_image(axis: Axes, image: np.ndarray) -> None:
    """Fill a `BLANK` axis with an (H, W, 3) uint8 RGB image; its units are px of the image."""
    axis.imshow(image, aspect="auto", interpolation="bilinear")
    axis.set_autoscale_on(False)


def draw_outline(axis: Axes, mask: np.ndarray, colour: Colour, width: float = 1.4) -> None:
    """Draw the outline of a (120, 120) 0/1 mask on a patch; nothing for an empty mask."""
    if mask.any():
        places = range(-1, PATCH + 1)  # a border of zeros closes the outline of a mask that reaches the edge
        axis.contour(places, places, np.pad(mask, 1), [0.5], colors=[rgb(colour)], linewidths=width)


def draw_ellipses(axis: Axes, recist: np.ndarray, colours: Sequence[Colour], width: float, alpha: float = 1) -> None:
    """Draw the outlines of (n, 5) ellipses in px of a patch, in one colour for all or in n."""
    place: dict[str, Any] = {"units": "xy", "offsets": recist[:, :2], "offset_transform": axis.transData}
    look: dict[str, Any] = {"facecolors": "none", "edgecolors": [rgb(colour) for colour in colours], "alpha": alpha}
    widths, heights, angles = recist[:, 2:].T
    axis.add_collection(EllipseCollection(widths, heights, angles, linewidths=width, **place, **look), autolim=False)


def connect(start: Axes, end: Axes) -> None:
    """Draw an arrow between two axes that lie beside or above each other."""
    offset = end.get_position().get_points() - start.get_position().get_points()
    direction = np.sign(offset.mean(axis=0).round(6))
    ends: dict[str, Any] = {"xytext": 0.5 + direction / 2, "textcoords": start.transAxes, "xycoords": end.transAxes}
    start.annotate("", 0.5 - direction / 2, **ends, arrowprops={**ARROW, "shrinkA": 5, "shrinkB": 5})
