"""`DL_info.csv`, DeepLesion's table: its rows, checked cell by cell, and the slices that each of them takes."""

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.dataset import Dropped
from common.recist import ellipse_from_diameters
from common.utils.errors import UserError
from common.utils.files import read_csv

COLUMNS = (
    "File_name",
    "Measurement_coordinates",
    "Bounding_boxes",
    "Spacing_mm_px_",
    "DICOM_windows",
    "Train_Val_Test",
)
"""Those of the table's 18 columns that are needed."""
SPLITS = {"1": "train", "2": "val", "3": "test"}
FULL_TABLE = 32_735
EXCLUDED = frozenset({24897, 3136, 5780, 9239, 14485, 29866, 14474, 6768})
"""Rows of the full table, counted from 0 after the header, that the release leaves out."""
NEIGHBOUR = 2.0
"""mm from the key slice to the first and the third channel."""

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]+)_([0-9]{3,5})\.png", re.ASCII)
LEAST_INTERVAL = 0.01  # mm; a smaller one can only be an error, and would be searched for neighbours for ages
_SHOWN = 10  # malformed rows that are named on the screen; dropped.csv names all of them


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
    """Lowest and highest intensity shown, in HU."""
    spacing: float | None
    """mm of a pixel."""
    interval: float | None
    """mm between slices; None where it is missing or negative."""


class _MalformedError(Exception):
    """A cell that can't be used: its column and what is wrong."""


