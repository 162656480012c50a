"""`DL_info.csv`, the table of DeepLesion: where it lies, and its rows, checked cell by cell."""

import math
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.lesion import Dropped
from common.recist import ellipse_from_diameters
from common.utils.arguments import number_list
from common.utils.errors import UserError
from common.utils.files import describe_folder, find_files, read_csv

INFO = "DL_info.csv"
# Those of the table's 18 columns that are needed
COLUMNS = tuple("File_name Measurement_coordinates Bounding_boxes Spacing_mm_px_ DICOM_windows Train_Val_Test".split())
NOISY = "Possibly_noisy"
SPLITS = {"1": "train", "2": "val", "3": "test"}
FULL_TABLE = 32_735  # rows
EXCLUDED = frozenset({24897, 3136, 5780, 9239, 14485, 29866, 14474, 6768})  # rows of it that the release leaves out
LEAST_INTERVAL = 0.01  # mm; a smaller one can only be an error, and finding neighbours would take ages

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]+)_([0-9]{3,5})\.png", re.ASCII)
_PRINTED = 10  # malformed rows that are named on the screen; dropped.csv names all of them


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of the table: a lesion's RECIST mark and what is known of its slice."""

    name: str  # the file name's stem; the second lesion on a slice ends in "-2", and so on
    row: int  # counted from 0 after the header, as FACTS.md counts
    source: str  # `File_name`
    series: str  # patient, study and series, e.g. 000001_01_01
    slice: int  # number of the key slice
    split: str
    ends: tuple[float, ...]  # x1, y1, ... x4, y4: the ends of the long, then of the short diameter; as the box
    box: tuple[float, ...]  # left, top, right, bottom in px of the slice, 1-based
    window: tuple[float, ...]  # lowest and highest intensity of the display, in HU
    spacing: float | None  # mm of a pixel; None where it is missing or not above 0
    interval: float | None  # mm between slices; None likewise
    noisy: bool | None = None  # `Possibly_noisy`; None where the table lacks the column


def find_table(data: Path) -> Path:
    """The table directly in the folder ``data``, else the one nested least deeply below it.

    Raises:
        UserError: there is none.
    """
    if (data / INFO).is_file():  # spares the walk through all slices
        return data / INFO
    paths = find_files(data, INFO.lower())
    tables = [path for path in paths if path.name.lower() == INFO.lower() and path.is_file()]
    if not tables:
        raise UserError(
            f"{data / INFO} is missing, and none lies deeper ({describe_folder(data)}); download it from "
            "https://nihcc.app.box.com/v/DeepLesion and put it there, or pass --data DIR"
        )
    return min(tables, key=lambda path: len(path.parts))


def read_marks(path: Path) -> tuple[list[Mark], list[Dropped]]:
    """Read `DL_info.csv`: the usable rows, and those that the release leaves out of the full table or are malformed.

    Malformed rows are reported on stderr too.

    Raises:
        UserError: the table lacks a column, or has no usable row.
    """
    rows = read_csv(path)
    if missing := [column for column in COLUMNS if rows and column not in rows[0]]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}; download the table again")
    names = [cells["File_name"] or "" for cells in rows]
    series = [name.rpartition("_")[0] for name in names]  # within one, key slices are in no order
    if len(rows) == FULL_TABLE and series != sorted(series):
        print(
            f"warning: {path} is not in the published order, of patients, studies and series; the rows the release "
            "leaves out are known by their places there, so others may be left out",
            file=sys.stderr,
        )
    marks, excluded, malformed = [], [], []
    lesions_on: Counter[str] = Counter()
    for number, cells in enumerate(rows):
        # Counted over all rows, so that a lesion keeps its name whatever rows and slices are missing.
        name = names[number].removesuffix(".png")
        lesions_on[name] += 1
        if lesions_on[name] > 1:
            name += f"-{lesions_on[name]}"
        if len(rows) == FULL_TABLE and number in EXCLUDED:
            excluded.append(Dropped(name, "left out by the release"))
            continue
        try:
            marks.append(_read_mark(cells, number, name))
        except ValueError as error:
            malformed.append(Dropped(f"row {number} (line {number + 2})", str(error)))
    if malformed:
        print(f"{path}: {len(malformed)} malformed rows are left out", file=sys.stderr)
    for item in malformed[:_PRINTED]:
        print(f"{path}: {item.lesion}: {item.reason}", file=sys.stderr)
    if len(malformed) > _PRINTED:
        print(f"{path}: and {len(malformed) - _PRINTED} more, all listed in dropped.csv", file=sys.stderr)
    if not marks:
        why = f"all {len(malformed)} rows are malformed" if malformed else "it holds no rows"
        raise UserError(f"{path} names no lesion: {why}; download the table again")
    return marks, excluded + malformed


