"""Prepare HAM10000 (FACTS.md section 3, column HAM10000): images and Tschandl masks -> Data_ham/prepared/.

python HAM_data.py                        # the published protocol
python HAM_data.py --protocol corrected   # RGB images, split by lesion
"""

import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

import cv2
import numpy as np

from common.data.dataset import Dropped, Lesion, Outcome
from common.data.images import read_photo
from common.data.masks import mask_fault, read_mask
from common.data.pairs import drop_unpaired
from common.data.preprocess import PreprocessConfig, preprocess
from common.data.splits import split_groups
from common.patches import resize_image, resize_mask, shrink_mask
from common.recipe import DatasetInfo
from common.recist import fit_ellipse
from common.run.cli import prepare_parser
from common.utils.errors import UserError, run_script
from common.utils.files import list_files, read_csv
from common.weak_masks import ellipse_mask, grabcut_mask

DATASET = DatasetInfo(
    name="HAM10000",
    folder=Path(__file__).resolve().parent,
    data="Data_ham",
    prepare_script="HAM_data.py",
    clusters=45,
    truth="truth",
)
IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
MASK_FOLDER = "HAM10000_segmentations_lesion_tschandl"
MASK_SUFFIX = "_segmentation.png"
METADATA = "HAM10000_metadata.csv"
CHANNELS = {"released": "bgr", "corrected": "rgb"}  # of the patches, by protocol (FACTS.md 4.1)


class Pair(NamedTuple):
    """An image and its mask."""

    name: str
    image: Path
    mask: Path
    lesion_id: str  # empty where the metadata do not name the image


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped]]:
    """Find the images that have masks, sorted by name, and the files without their counterpart.

    Raises:
        UserError: a folder is missing, an image is in both folders, or no image has a mask.
    """
    folders = [data / name for name in IMAGE_FOLDERS if (data / name).is_dir()]
    if not folders or not (data / MASK_FOLDER).is_dir():
        missing = data / (MASK_FOLDER if folders else IMAGE_FOLDERS[0])
        raise UserError(f"{missing} is missing; put HAM10000 there as code_ham/README.md says, or pass --data DIR")
    images: dict[str, Path] = {}
    for path in (path for folder in folders for path in list_files(folder, "*.jpg")):
        if images.setdefault(path.stem, path) != path:
            raise UserError(f"{path.name} is in {images[path.stem].parent} and in {path.parent}; keep one of them")
    masks = {path.name.removesuffix(MASK_SUFFIX): path for path in list_files(data / MASK_FOLDER, f"*{MASK_SUFFIX}")}
    dropped = drop_unpaired(images, masks, ("image", "mask"))
    names = sorted(images.keys() & masks.keys())
    if not names:
        raise UserError(f"no image in {data} has a mask in {MASK_FOLDER}; the names must match")
    lesion_ids = read_lesion_ids(data / METADATA)
    return [Pair(name, images[name], masks[name], lesion_ids.get(name, "")) for name in names], dropped


def read_lesion_ids(metadata: Path) -> dict[str, str]:
    """Read which lesion each image shows from `HAM10000_metadata.csv`; empty where there is no such file."""
    rows = read_csv(metadata) if metadata.is_file() else []
    if rows and not {"image_id", "lesion_id"} <= rows[0].keys():
        raise UserError(f"{metadata} lacks the column image_id or lesion_id; download it again")
    return {row["image_id"]: row["lesion_id"] for row in rows}


def make_patch(image: np.ndarray, *, rgb: bool) -> np.ndarray:
    """Resize a (H, W, 3) BGR image to the (120, 120, 3) patch: RGB, or BGR as published (FACTS.md 4.1)."""
    patch = resize_image(image)
    return cv2.cvtColor(patch, cv2.COLOR_BGR2RGB) if rgb else patch


def make_lesion(pair: Pair, *, corrected: bool, grabcut: bool) -> list[Outcome]:
    """Make a lesion from an image and its mask, or say why it is dropped.

    Args:
        pair: the files.
        corrected: RGB patches, and images of one lesion belong together; False is as published (FACTS.md 4.1, 4.7).
        grabcut: make the GrabCut mask too.

    Raises:
        UserError: as `read_photo` and `read_mask`.
    """
    photo = read_photo(pair.image)
    mask, notes = read_mask(pair.mask, photo)
    if fault := mask_fault(mask):
        return [Dropped(pair.name, fault)]
    ellipse = fit_ellipse(mask)
    # The vector for k-means is fitted in the frame of the patch; only the mask is drawn at full size.
    recist = fit_ellipse(shrink_mask(mask))
    if ellipse is None or recist is None:
        return [Dropped(pair.name, "the mask's hull has under 5 points")]
    inside = shrink_mask(ellipse_mask(ellipse, mask.shape, margin=0.5)) if grabcut else None
    lesion = Lesion(
        name=pair.name,
        group=(pair.lesion_id if corrected else "") or pair.name,
        image=make_patch(photo.pixels, rgb=corrected),
        ellipse=resize_mask(ellipse_mask(ellipse, mask.shape)),
        recist=recist,
        grabcut=None if inside is None else grabcut_mask(resize_image(photo.pixels), inside),
        truth=resize_mask(mask),
        info={"source": pair.image.name, "lesion_id": pair.lesion_id},
        notes=(*photo.notes, *notes),
    )
    return [lesion]


def split_by_image(rows: list[dict[str, Any]]) -> list[str]:
    """Split rows as published: 70/20/10 of the images, shuffled by `random.seed(1)` (FACTS.md section 3)."""
    order = list(range(len(rows)))
    random.Random(1).shuffle(order)
    train, val = int(0.7 * len(rows)), int(0.2 * len(rows))
    for place, row in enumerate(order):
        rows[row]["order"] = place  # ACoseg's evaluation leaves out the last of this order (FACTS.md 4.4)
    splits = ["train"] * train + ["val"] * val + ["test"] * (len(rows) - train - val)
    return [split for _, split in sorted(zip(order, splits, strict=True))]


def split_by_lesion(rows: list[dict[str, Any]]) -> list[str]:
    """Split rows 70/20/10 with all images of a lesion in one split (FACTS.md 4.7)."""
    if not all(row["lesion_id"] for row in rows):
        raise UserError(
            f"the corrected protocol splits by lesion and needs {METADATA} with every image; "
            "put it into the data folder, or pass --protocol released"
        )
    return split_groups([row["lesion_id"] for row in rows], seed=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    args = prepare_parser(DATASET, __doc__).parse_args(arguments)
    pairs, dropped = find_pairs(args.data)
    inputs = [path for pair in pairs for path in (pair.image, pair.mask)]
    inputs += [path for path in [args.data / METADATA] if path.is_file()]
    corrected = args.protocol == "corrected"
    preprocess(
        PreprocessConfig.from_args(DATASET, args, inputs, preprocessing={"channels": CHANNELS[args.protocol]}),
        args.prepared,
        pairs,
        partial(make_lesion, corrected=corrected, grabcut=args.grabcut),
        split_by_lesion if corrected else split_by_image,
        dropped=dropped,
        force=args.force,
        refresh=args.refresh,
        workers=args.workers,
        unit="image",
    )


if __name__ == "__main__":
    run_script(main)
