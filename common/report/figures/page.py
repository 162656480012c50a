"""A picture laid out in inches from its top left corner, so that images, lines and words meet where they should."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse as EllipsePatch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from common.data.images import Colour
from common.patches import PATCH
from common.recist import Ellipse
from common.utils.files import atomic_path

WIDTH = 9.0
"""Inches. A README shows a picture about 900 px wide, in which 8 pt are 11 px."""
DPI = 160
SMALL, TEXT, TITLE = 8, 9, 10.5  # pt
INK, FAINT, PANEL = (34, 34, 34), (150, 150, 150), (244, 244, 242)
"""RGB of words, of what is only context, and of the ground that holds a group together."""


def rgb(colour: Colour) -> tuple[float, float, float]:
    """A colour of 0..255 as matplotlib wants it."""
    return colour[0] / 255, colour[1] / 255, colour[2] / 255


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG: the same figure gives the same bytes."""
    with atomic_path(path) as temporary:
        # Without the default's version of matplotlib, and small enough to lie in a repository.
        figure.savefig(
            temporary,
            format="png",
            dpi=DPI,
            facecolor="white",
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )


class Rect(NamedTuple):
    """Where a picture lies on the page, in inches from the top left corner."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def square(cls, x: float, y: float, side: float) -> "Rect":
        """The place of a patch."""
        return cls(x, y, side, side)

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        """The centre (x, y)."""
        return self.x + self.width / 2, self.y + self.height / 2

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where the middle of pixel (x, y) of a 120x120 patch comes to lie."""
        return self.x + (x + 0.5) / PATCH * self.width, self.y + (y + 0.5) / PATCH * self.height


class Page:
    """A white page to place things on; sizes in inches, lines and letters in points."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        self.figure = Figure(figsize=(width, height))
        self.axis = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        self.axis.set_axis_off()

    def save(self, path: Path) -> None:
        """Write it as a PNG, atomically."""
        save_figure(self.figure, path)

    def text(self, x: float, y: float, words: str, size: float = SMALL, **style: Any) -> None:
        """Words centred on (x, y), unless matplotlib's ``ha`` and ``va`` say otherwise."""
        self.axis.text(x, y, words, **{"fontsize": size, "color": rgb(INK), "ha": "center", "va": "center", **style})

    def image(self, tile: Rect, image: np.ndarray) -> None:
        """An (H, W, 3) uint8 RGB image that fills the tile."""
        extent = (tile.x, tile.right, tile.bottom, tile.y)
        self.axis.imshow(image, extent=extent, aspect="auto", interpolation="bilinear")

    def frame(self, tile: Rect, colour: Colour = FAINT, width: float = 0.6, fill: Colour | None = None) -> None:
        """The tile's border, and its ground where ``fill`` is given."""
        face = "none" if fill is None else rgb(fill)
        edge = rgb(colour) if width else "none"
        self.axis.add_patch(
            Rectangle((tile.x, tile.y), tile.width, tile.height, edgecolor=edge, linewidth=width, facecolor=face)
        )

    def panel(self, tile: Rect) -> None:
        """A light ground with round corners, behind all that is placed on it."""
        corner, style = (tile.x, tile.y), "round,pad=0,rounding_size=0.08"
        box = FancyBboxPatch(corner, tile.width, tile.height, boxstyle=style, linewidth=0, facecolor=rgb(PANEL))
        self.axis.add_patch(box).set_zorder(-1)  # images lie at 0

    def shape(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        """A filled polygon with these corners."""
        self.axis.add_patch(Polygon(points, facecolor=rgb(fill), edgecolor=rgb(INK), linewidth=0.6))

    def arrow(self, *points: tuple[float, float]) -> None:
        """An arrow along straight pieces from the first point to the last."""
        for start, end in itertools.pairwise(points[:-1]):
            self.line(start, end)
        head = FancyArrowPatch(*points[-2:], arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0)
        head.set(linewidth=1.1, color=rgb(INK))
        self.axis.add_patch(head)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: Colour = INK, width: float = 1.1
    ) -> None:
        """A straight line, cut off square at its ends."""
        self.axis.plot(*zip(start, end, strict=True), color=rgb(colour), linewidth=width, solid_capstyle="projecting")

    def outline(self, tile: Rect, mask: np.ndarray, colour: Colour, width: float = 1.4) -> None:
        """The border of a (120, 120) 0/1 mask over a patch; none where the mask is empty."""
        if not mask.any():
            return
        # The rim of zeros closes the outline of a mask that reaches the patch's edge.
        x, y = zip(*(tile.point(place, place) for place in range(-1, PATCH + 1)), strict=True)
        lines = self.axis.contour(x, y, np.pad(mask, 1), [0.5], colors=[rgb(colour)], linewidths=width)
        lines.set_clip_path(self._inside(tile))

    def ellipse(self, tile: Rect, ellipse: Ellipse, colour: Colour, width: float = 1.4, alpha: float = 1) -> None:
        """An ellipse, given in px of the patch, as a line."""
        axes = ellipse.width / PATCH * tile.width, ellipse.height / PATCH * tile.height
        patch = EllipsePatch(tile.point(ellipse.cx, ellipse.cy), *axes, angle=ellipse.angle, fill=False)
        patch.set(edgecolor=rgb(colour), linewidth=width, alpha=alpha)
        self.axis.add_patch(patch)
        patch.set_clip_path(self._inside(tile))

    def _inside(self, tile: Rect) -> Rectangle:
        return Rectangle((tile.x, tile.y), tile.width, tile.height, transform=self.axis.transData)
