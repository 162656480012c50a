"""`DL_info.csv`, the table of DeepLesion: its rows, checked cell by cell, and the slices that each lesion needs."""

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.dataset import Dropped
from common.recist import ellipse_from_diameters
from common.utils.arguments import number_list
from common.utils.errors import UserError
from common.utils.files import read_csv

COLUMNS = tuple("File_name Measurement_coordinates Bounding_boxes Spacing_mm_px_ DICOM_windows Train_Val_Test".split())
"""Those of the table's 18 columns that are needed."""
SPLITS = {"1": "train", "2": "val", "3": "test"}
FULL_TABLE = 32_735  # rows
EXCLUDED = frozenset({24897, 3136, 5780, 9239, 14485, 29866, 14474, 6768})
"""Rows of the full table, counted from 0 after the header, that the release leaves out."""
NEIGHBOUR = 2.0  # mm from the key slice to the first and the third channel
LEAST_INTERVAL = 0.01  # mm; a smaller one can only be an error, and finding neighbours would take ages

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]+)_([0-9]{3,5})\.png", re.ASCII)
_PRINTED = 10  # malformed rows that are named on the screen; dropped.csv names all of them


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of the table: a lesion's RECIST mark and what is known of its slice."""

    name: str
    """The file name's stem; the second lesion on a slice ends in "-2", and so on."""
    row: int
    """Counted from 0 after the header, as FACTS.md counts."""
    source: str
    """`File_name`."""
    series: str
    slice: int
    """Number of the key slice."""
    split: str
    ends: tuple[float, ...]
    """x1, y1, ... x4, y4 of the long diameter's ends, then the short one's; px of the slice, 1-based."""
    box: tuple[float, ...]
    """Left, top, right, bottom in px of the slice, 1-based."""
    window: tuple[float, ...]
    """Lowest and highest intensity of the display, in HU."""
    spacing: float | None
    """mm of a pixel; None where it is missing or not above 0."""
    interval: float | None
    """mm between slices; None likewise."""


class _MalformedError(Exception):
    """A cell that can't be used: its column and what is wrong."""


