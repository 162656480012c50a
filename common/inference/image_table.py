"""CSV tables with one row per image, which shows one lesion: RECIST end points, or anything else known per image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.inference.prompts import ENDS
from common.io.images import Photo
from common.utils.arguments import number_list
from common.utils.errors import UserError, join_names
from common.utils.file_index import FileIndex
from common.utils.files import read_rows

Table = dict[Path, dict[str, str]]  # rows by image
HELP = f"""\
The lesions CSV has the columns image,{",".join(ENDS)} and one row per image, named with or without
folder and suffix. The numbers are RECIST end points in px from 0, both of the long, then both of the short diameter; x
is the column, y the row of the image as viewers show it. Rows of other images, or of other folders, are ignored.
"""


def read_table(
    path: Path, images: Sequence[Path], columns: Sequence[str], *, complete: bool, others: bool = False
) -> Table:
    """Read a CSV file with a row an image.

    The column ``image`` names each image with or without folders and suffix, in upper or lower case. Where ``others``
    may be there, folders must be the image's.

    Raises:
        UserError: one of the ``columns`` is missing; a row names no image (unless ``others`` may be there), or several;
            an image has two rows, or none though all must (``complete``).
    """
    index = FileIndex(images)
    table: Table = {}
    elsewhere: dict[str, str] = {}  # why a row is not an image's, by the image's name
    for line, row in enumerate(read_rows(path), 2):
        if missing := [column for column in columns if column not in row]:
            raise UserError(f"{path} lacks the column {missing[0]}; its first line must be {','.join(columns)}")
        namesakes = index.namesakes(row["image"])
        matches = index.find(row["image"]) if others else namesakes
        if others and not matches:
            elsewhere |= {image.name: f"line {line} names {row['image']}, in another folder" for image in namesakes}
            continue
        if len(matches) != 1:
            why = f"may be {' or '.join(map(str, matches))}" if matches else "is none of the images"
            raise UserError(f"{path} line {line}: {row['image']!r} {why}; write a file's name in full, with its folder")
        if matches[0] in table:
            raise UserError(f"{path} line {line} names {matches[0].name} again; an image shows one lesion")
        table[matches[0]] = {**row, "line": str(line)}
    if (complete or not table) and (without := [image.name for image in images if image not in table]):
        remedy = elsewhere.get(without[0], "add rows, or move the images away")
        raise UserError(f"{path} has no row for {join_names(without)}; {remedy}")
    return table


def read_ends(
    path: Path, images: Sequence[Path], *, complete: bool = True, others: bool = False
) -> dict[Path, np.ndarray]:
    """Read RECIST end points from a table with the columns ``image`` and `prompts.ENDS`.

    Returns:
        By image, (4, 2) points (x, y) in px of the image: both ends of the long diameter, then of the short one, as
        `recist.ellipse_from_diameters` takes them.

    Raises:
        UserError: as `read_table`, or a number is missing.
    """
    ends: dict[Path, np.ndarray] = {}
    for image, row in read_table(path, images, ("image", *ENDS), complete=complete, others=others).items():
        points = number_list(",".join(row[column] for column in ENDS), len(ENDS))
        if points is None:
            raise UserError(f"{path} line {row['line']} must have a number in each of {', '.join(ENDS)}, such as 51.5")
        ends[image] = np.array(points).reshape(4, 2)
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
