"""Lesion prompts: where lesions are in an image or volume, read from a CSV file of boxes, points or RECIST marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.utils.arguments import number_list
from common.utils.errors import UserError
from common.utils.files import read_csv

BOX = ("left", "top", "right", "bottom")
POINT = ("x", "y")
ENDS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
POINT_SIDE = 28
"""Side in px of the box that stands for a point: the size of the median tumour in five LiTS volumes."""

HELP = f"""\
The lesions CSV has a header and a row per lesion. Pixels are counted from 0; x is the column, y the row. A row says
where the lesion is in one of three ways; cells of the other two stay empty, or their columns are left out:
  {",".join(BOX)}       first and last pixels of a box tight around the lesion
  x,y                         a pixel in its middle: stands for a box of {POINT_SIDE}x{POINT_SIDE} px
  {",".join(ENDS)}     RECIST end points, of the long and of the short diameter
An optional column, lesion, names the lesion (default: the row's number).
"""
VOLUME_HELP = f"""{HELP}
With a volume, x runs along the second axis of the array as stored and y along the first, and the column slice counts
along the third, from 0. Rows with the same lesion on several slices are one lesion: its volume is their sum, its area
and diameters those of the slice where it is longest.
"""


class LesionPrompt(NamedTuple):
    """A lesion's name, its slice (0 for an image), and the first and last px of its box, both included."""

    lesion: str
    slice: int
    left: float
    top: float
    right: float
    bottom: float


def read_prompts(path: Path, shape: Sequence[int]) -> list[LesionPrompt]:
    """Read a lesions CSV (see `HELP`), in the order of its rows.

    Args:
        path: the CSV file.
        shape: rows and columns of an image, or rows, columns and slices of a volume.

    Raises:
        UserError: the file is unreadable, has no rows, or has an invalid row, which the message names.
    """
    rows = [
        {(name or "").strip().lower(): str(cell or "").strip() for name, cell in row.items()} for row in read_csv(path)
    ]
    if not rows:
        raise UserError(f"{path} names no lesion; it needs a header and a row per lesion (see --help)")
    prompts: dict[tuple[str, int], LesionPrompt] = {}
    for number, row in enumerate(rows, 1):
        try:
            prompt = _parse_row(row, str(number), shape)
            if (prompt.lesion, prompt.slice) in prompts:
                where = f" on slice {prompt.slice}" if len(shape) > 2 else ""
                raise ValueError(f"the lesion {prompt.lesion} is there twice{where}")
        except ValueError as error:
            raise UserError(f"{path}, row {number} after the header: {error} (see --help)") from None
        prompts[prompt.lesion, prompt.slice] = prompt
    return list(prompts.values())


def _parse_row(row: Mapping[str, str], default_name: str, shape: Sequence[int]) -> LesionPrompt:
    if "" in row:
        raise ValueError("it has more cells than the header")
    kinds = [kind for kind in (BOX, POINT, ENDS) if any(row.get(column) for column in kind)]
    if len(kinds) != 1:
        raise ValueError(f"it must fill {','.join(BOX)} or {','.join(POINT)} or x1,y1 to x4,y4, and only one of them")
    values = [_parse_number(row, column) for column in kinds[0]]
    xs, ys = values[::2], values[1::2]
    if not (0 <= min(xs) <= max(xs) <= shape[1] - 1 and 0 <= min(ys) <= max(ys) <= shape[0] - 1):
        raise ValueError(f"it lies outside the image of {shape[1]} columns and {shape[0]} rows")
    if kinds[0] == BOX and (xs != sorted(xs) or ys != sorted(ys)):
        raise ValueError("left is beyond right, or top below bottom")
    index = _parse_number(row, "slice") if len(shape) > 2 else 0.0
    if len(shape) > 2 and not (index.is_integer() and 0 <= index < shape[2]):
        raise ValueError(f"slice {index:g} is not one of the volume's, 0 to {shape[2] - 1}")
    margin = (POINT_SIDE - 1) / 2 if kinds[0] == POINT else 0
    left, top = max(min(xs) - margin, 0), max(min(ys) - margin, 0)
    right, bottom = min(max(xs) + margin, shape[1] - 1), min(max(ys) + margin, shape[0] - 1)
    return LesionPrompt(row.get("lesion") or default_name, int(index), left, top, right, bottom)


def _parse_number(row: Mapping[str, str], column: str) -> float:
    text = row.get(column, "")
    numbers = number_list(text, 1)
    if numbers is None:
        raise ValueError(f"{column} is {text!r}, not a number" if text else f"{column} is missing")
    return numbers[0]
