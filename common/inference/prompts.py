"""Lesion prompts: where lesions are in an image or volume, read from a CSV file of boxes, points or RECIST marks."""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.recist import diameters_cross, ellipse_from_diameters, long_first
from common.utils.arguments import number_list
from common.utils.errors import UserError, join_names
from common.utils.file_index import FileIndex
from common.utils.files import read_rows

BOX = ("left", "top", "right", "bottom")
POINT = ("x", "y")
VOXEL = ("i", "j", "k")
ENDS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
ENDS_ORDER = "x1,y1 and x2,y2 must be the ends of one, x3,y3 and x4,y4 those of the other"
POINT_SIDE = 28  # px of the box that stands for a point: the size of the median tumour in five LiTS volumes

_HELP = f"""\
The lesions CSV has a header and a row per lesion. Pixels are counted from 0; x is the column, y the row. A row says
where the lesion is in one of three ways; cells of the other two stay empty, or their columns are left out:
  {",".join(BOX)}       first and last pixels of a box tight around the lesion
  x,y                         a pixel in its middle: stands for a box of {POINT_SIDE}x{POINT_SIDE} px
  {",".join(ENDS)}     RECIST end points, of the long and of the short diameter
--target quarters, and a checkpoint trained with --prompt recist, need the end points of each lesion.
An optional column, lesion, names the lesions (default: the row's number).
Where several inputs are given, the column image, file_name or {{kind}} says which of them a row is about: a file's name
with or without suffix and folder, also as FOLDER_NAME, or the number that it ends with. Rows about others, and inputs
without a row, are left out, and a line says so.
"""
SLICE_HELP = _HELP.format(kind="slice")
VOLUME_HELP = f"""{_HELP.format(kind="volume")}
With a volume, the column slice counts from 0, and x runs along the second axis of the file, y along the first, slices
along the third; where the affine calls another axis superior-inferior, slices run along that one, x along
anterior-posterior, y along left-right, and a line says so. In place of x,y,slice a row may give
  i,j,k                       the voxel's indices in the file from 0, as 3D Slicer shows them; ITK-SNAP's are 1 more
so that ordinarily i is y, j is x and k is the slice.
Rows with the same lesion on several slices are one lesion: its volume is their sum, its area and diameters those of the
slice where it is longest.
"""

Row = Mapping[str, str]  # cells by column


