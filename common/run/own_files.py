"""The files of your own data: outlines, and tables with a row an image."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.data.images import Photo
from common.data.masks import read_mask
from common.inference.prompts import ENDS
from common.utils.arguments import number_list
from common.utils.errors import UserError, join_names
from common.utils.files import read_csv

Table = dict[str, dict[str, str]]  # rows by the images' file names


def read_outline(image: Path, photo: Photo) -> tuple[np.ndarray | None, list[str]]:
    """As `read_mask`, of `masks/STEM.png` beside the image's folder; None where there is no folder of masks at all."""
    path = image.parent.with_name("masks") / f"{image.stem}.png"
    return read_mask(path, photo) if path.parent.is_dir() else (None, [])


def read_table(data: Path, name: str, images: Sequence[Path], columns: Sequence[str], *, complete: bool) -> Table:
    """Read a CSV file, whose name may be in upper case too; empty where there is none.

    The column ``image`` names each image with or without folder and suffix, in upper or lower case.

    Raises:
        UserError: the folder holds several such files, or one that is only named alike; one of the ``columns`` is
            missing; a row names no image, or several; an image has two rows, or none though all must (``complete``).
    """
    files = [path for path in sorted(data.iterdir()) if Path(name).stem in path.name.casefold() and path.is_file()]
    exact = [path for path in files if path.name.casefold() == name]
    if files and len(exact) != 1:
        names = join_names([path.name for path in files])
        raise UserError(f"{data} holds {names}; name the one to read {name}, keep no other")
    by_name: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for image in images:
        by_name[_plain(image.name)].append(image.name)
        by_stem[_plain(image.stem)].append(image.name)
    table: Table = {}
    for path in exact:
        for line, cells in enumerate(read_csv(path), 2):
            row = {(column or "").strip().lower(): str(cell or "").strip() for column, cell in cells.items()}
            if missing := [column for column in columns if column not in row]:
                raise UserError(f"{path} lacks the column {missing[0]}; its first line must be {','.join(columns)}")
            cell = _plain(row["image"].replace("\\", "/").rpartition("/")[2])
            matches = by_name.get(cell) or by_stem.get(cell, [])
            if len(matches) != 1:
                why = f"may be {' or '.join(matches)}" if matches else "is none of the images"
                raise UserError(f"{path} line {line}: {row['image']!r} {why}; write a file's name in full")
            if matches[0] in table:
                raise UserError(f"{path} line {line} names {matches[0]} again; an image shows one lesion")
            table[matches[0]] = {**row, "line": str(line)}
        if (complete or not table) and (without := [image.name for image in images if image.name not in table]):
            raise UserError(f"{path} has no row for {join_names(without)}; add rows, or move the images away")
    return table


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def read_ends(data: Path, images: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read RECIST end points from `recist.csv`, with the columns ``image`` and `prompts.ENDS`, if it is there.

    Returns:
        By image, (4, 2) points (x, y) in px of the image: both ends of the long diameter, then of the short one, as
        `recist.ellipse_from_diameters` takes them.

    Raises:
        UserError: as `read_table`, each image needing a row unless there are masks; or a number is missing.
    """
    ends: dict[str, np.ndarray] = {}
    table = read_table(data, "recist.csv", images, ("image", *ENDS), complete=not (data / "masks").is_dir())
    for name, row in table.items():
        points = number_list(",".join(row[column] for column in ENDS), len(ENDS))
        if points is None:
            raise UserError(f"recist.csv line {row['line']} must have a number in each of {', '.join(ENDS)}")
        ends[name] = np.array(points).reshape(4, 2)
    return ends


def check_ends(path: Path, ends: np.ndarray, photo: Photo) -> list[str]:
    """Check that an image's (4, 2) end points are px of it, else raise UserError; returns sentences for the user."""
    rows, columns = photo.pixels.shape[:2]
    if ends.min() >= 0 and ends.max() <= 1:
        raise UserError(f"end points of {path.name} lie between 0 and 1; multiply them by its width and height in px")
    if ends.min() < -1 or (ends > (columns, rows)).any():  # px borders or centres, counted from 0 or from 1
        raise UserError(f"end points of {path.name} lie outside the image of {columns} columns and {rows} rows")
    turned = "its EXIF orientation turns it; its end points are taken as on the picture that viewers show"
    return [turned] if photo.orientation != 1 else []


def read_patients(data: Path, images: Sequence[Path]) -> dict[str, str]:
    """Read the patient of each image from `patients.csv`, columns ``image`` and ``patient``, if it is there."""
    table = read_table(data, "patients.csv", images, ("image", "patient"), complete=True)
    if without := [name for name, row in table.items() if not row["patient"]]:
        raise UserError(f"patients.csv names no patient for {join_names(without)}; fill the column")
    return {name: row["patient"] for name, row in table.items()}