def read_marks(path: Path) -> tuple[list[Mark], list[Dropped]]:
    """Read `DL_info.csv`.

    Returns:
        The usable rows in the table's order, and the dropped ones: in the full table the eight that the release leaves
        out, then malformed rows, which are reported on stderr too.

    Raises:
        UserError: the table is missing, lacks a column, or has no usable row.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing; download DL_info.csv from https://nihcc.app.box.com/v/DeepLesion and put it there, "
            "or pass --data DIR"
        )
    rows = read_csv(path)
    if missing := [column for column in COLUMNS if rows and column not in rows[0]]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}; download the table again")
    marks, excluded, malformed = [], [], []
    lesions_on: Counter[str] = Counter()
    for number, cells in enumerate(rows):
        # Counted over all rows, so that a lesion keeps its name whatever rows and slices are missing.
        name = (cells["File_name"] or "").removesuffix(".png")
        lesions_on[name] += 1
        if lesions_on[name] > 1:
            name += f"-{lesions_on[name]}"
        if len(rows) == FULL_TABLE and number in EXCLUDED:
            excluded.append(Dropped(name, "left out by the release"))
            continue
        try:
            marks.append(_read_mark(cells, number, name))
        except _MalformedError as error:
            malformed.append(Dropped(f"row {number} (line {number + 2})", str(error)))
    _report(path, malformed)
    if not marks:
        why = f"all {len(malformed)} rows are malformed" if malformed else "it holds no rows"
        raise UserError(f"{path} names no lesion: {why}; download the table again")
    return marks, excluded + malformed


def _report(path: Path, malformed: Sequence[Dropped]) -> None:
    lines = [f"{item.lesion}: {item.reason}" for item in malformed[:_PRINTED]]
    if malformed:
        lines.insert(0, f"{len(malformed)} malformed rows are left out")
    if len(malformed) > _PRINTED:
        lines.append(f"and {len(malformed) - _PRINTED} more, all listed in dropped.csv")
    for line in lines:
        print(f"{path}: {line}", file=sys.stderr)


def _read_mark(cells: dict[str, str], number: int, name: str) -> Mark:
    if None in cells or any(cells[column] is None for column in COLUMNS):
        raise _MalformedError("the row has too many or too few cells")
    # No folder, no "..", no drive: a table must not be able to name files outside the image folder.
    file_name = _FILE_NAME.fullmatch(cells["File_name"])
    if not file_name:
        raise _MalformedError("File_name is not like 000001_01_01_109.png")
    split = SPLITS.get(cells["Train_Val_Test"].strip())
    if not split:
        raise _MalformedError("Train_Val_Test is not 1, 2 or 3")
    ends = _read_numbers(cells, "Measurement_coordinates", 8)
    if ellipse_from_diameters(np.reshape(ends, (4, 2))) is None:
        raise _MalformedError("Measurement_coordinates: a diameter has no length, or the two are parallel")
    box = _read_numbers(cells, "Bounding_boxes", 4)
    if not (box[0] <= box[2] and box[1] <= box[3]):
        raise _MalformedError("Bounding_boxes are not left, top, right, bottom")
    window = _read_numbers(cells, "DICOM_windows", 2)
    if not window[1] - window[0] >= 1:
        raise _MalformedError("DICOM_windows is under 1 HU wide or upside down")
    spacing, interval = (_read_spacing(cells["Spacing_mm_px_"], axis) for axis in (0, 2))
    series, key = file_name[1], int(file_name[2])
    return Mark(name, number, cells["File_name"], series, key, split, ends, box, window, spacing, interval)


def _read_numbers(cells: dict[str, str], column: str, count: int) -> tuple[float, ...]:
    numbers = number_list(cells[column], count)
    if numbers is None:
        raise _MalformedError(f"{column} does not hold {count} numbers")
    return numbers


def _read_spacing(cell: str, axis: int) -> float | None:
    """Read one of the x, y and z spacings in mm; None where it is missing, not finite, or not above 0."""
    try:
        spacing = float(f"{cell},,".split(",")[axis].strip() or "nan")  # the cell may hold fewer than three
    except ValueError:
        raise _MalformedError("Spacing_mm_px_ does not hold numbers") from None
    if not 0 < spacing < math.inf:
        return None
    if spacing < LEAST_INTERVAL:
        raise _MalformedError(f"Spacing_mm_px_ is below {LEAST_INTERVAL} mm")
    return spacing


Channel = tuple[tuple[float, int], ...]
"""(weight, slice number) of the slices that are blended into a channel."""


class Task(NamedTuple):
    """A lesion, and the slices that its channels are made from: previous, key and next."""

    mark: Mark
    channels: tuple[Channel, Channel, Channel]


def slice_path(images: Path, series: str, number: int) -> Path:
    """Return the file of a slice, e.g. `Images_png/000001_01_01/109.png`."""
    return images / series / f"{number:03d}.png"


def find_channels(key: int, interval: float | None, present: Callable[[int], bool]) -> tuple[Channel, Channel, Channel]:
    """Choose the slices of the three channels and their weights (FACTS.md section 3).

    Args:
        key: number of the key slice.
        interval: mm between slices; None gives three copies of the key slice.
        present: whether a slice is there; a missing one is replaced by the nearest present towards the key slice.
    """
    key_channel: Channel = ((1.0, key),)
    if interval is None:
        return key_channel, key_channel, key_channel
    steps = NEIGHBOUR / interval
    near, far = math.floor(steps), math.ceil(steps)
    blend = ((1.0, far),) if near == far else ((steps - near, far), (far - steps, near))

    def nearest_present(step: int, sign: int) -> int:
        return next((key + sign * s for s in range(step, 0, -1) if present(key + sign * s)), key)

    previous, following = (tuple((weight, nearest_present(step, sign)) for weight, step in blend) for sign in (-1, 1))
    return previous, key_channel, following


def find_tasks(images: Path, marks: Iterable[Mark]) -> tuple[list[Task], list[Dropped]]:
    """Separate the lesions whose key slice is there from the others: a partial download is normal.

    Returns:
        The lesions with the slices they need, and those without key slice.
    """
    tasks, dropped = [], []
    for mark in marks:

        def present(number: int, series: str = mark.series) -> bool:
            return slice_path(images, series, number).is_file()

        if present(mark.slice):
            tasks.append(Task(mark, find_channels(mark.slice, mark.interval, present)))
        else:
            dropped.append(Dropped(mark.name, "the key slice is missing"))
    return tasks, dropped