class LesionPrompt(NamedTuple):
    """A lesion's name, its slice (0 for an image), and the first and last px of its box, both included."""

    lesion: str
    slice: int
    left: float
    top: float
    right: float
    bottom: float
    point: tuple[float, float] | None = None  # x, y that the box was made of; it says nothing of the lesion's size
    ends: np.ndarray | None = None  # (4, 2) RECIST end points (x, y) in px, the long diameter's first, if given
    row: int = 0  # of the lesions CSV, from 1 after the header

    def place(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw where the lesion is on an image of ``shape``, uint8 0/1: in its box, or at its point."""
        left, top, right, bottom = (*self.point, *self.point) if self.point else self[2:6]
        image = np.zeros(shape, np.uint8)
        image[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = 1
        return image


class Grid(NamedTuple):
    """Rows and columns of an image, or rows, columns and slices of a volume."""

    shape: Sequence[int]
    axes: Sequence[int] = (0, 1, 2)  # a volume's axes, of i, j and k, that are its rows, columns and slices


def read_prompts(
    path: Path, inputs: Sequence[Path], read_grid: Callable[[Path], Grid], kind: str
) -> dict[Path, list[LesionPrompt]]:
    """Read a lesions CSV (see `VOLUME_HELP`), and say which of its rows and of the inputs are left out.

    Args:
        path: the CSV file.
        inputs: files of images or volumes.
        read_grid: reads the size of one that has a row.
        kind: "slice" or "volume", the inputs' name in messages, and that of a column that tells them apart.

    Returns:
        By input that has any, its lesions in the order of the rows.

    Raises:
        UserError: the file is unreadable, has no rows or none about these inputs, doesn't tell which of them a row is
            about, or has an invalid row, which the message names; or as ``read_grid``.
    """
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path} names no lesion; it needs a header and a row per lesion (see --help)")
    own_rows = _assign_rows(path, rows, inputs, kind)
    return {file: _parse_rows(path, own_rows[file], read_grid(file)) for file in inputs if file in own_rows}


def _assign_rows(
    path: Path, rows: Sequence[Row], inputs: Sequence[Path], kind: str
) -> dict[Path, list[tuple[int, Row]]]:
    """The rows about each of the inputs, with their numbers; says what is left out."""
    index = FileIndex(inputs, ct=True)
    own_rows: dict[Path, list[tuple[int, Row]]] = defaultdict(list)
    others: list[str] = []  # cells that name none of the inputs
    nameless = 0
    for number, row in enumerate(rows, 1):
        cells = {column: row[column] for column in ("image", "file_name", kind) if row.get(column)}
        nameless = nameless or (0 if cells else number)
        try:
            matches = _find_inputs(cells, index) if cells else inputs
            if len(matches) > 1:
                what = f"{next(iter(cells.values()), 'it')} may be {matches[0]} or {matches[1]}"
                raise ValueError(f"{what}; write the {kind}'s name, with its folder, into the column image")
        except ValueError as error:
            raise UserError(f"{path}, row {number} after the header: {error}") from None
        if matches:
            own_rows[matches[0]].append((number, row))
        else:
            others.append(next(iter(cells.values())))
    if not own_rows:
        given, remedy = f"the {len(inputs)} {kind}s given are others", "correct the names"
        if len(inputs) == 1:
            given = f"{inputs[0]} is given"
            remedy = "leave the folders out" if index.namesakes(others[0]) else "remove the column"
        raise UserError(f"{path} names {others[0]}, and {given}; pass the {kind} that the rows are about, or {remedy}")
    if others and nameless:
        where = f"{path}, row {nameless} after the header:"
        raise UserError(f"{where} it names no {kind}, as other rows do; fill the column {kind} or image")
    if others:
        names = join_names(list(dict.fromkeys(others)))
        print(f"{path} names {names}, not given: {len(others)} of {len(rows)} rows are left out", file=sys.stderr)
    if without := [str(file) for file in inputs if file not in own_rows]:
        print(f"{path} has no row for {join_names(without)}; left out", file=sys.stderr)
    return own_rows


def _find_inputs(cells: Mapping[str, str], index: FileIndex) -> list[Path]:
    """The inputs that the cells of a row, by column, may mean; a ValueError where cells contradict each other."""
    (first, cell), *further = cells.items()
    found = matches = index.find(cell)
    for column, text in further:
        matches = [file for file in matches if index.may_mean(text, file)]
        if found and not matches:
            raise ValueError(f"{first} names {cell}, but {column} names {text}; correct one of them")
    return matches


def _parse_rows(path: Path, rows: Sequence[tuple[int, Row]], grid: Grid) -> list[LesionPrompt]:
    """The rows about one image or volume, with their numbers, as prompts."""
    names = {row.get("lesion") for _, row in rows}
    if clash := next((n for n, row in rows if not row.get("lesion") and str(n) in names), None):
        raise UserError(f"{path}: row {clash} has no name, and another row is named {clash}; fill the column lesion")
    prompts: dict[tuple[str, int], LesionPrompt] = {}
    is_volume = len(grid.shape) > 2
    for number, row in rows:
        try:
            if is_volume and any(row.get(column) for column in VOXEL):
                row = _from_voxel(row, grid.axes)
            prompt = _parse_row(row, number, grid.shape)
            if (prompt.lesion, prompt.slice) in prompts:
                where = f" on slice {prompt.slice}" if is_volume else ""
                raise ValueError(f"the lesion {prompt.lesion} is there twice{where}")
        except ValueError as error:
            raise UserError(f"{path}, row {number} after the header: {error} (see --help)") from None
        prompts[prompt.lesion, prompt.slice] = prompt
    return list(prompts.values())


def _from_voxel(row: Mapping[str, str], axes: Sequence[int]) -> dict[str, str]:
    """A row with i,j,k as one with x,y,slice."""
    if any(row.get(column) for column in (*POINT, "slice")):
        raise ValueError("it fills both i,j,k and x,y,slice; keep one of them")
    y, x, index = (f"{_parse_number(row, VOXEL[axis])!r}" for axis in axes)
    return {**row, "x": x, "y": y, "slice": index}


def _parse_row(row: Mapping[str, str], number: int, shape: Sequence[int]) -> LesionPrompt:
    kinds = [kind for kind in (BOX, POINT, ENDS) if any(row.get(column) for column in kind)]
    if len(kinds) != 1:
        voxel = f"{','.join(VOXEL)} or " if len(shape) > 2 else ""
        raise ValueError(f"it must fill {','.join(BOX)} or {voxel}x,y or x1,y1 to x4,y4, and only one of them")
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
    name, ends = row.get("lesion") or str(number), None
    if kinds[0] == ENDS:
        ends = long_first(np.array(values).reshape(4, 2))
    point = (xs[0], ys[0]) if kinds[0] == POINT else None
    return LesionPrompt(name, int(index), left, top, right, bottom, point, ends, number)


def check_mark(ends: np.ndarray | None, where: str) -> None:
    """Check that a lesion has a RECIST mark of which a mask or a prompt can be made.

    Raises:
        UserError: there are no ``ends``, or they are not those of two diameters that cross; it begins with ``where``.
    """
    if ends is None or ellipse_from_diameters(ends) is None:
        why = "gives no RECIST end points" if ends is None else "has diameters that are parallel or without length"
        raise UserError(
            f"{where} {why}; --target quarters and checkpoints trained with --prompt recist need end points, in "
            f"{ENDS[0]},{ENDS[1]} to {ENDS[-2]},{ENDS[-1]}"
        )
    if not diameters_cross(ends):
        raise UserError(f"{where} has diameters that don't cross; {ENDS_ORDER}")


def _parse_number(row: Mapping[str, str], column: str) -> float:
    text = row.get(column, "")
    numbers = number_list(text, 1)
    if numbers is None:
        raise ValueError(f"{column} is {text!r}, not a number" if text else f"{column} is missing")
    return numbers[0]
