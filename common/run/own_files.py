"""The files of your own data: outlines and tables."""

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.inference import image_table
from common.io.images import Photo
from common.io.masks import read_mask
from common.utils.errors import UserError, join_names
from common.utils.file_index import plain_name
from common.utils.provenance import sha256


def find_masks(data: Path) -> dict[str, Path]:
    """The files in `masks/` by the `plain_name` of their stem; empty where there is no such folder.

    Raises:
        UserError: two have the same stem.
    """
    masks: dict[str, Path] = {}
    for path in sorted(data.glob("masks/[!.]*")):
        if (other := masks.setdefault(plain_name(path.stem), path)) is not path:
            raise UserError(f"{path} and {other.name} are masks of the same image; keep one of them")
    return masks


def check_masks(data: Path, images: Sequence[Path]) -> None:
    """Say which files in `masks/` belong to no image.

    Raises:
        UserError: several images share a mask, or there are masks and none belongs to an image.
    """
    if not (data / "masks").is_dir():
        return
    stems = Counter(plain_name(path.stem) for path in images)
    if twice := [path.name for path in images if stems[plain_name(path.stem)] > 1]:
        raise UserError(f"{join_names(twice)} would share a mask; give each image a name of its own")
    masks = find_masks(data)
    strays = [path.name for stem, path in masks.items() if stem not in stems]
    if strays and len(strays) == len(masks):
        raise UserError(
            f"{data / 'masks'} holds {join_names(strays)}, none named like an image; the mask of {images[0].name} must "
            f"be named {images[0].stem}.png"
        )
    if strays:
        print(f"{data / 'masks'}: {join_names(strays)}: mask without image, left out", file=sys.stderr)


@lru_cache(maxsize=1)
def _find_masks(data: Path, _changed: int) -> dict[str, Path]:
    return find_masks(data)


def read_outline(image: Path, photo: Photo, marked: bool) -> tuple[np.ndarray | None, list[str]]:
    """`read_mask` of the file with the image's stem in `masks/`, the folder beside the image's.

    None without a folder of masks, or without a mask of an image that is ``marked`` by end points.

    Raises:
        UserError: an image that is not marked has no mask, or as `read_mask`.
    """
    folder = image.parent.with_name("masks")
    if not folder.is_dir():
        return None, []
    masks = _find_masks(folder.parent, folder.stat().st_mtime_ns)
    path = masks.get(plain_name(image.stem))
    if path is None and marked:
        return None, ["no outline in masks/; its mark alone is used"]
    if path is None:
        raise UserError(
            f"{image.name} has neither a mask in {folder} nor a row in recist.csv; add one, or move it away"
        )
    return read_mask(path, photo)


def find_copies(images: Sequence[Path], patients: Mapping[str, str]) -> dict[str, str]:
    """Map every image that has identical copies to the first of them, by name; a line says so where no table does.

    Raises:
        UserError: copies have different ``patients``, as `read_patients` returns them.
    """
    sizes = Counter(path.stat().st_size for path in images)
    by_content = defaultdict(list)
    for path in images:
        if sizes[path.stat().st_size] > 1:
            by_content[sha256(path)].append(path.name)
    copies = {name: names[0] for names in by_content.values() if len(names) > 1 for name in names}
    for name, first in copies.items():
        if patients and patients[name] != patients[first]:
            raise UserError(
                f"{name} is a copy of {first}, and patients.csv gives them to the patients {patients[name]} and "
                f"{patients[first]}; remove one, or correct the table"
            )
    if copies and not patients:
        print(f"{join_names(sorted(copies))}: copies of the same image are kept in one split", file=sys.stderr)
    return copies


def find_table(data: Path, name: str) -> Path | None:
    """A CSV file, whose name may be in upper case too; None where there is none.

    Raises:
        UserError: the folder holds several such files, or one that is only named alike.
    """
    files = [path for path in sorted(data.iterdir()) if Path(name).stem in path.name.casefold() and path.is_file()]
    exact = [path for path in files if path.name.casefold() == name]
    if files and len(exact) != 1:
        names = join_names([path.name for path in files])
        remedy = f"name the one to read {name}, keep no other"
        if not any(path.suffix.casefold() == ".csv" for path in files):
            remedy = f"save the one to read as {name}, in CSV UTF-8"
        raise UserError(f"{data} holds {names}; {remedy}")
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
    spelling: dict[str, str] = {}  # P7 and p7 are one patient
    return {image.name: spelling.setdefault(plain_name(row["patient"]), row["patient"]) for image, row in table.items()}
