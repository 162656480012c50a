"""The lesions CSV of a prediction: every row says where one lesion is, and becomes a box."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.utils.errors import UserError
from common.utils.files import read_csv

BOX = ("left", "top", "right", "bottom")
POINT = ("x", "y")
ENDS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
POINT_SIDE = 28
"""px; the box that stands for a point: the median tumour of five LiTS volumes is this large."""

HELP = f"""\
The lesions CSV has a header and a row per lesion. Pixels are counted from 0; x is the column, y the row. A row says
where the lesion is in one of three ways; cells of the other two stay empty, or their columns are left out:
  {",".join(BOX)}       first and last pixels of a box tight around the lesion
  x,y                         a pixel in its middle: stands for a box of {POINT_SIDE}x{POINT_SIDE} px
  {",".join(ENDS)}     RECIST end points, of the long and of the short diameter
and, if you like, lesion, its name (default: the row's number).
"""
VOLUME_HELP = f"""{HELP}
With a volume, x runs along the second axis of the array as stored and y along the first, and the column slice counts
along the third, from 0. Rows with the same lesion on several slices are one lesion: its volume is their sum, its area
and diameters those of the slice where it is longest.
"""


class LesionPrompt(NamedTuple):
    """Where a lesion is: first and last px, both included, counted from 0."""

    lesion: str
    slice: int
    """0 where there is only one."""
    left: float
    top: float
    right: float
    bottom: float


class _RowError(Exception):
    """What is wrong with a row."""


def read_prompts(path: Path, shape: Sequence[int]) -> list[LesionPrompt]:
    """Read a lesions CSV (see `HELP`), in the file's order.

    Args:
        path: the file.
        shape: rows and columns of the image, and the number of slices where it is a volume.

    Raises:
        UserError: unreadable, no row, or a row that says nothing usable; names the row.
    """
    rows = [{(name or "").strip().lower(): cell for name, cell in cells.items()} for cells in read_csv(path)]
    if not rows:
        raise UserError(f"{path} names no lesion; it needs a header and a row per lesion (see --help)")
    boxes: dict[tuple[str, int], LesionPrompt] = {}
    for number, cells in enumerate(rows, 1):
        try:
            box = _box(cells, str(number), shape)
            if (box.lesion, box.slice) in boxes:
                where = f" on slice {box.slice}" if len(shape) > 2 else ""
                raise _RowError(f"the lesion {box.lesion} is there twice{where}")
        except _RowError as error:
            raise UserError(f"{path}, row {number} after the header: {error} (see --help)") from None
        boxes[box.lesion, box.slice] = box
    return list(boxes.values())


def _box(cells: dict[str, str], number: str, shape: Sequence[int]) -> LesionPrompt:
    if "" in cells:
        raise _RowError("it has more cells than the header")
    found = [kind for kind in (BOX, POINT, ENDS) if any((cells.get(name) or "").strip() for name in kind)]
    if len(found) != 1:
        raise _RowError(f"it must fill {','.join(BOX)} or {','.join(POINT)} or x1,y1 to x4,y4, and only one of them")
    values = [_number(cells, name) for name in found[0]]
    xs, ys = values[::2], values[1::2]
    if not (0 <= min(xs) <= max(xs) <= shape[1] - 1 and 0 <= min(ys) <= max(ys) <= shape[0] - 1):
        raise _RowError(f"it lies outside the image of {shape[1]} columns and {shape[0]} rows")
    if found[0] == BOX and (xs != sorted(xs) or ys != sorted(ys)):
        raise _RowError("left is beyond right, or top below bottom")
    index = _number(cells, "slice") if len(shape) > 2 else 0.0
    if len(shape) > 2 and not (index.is_integer() and 0 <= index < shape[2]):
        raise _RowError(f"slice {index:g} is not one of the volume's, 0 to {shape[2] - 1}")
    reach = (POINT_SIDE - 1) / 2 if found[0] == POINT else 0
    return LesionPrompt(
        (cells.get("lesion") or "").strip() or number,
        int(index),
        max(min(xs) - reach, 0),
        max(min(ys) - reach, 0),
        min(max(xs) + reach, shape[1] - 1),
        min(max(ys) + reach, shape[0] - 1),
    )


def _number(cells: dict[str, str], name: str) -> float:
    text = (cells.get(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e6:  # beyond a million px there is no image
        raise _RowError(f"{name} is {text!r}, not a number" if text else f"{name} is missing")
    return value