def choose_noisy(marks: list[Mark], path: Path, keep: bool) -> tuple[list[Mark], list[Dropped]]:
    """Say how many lesions of the table ``path`` are possibly noisy, and leave them out unless ``keep``.

    Raises:
        UserError: they are to be left out, but the table does not tell which they are, or all are.
    """
    noisy = [mark for mark in marks if mark.noisy]
    if noisy:
        end = "kept, as published (--no-noisy leaves them out)" if keep else "left out"
        print(f"{path}: {len(noisy)} of {len(marks)} lesions are possibly noisy; {end}")
    if keep:
        return marks, []
    if marks[0].noisy is None or len(noisy) == len(marks):
        why = f"all of its lesions are {NOISY}" if noisy else f"it lacks the column {NOISY}"
        raise UserError(f"{path} can't be used with --no-noisy: {why}; run it without")
    return [mark for mark in marks if not mark.noisy], [Dropped(mark.name, "possibly noisy") for mark in noisy]


def _read_mark(cells: dict[str, str], number: int, name: str) -> Mark:
    if None in cells or any(cells[column] is None for column in COLUMNS):
        raise ValueError("the row has too many or too few cells")
    # No folder, no "..", no drive: a table must not be able to name files outside the image folder.
    file_name = _FILE_NAME.fullmatch(cells["File_name"])
    if not file_name:
        raise ValueError("File_name is not like 000001_01_01_109.png")
    if not (split := SPLITS.get(cells["Train_Val_Test"].strip())):
        raise ValueError("Train_Val_Test is not 1, 2 or 3")
    ends = _read_numbers(cells, "Measurement_coordinates", 8)
    if ellipse_from_diameters(np.reshape(ends, (4, 2))) is None:
        raise ValueError("Measurement_coordinates: a diameter has no length, or the two are parallel")
    box = _read_numbers(cells, "Bounding_boxes", 4)
    if not (box[0] <= box[2] and box[1] <= box[3]):
        raise ValueError("Bounding_boxes are not left, top, right, bottom")
    window = _read_numbers(cells, "DICOM_windows", 2)
    if not window[1] - window[0] >= 1:
        raise ValueError("DICOM_windows is under 1 HU wide or upside down")
    spacing, interval = _read_spacings(cells["Spacing_mm_px_"])
    series, key = file_name[1], int(file_name[2])
    noisy = None
    if (cell := cells.get(NOISY)) is not None:
        if (flag := number_list(cell or "0", 1)) not in ((0,), (1,)):
            raise ValueError(f"{NOISY} is not 0 or 1")
        noisy = flag == (1,)
    return Mark(name, number, cells["File_name"], series, key, split, ends, box, window, spacing, interval, noisy)


def _read_numbers(cells: dict[str, str], column: str, count: int) -> tuple[float, ...]:
    if (numbers := number_list(cells[column], count)) is None:
        raise ValueError(f"{column} does not hold {count} numbers")
    return numbers


def _read_spacings(cell: str) -> list[float | None]:
    """The x and the z spacing in mm; None where it is missing, not finite, or not above 0."""
    x, _, z = (cell.split(",") + [""] * 3)[:3]  # the cell may hold fewer
    try:
        spacings = [float(part.strip() or "nan") for part in (x, z)]
    except ValueError:
        raise ValueError("Spacing_mm_px_ does not hold numbers") from None
    if any(0 < spacing < LEAST_INTERVAL for spacing in spacings):
        raise ValueError(f"Spacing_mm_px_ is below {LEAST_INTERVAL} mm")
    return [spacing if 0 < spacing < math.inf else None for spacing in spacings]