def read_marks(path: Path) -> tuple[list[Mark], list[Dropped]]:
    """Read `DL_info.csv`.

    Returns:
        The usable rows in the table's order; and those that are not: malformed ones, which are named on the
        screen too, and the eight that the release leaves out when the table is the full one.

    Raises:
        UserError: the table is missing, lacks a column, holds no row, or no row of it can be used.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing; download DL_info.csv from https://nihcc.app.box.com/v/DeepLesion and put it there, "
            "or pass --data DIR"
        )
    rows = read_csv(path)
    missing = [column for column in COLUMNS if rows and column not in rows[0]]
    if missing:
        raise UserError(f"{path} lacks the column {', '.join(missing)}; download the table again")
    marks, excluded, malformed = [], [], []
    seen: Counter[str] = Counter()
    for number, cells in enumerate(rows):
        name = _unique_name(cells["File_name"] or "", seen)
        if len(rows) == FULL_TABLE and number in EXCLUDED:
            excluded.append(Dropped(name, "left out by the release"))
            continue
        try:
            marks.append(_mark(cells, number, name))
        except _MalformedError as error:
            malformed.append(Dropped(f"row {number} (line {number + 2})", str(error)))
    _report(path, malformed)
    if not marks:
        why = f"all {len(malformed)} rows are malformed" if malformed else "it holds no rows"
        raise UserError(f"{path} names no lesion: {why}; download the table again")
    return marks, excluded + malformed


def _report(path: Path, malformed: list[Dropped]) -> None:
    if malformed:
        print(f"{path}: {len(malformed)} malformed rows are left out", file=sys.stderr)
    for item in malformed[:_SHOWN]:
        print(f"{path}: {item.lesion}: {item.reason}", file=sys.stderr)
    if len(malformed) > _SHOWN:
        print(f"{path}: and {len(malformed) - _SHOWN} more, all listed in dropped.csv", file=sys.stderr)


def _unique_name(file_name: str, seen: Counter[str]) -> str:
    # Counted over all rows, so that a lesion keeps its name whatever rows and slices are missing.
    stem = file_name.removesuffix(".png")
    seen[stem] += 1
    return stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"


def _mark(cells: dict[str, str], number: int, name: str) -> Mark:
    if None in cells or any(cells[column] is None for column in COLUMNS):
        raise _MalformedError("the row has too many or too few cells")
    # No folder, no "..", no drive: a table must not be able to name files outside the image folder.
    parts = _FILE_NAME.fullmatch(cells["File_name"])
    if not parts:
        raise _MalformedError("File_name is not like 000001_01_01_109.png")
    if cells["Train_Val_Test"].strip() not in SPLITS:
        raise _MalformedError("Train_Val_Test is not 1, 2 or 3")
    ends = _numbers(cells, "Measurement_coordinates", 8)
    if ellipse_from_diameters(np.reshape(ends, (4, 2))) is None:
        raise _MalformedError("Measurement_coordinates: a diameter has no length, or the two are parallel")
    box = _numbers(cells, "Bounding_boxes", 4)
    if not (box[0] <= box[2] and box[1] <= box[3]):
        raise _MalformedError("Bounding_boxes are not left, top, right, bottom")
    window = _numbers(cells, "DICOM_windows", 2)
    if not window[1] - window[0] >= 1:
        raise _MalformedError("DICOM_windows is under 1 HU wide or upside down")
    return Mark(
        name=name,
        row=number,
        source=cells["File_name"],
        series=parts[1],
        slice=int(parts[2]),
        split=SPLITS[cells["Train_Val_Test"].strip()],
        ends=ends,
        box=box,
        window=window,
        spacing=_spacing(cells, 0),
        interval=_spacing(cells, 2),
    )


def _numbers(cells: dict[str, str], column: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(text) for text in cells[column].split(","))
    except ValueError:
        values = ()
    # Beyond a million px or HU there is no CT, and squares would overflow.
    if len(values) != count or not all(abs(value) < 1e6 for value in values):
        raise _MalformedError(f"{column} does not hold {count} numbers")
    return values


def _spacing(cells: dict[str, str], place: int) -> float | None:
    """The ``place``th of x, y and z spacing in mm; None where it is missing, not a number, or not above 0."""
    texts = [text.strip() for text in cells["Spacing_mm_px_"].split(",")]
    text = texts[place] if place < len(texts) else ""
    try:
        value = float(text or "nan")
    except ValueError:
        raise _MalformedError("Spacing_mm_px_ does not hold numbers") from None
    if not (math.isfinite(value) and value > 0):
        return None
    if value < LEAST_INTERVAL:
        raise _MalformedError(f"Spacing_mm_px_ is below {LEAST_INTERVAL} mm")
    return value


Channel = tuple[tuple[float, int], ...]
"""(weight, slice number) of the slices that are blended into a channel."""


class Task(NamedTuple):
    """A lesion to be cut out, and the slices it takes: previous, key and next channel."""

    mark: Mark
    channels: tuple[Channel, Channel, Channel]


def slice_path(images: Path, series: str, number: int) -> Path:
    """The file of a slice, e.g. `Images_png/000001_01_01/109.png`."""
    return images / series / f"{number:03d}.png"


def find_channels(key: int, interval: float | None, present: Callable[[int], bool]) -> tuple[Channel, Channel, Channel]:
    """Which slices make the three channels, and with which weights (FACTS.md section 3).

    Args:
        key: number of the key slice.
        interval: mm between slices; None gives three copies of the key slice.
        present: whether a slice is there; a missing one is replaced by the nearest present towards the key slice.
    """
    alone: Channel = ((1.0, key),)
    if interval is None:
        return alone, alone, alone
    steps = NEIGHBOUR / interval
    near, far = math.floor(steps), math.ceil(steps)
    blend = ((1.0, far),) if near == far else ((steps - near, far), (far - steps, near))

    def towards(sign: int) -> Channel:
        def found(step: int) -> int:
            return next((key + sign * s for s in range(step, 0, -1) if present(key + sign * s)), key)

        return tuple((weight, found(step)) for weight, step in blend)

    return towards(-1), alone, towards(1)


def find_tasks(images: Path, marks: Iterable[Mark]) -> tuple[list[Task], list[Dropped]]:
    """The lesions whose key slice is there, and those whose key slice is not: a partial download is normal."""
    tasks, lost = [], []
    for mark in marks:

        def present(number: int, series: str = mark.series) -> bool:
            return slice_path(images, series, number).is_file()

        if present(mark.slice):
            tasks.append(Task(mark, find_channels(mark.slice, mark.interval, present)))
        else:
            lost.append(Dropped(mark.name, "the key slice is missing"))
    return tasks, lost
