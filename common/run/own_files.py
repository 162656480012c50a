"""The files of your own data: outlines and tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.inference import image_table
from common.io.images import Photo
from common.io.masks import read_mask
from common.utils.errors import UserError, join_names


def read_outline(image: Path, photo: Photo, marked: bool) -> tuple[np.ndarray | None, list[str]]:
    """As `read_mask`, of `masks/STEM.png` beside the image's folder.

    None where there is no folder of masks at all, or no mask for an image that is ``marked`` by end points.
    """
    path = image.parent.with_name("masks") / f"{image.stem}.png"
    if marked and path.parent.is_dir() and not path.exists():
        return None, ["no outline in masks/; its mark alone is used"]
    return read_mask(path, photo) if path.parent.is_dir() else (None, [])


def find_table(data: Path, name: str) -> Path | None:
    """A CSV file, whose name may be in upper case too; None where there is none.

    Raises:
        UserError: the folder holds several such files, or one that is only named alike.
    """
    files = [path for path in sorted(data.iterdir()) if Path(name).stem in path.name.casefold() and path.is_file()]
    exact = [path for path in files if path.name.casefold() == name]
    if files and len(exact) != 1:
        names = join_names([path.name for path in files])
        raise UserError(f"{data} holds {names}; name the one to read {name}, keep no other")
    return exact[0] if exact else None


def read_ends(data: Path, images: Sequence[Path]) -> dict[Path, np.ndarray]:
    """`image_table.read_ends` of `recist.csv`, if it is there; each image needs a row unless there are masks."""
    path = find_table(data, "recist.csv")
    return image_table.read_ends(path, images, complete=not (data / "masks").is_dir()) if path else {}


def read_patients(data: Path, images: Sequence[Path]) -> dict[str, str]:
    """Read the patient of each image from `patients.csv`, columns ``image`` and ``patient``, if it is there."""
    path = find_table(data, "patients.csv")
    table = image_table.read_table(path, images, ("image", "patient"), complete=True) if path else {}
    if without := [image.name for image, row in table.items() if not row["patient"]]:
        raise UserError(f"patients.csv names no patient for {join_names(without)}; fill the column")
    return {image.name: row["patient"] for image, row in table.items()}
