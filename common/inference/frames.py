"""An image on its way through a prediction: what the network sees of it, and what is measured and drawn after."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from common.data.images import BLUE, ORANGE, SCALE, outline
from common.inference.measurements import count_parts, diameters

COLUMNS = (
    *("input", "lesion", "slice", "slices", "area_px", "long_px", "short_px"),
    *("area_mm2", "long_mm", "short_mm", "volume_ml", "parts", "mask"),
)
"""Of the table of measurements; what is not known stays empty."""
_LONGEST = 1024  # px; a larger image is drawn smaller


@dataclass(frozen=True)
class Patch:
    """What the network sees of a lesion, and the way back."""

    lesion: str
    """Its name."""
    image: np.ndarray
    """(120, 120, 3), 0..255."""
    back: Callable[[np.ndarray], np.ndarray]
    """Maps a (120, 120) float32 probability to the (H, W) one of the whole image."""


@dataclass(frozen=True)
class Frame:
    """An image or a slice, and the lesions to segment on it."""

    source: str
    """The input file, as measurements name it."""
    name: str
    """What the picture's file name starts with."""
    mask: str
    """File name of the mask."""
    picture: np.ndarray
    """(H, W, 3) uint8 RGB."""
    patches: list[Patch]
    slice: int | None = None
    spacing: tuple[float, float] | None = None
    """mm from row to row and from column to column."""
    thickness: float | None = None
    """mm from slice to slice."""


def measure_lesion(frame: Frame, lesion: str, mask: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Measure a lesion's (H, W) mask on one frame.

    Returns:
        The row of the table, and the end points of both diameters in px (see `measure.Diameters`).
    """
    area, found = int(np.count_nonzero(mask)), diameters(mask)
    row: dict[str, Any] = {"input": frame.source, "lesion": lesion, "slice": frame.slice, "parts": count_parts(mask)}
    row |= {"area_px": area, "long_px": found.long, "short_px": found.short, "mask": frame.mask}
    if frame.spacing is not None:
        in_mm = diameters(mask, frame.spacing)
        row |= {"area_mm2": area * frame.spacing[0] * frame.spacing[1], "long_mm": in_mm.long, "short_mm": in_mm.short}
        if frame.thickness is not None:
            row["volume_ml"] = row["area_mm2"] * frame.thickness / 1000
    return row, found.ends


def by_lesion(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per lesion: of several slices the one where it is longest, with the volume of all."""
    lesions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        lesions.setdefault((row["input"], row["lesion"]), []).append(row)
    table = []
    for slices in lesions.values():
        longest = max(slices, key=lambda row: row.get("long_mm", row["long_px"])).copy()
        if longest["slice"] is not None:
            longest["slices"] = len(slices)
        if "volume_ml" in longest:
            longest["volume_ml"] = sum(row["volume_ml"] for row in slices)
        table.append({name: round(cell, 3) if isinstance(cell, float) else cell for name, cell in longest.items()})
    return table


def draw(picture: np.ndarray, mask: np.ndarray, ends: Iterable[np.ndarray]) -> np.ndarray:
    """Draw a mask's outline and diameters on an image.

    Args:
        picture: (H, W, 3) uint8 RGB; a large one is drawn smaller.
        mask: (H, W) uint8 0/1.
        ends: of the diameters of each lesion, (4, 2) px, or (0, 2) for none.

    Returns:
        uint8 RGB, enlarged by `SCALE`.
    """
    shrunk = min(1.0, _LONGEST / max(mask.shape))
    if shrunk < 1:
        size = [max(1, round(side * shrunk)) for side in mask.shape[::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    drawn = outline(picture, mask, BLUE)
    for points in ends:
        # A pixel's centre is at whole coordinates, before and after.
        scaled = np.rint((points + 0.5) * shrunk * SCALE - 0.5).astype(np.int32)
        for start, end in scaled.reshape(-1, 2, 2):
            cv2.line(drawn, start.tolist(), end.tolist(), ORANGE, 1, cv2.LINE_AA)
    return drawn
