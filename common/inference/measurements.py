"""Measurements of a predicted lesion: area, RECIST diameters and volume."""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from common.recist import diameters

# Columns of `measurements.csv`; a cell without a value stays empty.
COLUMNS = tuple(
    "input lesion slice slices area_px long_px short_px area_mm2 long_mm short_mm volume_ml parts cut mask".split()
)


def measure_lesion(mask: np.ndarray, spacing: Sequence[float] | None = None) -> tuple[dict[str, Any], np.ndarray]:
    """Measure a lesion's (H, W) uint8 0/1 mask on one image or slice; for ``spacing`` see `LesionImage`.

    Returns:
        The measurements that the spacing allows, by column, and the end points of the diameters (see `Diameters`).
    """
    area, (long, short, ends) = int(np.count_nonzero(mask)), diameters(mask)
    parts = cv2.connectedComponents((mask > 0).astype(np.uint8), connectivity=8)[0] - 1
    row: dict[str, Any] = {"area_px": area, "long_px": long, "short_px": short, "parts": parts}
    if spacing is not None:
        long, short, _ = diameters(mask, (spacing[0], spacing[1]))
        row |= {"area_mm2": area * spacing[0] * spacing[1], "long_mm": long, "short_mm": short}
        if len(spacing) == 3:
            row["volume_ml"] = row["area_mm2"] * spacing[2] / 1000
    return row, ends


def merge_slices(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reduce the rows of each lesion to that of the slice where it is longest; numbers are rounded to 3 decimals.

    Only a lesion on two or more consecutive slices gets a volume, that of them all. ``cut`` becomes the number of
    slices on which the mask is cut off. ``slice`` is None where a row is about an image.
    """
    lesions: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        lesions.setdefault((row["input"], row["lesion"]), []).append(row)
    table = []
    for slices in lesions.values():
        longest = max(slices, key=lambda row: row.get("long_mm", row["long_px"])).copy()
        longest["cut"] = sum(row["cut"] for row in slices)
        if longest["slice"] is not None:
            longest["slices"] = len(slices)
        numbers = sorted(row["slice"] or 0 for row in slices)
        consecutive = numbers == [*range(numbers[0], numbers[0] + len(slices))]
        if longest.pop("volume_ml", None) is not None and len(slices) > 1 and consecutive:
            longest["volume_ml"] = sum(row["volume_ml"] for row in slices)
        table.append({name: round(cell, 3) if isinstance(cell, float) else cell for name, cell in longest.items()})
    return table
