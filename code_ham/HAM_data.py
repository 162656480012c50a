"""Prepare HAM10000 (FACTS.md section 3, column HAM10000): images and Tschandl masks -> Data_ham/prepared/.

python HAM_data.py                    # the published protocol
python HAM_data.py --protocol corrected
"""

import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

import cv2
import numpy as np

from common.data.dataset import Dropped, Lesion, Outcome
from common.data.images import read_image
from common.data.preprocess import PreprocessConfig, prepare, warn_dropped
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


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    name: str
    image: Path
    mask: Path
    lesion_id: str


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped]]:
    """The images that have masks, in the order of their names, and what lacks its other half.

    Raises:
        UserError: a folder is missing, an image is there twice, or no image has a mask.
    """
    folders = [data / name for name in IMAGE_FOLDERS if (data / name).is_dir()]
    if not folders or not (data / MASK_FOLDER).is_dir():
        missing = data / (MASK_FOLDER if folders else IMAGE_FOLDERS[0])
        raise UserError(f"{missing} is missing; put HAM10000 there as README.md says, or pass --data DIR")
    images: dict[str, Path] = {}
    for path in (path for folder in folders for path in list_files(folder, "*.jpg")):
        if images.setdefault(path.stem, path) != path:
            raise UserError(f"{path.name} is in {images[path.stem].parent} and in {path.parent}; keep one of them")
    masks = {path.name.removesuffix(MASK_SUFFIX): path for path in list_files(data / MASK_FOLDER, f"*{MASK_SUFFIX}")}
    lone = [Dropped(name, "image without mask") for name in sorted(images.keys() - masks.keys())]
    lone += [Dropped(name, "mask without image") for name in sorted(masks.keys() - images.keys())]
    warn_dropped(lone)
    if not images.keys() & masks.keys():
        raise UserError(f"no image in {data} has a mask in {MASK_FOLDER}; the names must match")
    ids = read_lesion_ids(data / METADATA)
    pairs = [Pair(name, images[name], masks[name], ids.get(name, "")) for name in sorted(images.keys() & masks.keys())]
    return pairs, lone


def read_lesion_ids(metadata: Path) -> dict[str, str]:
    """Which lesion each image shows, from `HAM10000_metadata.csv`; empty where the file is absent."""
    if not metadata.is_file():
        return {}
    rows = read_csv(metadata)
    if rows and not {"image_id", "lesion_id"} <= rows[0].keys():
        raise UserError(f"{metadata} lacks the column image_id or lesion_id; download it again")
    return {row["image_id"]: row["lesion_id"] for row in rows}


def make_patch(image: np.ndarray, *, rgb: bool) -> np.ndarray:
    """Squeeze a (H, W, 3) BGR image into the (120, 120, 3) patch.

    Args:
        image: as OpenCV reads it.
        rgb: channels as the statistics expect them; False keeps OpenCV's BGR, as published (FACTS.md 4.1).
    """
    patch = resize_image(image)
    return cv2.cvtColor(patch, cv2.COLOR_BGR2RGB) if rgb else patch


def make_lesion(pair: Pair, *, rgb: bool, grabcut: bool) -> list[Outcome]:
    """One image and mask as a lesion, or the reason why not.

    Args:
        pair: the files.
        rgb: see `make_patch`.
        grabcut: make the GrabCut mask too.

    Raises:
        UserError: unreadable files, or sizes that differ.
    """
    image = read_image(pair.image)
    mask = read_image(pair.mask, cv2.IMREAD_GRAYSCALE)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{pair.mask} is {mask.shape[1]}x{mask.shape[0]} px but its image is "
            f"{image.shape[1]}x{image.shape[0]}; download both again"
        )
    if not mask.any():
        return [Dropped(pair.name, "the mask is empty")]
    if mask.all():
        return [Dropped(pair.name, "the mask covers the whole image")]
    drawn = fit_ellipse(mask)
    # The numbers for k-means are refitted in the frame of the patch; only the mask is drawn at full size.
    recist = fit_ellipse(shrink_mask(mask))
    if drawn is None or recist is None:
        return [Dropped(pair.name, "the mask's hull has under 5 points")]
    inside = shrink_mask(ellipse_mask(drawn, mask.shape, whole=0.5)) if grabcut else None
    return [
        Lesion(
            name=pair.name,
            image=make_patch(image, rgb=rgb),
            ellipse=resize_mask(ellipse_mask(drawn, mask.shape)),
            recist=recist,
            grabcut=grabcut_mask(resize_image(image), inside) if inside is not None else None,
            truth=resize_mask(mask),
            info={"source": pair.image.name, "lesion_id": pair.lesion_id},
        )
    ]


def split_by_image(rows: list[dict[str, Any]]) -> list[str]:
    """The published split: 70/20/10 of the images, shuffled by `random.seed(1)` (FACTS.md section 3)."""
    order = list(range(len(rows)))
    random.Random(1).shuffle(order)
    train, val = int(0.7 * len(rows)), int(0.2 * len(rows))
    names = [""] * len(rows)
    for place, row in enumerate(order):
        names[row] = "train" if place < train else "val" if place < train + val else "test"
    return names


def split_by_lesion(rows: list[dict[str, Any]]) -> list[str]:
    """70/20/10 with all images of a lesion on one side (FACTS.md 4.7)."""
    if not all(row["lesion_id"] for row in rows):
        raise UserError(
            f"the corrected protocol splits by lesion and needs {METADATA} with every image; "
            "put it into the data folder, or pass --protocol released"
        )
    return split_groups([row["lesion_id"] for row in rows], seed=1)


def inputs(data: Path, pairs: Iterable[Pair]) -> list[Path]:
    """Every file the arrays depend on."""
    files = [path for pair in pairs for path in (pair.image, pair.mask)]
    return files + [path for path in [data / METADATA] if path.is_file()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    args = prepare_parser(DATASET, __doc__).parse_args(arguments)
    pairs, lone = find_pairs(args.data)
    corrected = args.protocol == "corrected"
    prepare(
        PreprocessConfig.of(DATASET, args, inputs(args.data, pairs), channels="rgb" if corrected else "bgr"),
        args.prepared,
        pairs,
        partial(make_lesion, rgb=corrected, grabcut=args.grabcut),
        split_by_lesion if corrected else split_by_image,
        dropped=lone,
        force=args.force,
        workers=args.workers,
        unit="image",
    )


if __name__ == "__main__":
    run_script(main)
