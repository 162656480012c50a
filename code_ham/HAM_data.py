"""Prepare HAM10000 (FACTS.md section 3, column HAM10000): images and Tschandl masks -> Data_ham/prepared/.

python HAM_data.py                        # the published protocol
python HAM_data.py --protocol corrected   # RGB images, split by lesion
"""

import random
import re
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

from common.data.lesion import Dropped, Lesion, Outcome
from common.data.pairs import drop_unpaired, unique_files
from common.data.preprocess import PreprocessConfig, or_unreadable, preprocess
from common.data.splits import split_rows
from common.io.images import read_photo
from common.io.masks import mask_fault, read_mask
from common.patches import resize_image, resize_mask, resize_points, shrink_mask
from common.recipe import DatasetInfo
from common.recist import diameters, fit_ellipse
from common.run.cli import prepare_parser, work_options
from common.utils.errors import UserError, run_script
from common.utils.files import describe_folder, find_files, read_csv
from common.weak_masks import MISFIT, ellipse_fits, ellipse_mask, grabcut_mask

DATASET = DatasetInfo(
    name="HAM10000",
    folder=Path(__file__).resolve().parent,
    data="Data_ham",
    prepare=("HAM_data.py",),
    clusters=45,
    truth="truth",
    splits=(7008, 2002, 1002),
)
MASK_SUFFIX = "_segmentation.png"
METADATA = ("ham10000_metadata.csv", "ham10000_metadata.tab", "ham10000_metadata")  # in upper or lower case


class Pair(NamedTuple):
    """An image and its mask."""

    name: str
    image: Path
    mask: Path
    lesion_id: str  # empty where the metadata do not name the image


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped], list[Path]]:
    """Find images, masks and metadata anywhere below a folder, and say what is taken.

    A file without its counterpart counts only if it is named as HAM10000's are; a pair may have any name.

    Returns:
        The images that have masks, sorted by name; the files without their counterpart; the metadata files.

    Raises:
        UserError: no image has a mask; files of one name, or metadata of one image, differ.
    """
    paths = find_files(data, ".jpg", ".jpeg", MASK_SUFFIX)
    mask_names = {path: path.name[: -len(MASK_SUFFIX)] for path in paths if path.name.lower().endswith(MASK_SUFFIX)}
    image_names = {path: path.stem for path in paths if path not in mask_names}
    pair_names = set(image_names.values()) & set(mask_names.values())
    if not pair_names:
        raise UserError(
            f"{data} holds {len(image_names)} .jpg and {len(mask_names)} masks, but no ISIC_*.jpg with its "
            f"ISIC_*{MASK_SUFFIX}; {describe_folder(data)}; unpack HAM10000 there as code_ham/README.md says, or pass "
            "--data DIR"
        )
    images, masks = (
        unique_files((key, path) for path, key in names.items() if key in pair_names or re.fullmatch(r"ISIC_\d+", key))
        for names in (image_names, mask_names)
    )
    metadata = [path for path in find_files(data, *METADATA) if path.name.lower() in METADATA]
    source = ", ".join(str(path.relative_to(data)) for path in metadata) or "no file"
    print(f"{DATASET.name}: {len(images)} images and {len(masks)} masks below {data}, metadata from {source}")
    lesion_ids = read_lesion_ids(metadata)
    pairs = [Pair(key, images[key], masks[key], lesion_ids.get(key, "")) for key in sorted(pair_names)]
    return pairs, drop_unpaired(images, masks, ("image", "mask")), metadata


def read_lesion_ids(metadata: Iterable[Path]) -> dict[str, str]:
    """Read from the metadata which lesion each image shows."""
    lesion_ids: dict[str, str] = {}
    for path in metadata:
        for row in read_csv(path):
            if not {"image_id", "lesion_id"} <= row.keys():
                raise UserError(f"{path} lacks the column image_id or lesion_id; download it again")
            image_id, lesion_id = row["image_id"], row["lesion_id"] or ""  # a row may be cut short
            if lesion_ids.setdefault(image_id, lesion_id) != lesion_id:
                raise UserError(f"{path} gives {image_id} a second lesion_id, {lesion_id}; keep one metadata file")
    return lesion_ids


def make_lesion(pair: Pair, *, corrected: bool, grabcut: bool) -> list[Outcome]:
    """Make a lesion from an image and its mask, or say why it is dropped.

    Args:
        pair: the files.
        corrected: RGB patches, masks that are not shifted, and images grouped by lesion; False is as published
            (FACTS.md 4.1, 4.7, 4.10).
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
        return [Dropped(pair.name, f"the mask's hull has under 5 points{' at 120x120' if ellipse else ''}")]
    inside = shrink_mask(ellipse_mask(ellipse, mask.shape, margin=0.5)) if grabcut else None
    target = resize_mask(ellipse_mask(ellipse, mask.shape), centred=corrected)
    truth = resize_mask(mask, centred=corrected)
    lesion = Lesion(
        name=pair.name,
        group=pair.lesion_id if corrected and pair.lesion_id else pair.name,
        image=photo.patch(rgb=corrected),
        ellipse=target,
        recist=recist,
        ends=resize_points(diameters(mask).ends, mask.shape),
        grabcut=None if inside is None else grabcut_mask(resize_image(photo.pixels), inside),
        truth=truth,
        info={"source": pair.image.name, "lesion_id": pair.lesion_id},
        notes=(*photo.notes, *notes, *([] if ellipse_fits(target, truth) else [MISFIT])),
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
            "the corrected protocol splits by lesion and needs HAM10000_metadata.csv, or .tab, with every "
            "image; put it into the data folder, or pass --protocol released"
        )
    return split_rows(rows, "lesion_id")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    args = prepare_parser(DATASET, __doc__).parse_args(arguments)
    pairs, dropped, metadata = find_pairs(args.data)
    inputs = [path for pair in pairs for path in (pair.image, pair.mask)] + metadata
    corrected = args.protocol == "corrected"
    preprocess(
        PreprocessConfig.from_args(DATASET, args, inputs, preprocessing={"channels": "rgb" if corrected else "bgr"}),
        args.prepared,
        pairs,
        partial(or_unreadable, make=make_lesion, corrected=corrected, grabcut=args.grabcut),
        split_by_lesion if corrected else split_by_image,
        dropped=dropped,
        **work_options(args),
        unit="image",
    )


if __name__ == "__main__":
    run_script(main)
