"""Prepare LiTS (FACTS.md section 3, column LiTS): CT volumes and tumour masks -> data/prepared/.

python lits_data.py                              # the published patches, saturated to 0..255 HU
python lits_data.py --window 50,400              # a liver window instead
python lits_data.py --split-file my_split.csv    # columns volume, split
"""

import argparse
import math
import re
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

import cv2
import nibabel as nib
import numpy as np
from scipy import ndimage

from common.cli import prepare_parser
from common.errors import UserError, run_script
from common.files import fingerprint, read_csv
from common.patches import PATCH, resize_image, resize_mask, shrink_mask
from common.prepared import SPLITS, Dropped, Lesion, Outcome, Request, prepare
from common.recipe import Dataset
from common.recist import fit_ellipse
from common.splits import split_groups
from common.weak_masks import ellipse_mask, grabcut_mask

DATASET = Dataset(
    name="LiTS",
    folder=Path(__file__).resolve().parent,
    data="data",
    prepare_script="lits_data.py",
    clusters=40,
    truth="truth",
)
VOLUME_FOLDER, SEGMENTATION_FOLDER = "volume", "segmentations"
TUMOUR = 2  # 0 is background, 1 liver
GROWTHS = (10, 8)  # px, one after the other
LEAST_IOU = 0.4
PARTS = 2  # a volume with many tumours would keep one core busy while the others have finished

PUBLISHED_RUNS = """
E20 T772 V45 T2456 V356 T87 E276 V117 E381 T1447 V596 T134 E9 T15 V3 T1601 E91 V12 E7 V486 T68 E95 T51 V89 E12 T36 V6
T6 V99 T306 E116 V22 T28 V18 T49 E319 V42 T31 V131 E14 T213 V25 T73 V160 T27 V45 T543 V7 T85 E21 T10 V4 E21 V20 T4 V27
E24 V57 T107 V60 T30 V26 T4 E13 V12 T176 V136 E38 T612 V270 E88 T1267 V320 T1284 V119 E85
"""
"""The published split as runs over the patches in the order of their names (FACTS.md section 3)."""


@dataclass(frozen=True)
class Pair:
    """A volume and its segmentation."""

    name: str
    volume: Path
    segmentation: Path


class Part(NamedTuple):
    """One of the `PARTS` jobs that a volume makes."""

    pair: Pair
    number: int
    """0..PARTS-1; a part holds its share of the slices with tumour."""


class Box(NamedTuple):
    """Pixels first to last, both included, of a slice."""

    top: int
    left: int
    bottom: int
    right: int


def find_pairs(data: Path) -> tuple[list[Pair], list[Dropped]]:
    """The volumes that have segmentations, in the order of the patches' names, and what lacks its other half.

    Where a file is there as ``.nii`` and as ``.nii.gz``, the former, faster to read, is taken.

    Raises:
        UserError: a folder is missing, or no volume has a segmentation.
    """
    found = []
    for folder, stem in ((VOLUME_FOLDER, "volume"), (SEGMENTATION_FOLDER, "segmentation")):
        if not (data / folder).is_dir():
            raise UserError(f"{data / folder} is missing; put LiTS there as README.md says, or pass --data DIR")
        paths = sorted((data / folder).glob(f"{stem}-*.nii*"), reverse=True)
        matches = ((re.fullmatch(rf"{stem}-(\d+)\.nii(\.gz)?", path.name), path) for path in paths)
        found.append({match[1]: path for match, path in matches if match})
    volumes, segmentations = found
    lone = [
        Dropped(f"volume-{n}", "volume without segmentation") for n in sorted(volumes.keys() - segmentations.keys())
    ]
    lone += [
        Dropped(f"segmentation-{n}", "segmentation without volume")
        for n in sorted(segmentations.keys() - volumes.keys())
    ]
    for item in lone:
        print(f"{item.lesion}: {item.reason}, left out", file=sys.stderr)
    both = sorted(volumes.keys() & segmentations.keys(), key=lambda n: f"{n}_")  # "10_" before "1_", as the names sort
    if not both:
        raise UserError(f"no volume-N.nii[.gz] in {data / VOLUME_FOLDER} has a segmentation-N; the numbers must match")
    return [Pair(f"volume-{n}", volumes[n], segmentations[n]) for n in both], lone


class Scan:
    """A three-dimensional NIfTI file, read slice by slice; a compressed one in a single pass forward."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # With the file kept open, going from slice to slice doesn't decompress from the start each time.
            self._image = cast("Any", nib.load(path, keep_file_open=True))
        except (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, EOFError, zlib.error) as error:
            raise UserError(f"{path} is not a readable NIfTI file; download it again") from error
        self.shape: tuple[int, ...] = self._image.shape
        if len(self.shape) != 3:
            raise UserError(
                f"{path} has {len(self.shape)} axes ({self.size}) where a volume has three; download it again"
            )
        if self._image.get_data_dtype().kind not in "iuf":
            raise UserError(f"{path} holds {self._image.get_data_dtype()} voxels, not plain numbers; download it again")

    @property
    def size(self) -> str:
        """Rows, columns and slices, for messages."""
        return "x".join(map(str, self.shape))

    @property
    def spacing(self) -> str:
        """Distance of rows, columns and slices in mm, e.g. "0.703125x0.703125x5"."""
        return "x".join(f"{float(step):g}" for step in self._image.header.get_zooms()[:3])

    def read(self, index: int) -> np.ndarray:
        """The slice ``index`` as (rows, columns) of the type on disk.

        Raises:
            UserError: the file is cut short or damaged, or the slice holds NaN or infinite voxels.
        """
        try:
            values = np.asarray(self._image.dataobj[..., index])
        except (EOFError, OSError, ValueError, zlib.error) as error:
            raise UserError(f"{self.path} is cut short or damaged; download it again") from error
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(f"{self.path} holds NaN or infinite voxels in slice {index}; download it again")
        return values

    def read_tumour(self, index: int) -> np.ndarray:
        """The slice ``index`` of a segmentation as (rows, columns) booleans.

        Raises:
            UserError: as `read`, or a label other than 0, 1, 2.
        """
        values = self.read(index)
        if not ((values.min() >= 0) and (values.max() <= TUMOUR) and (values == values.astype(np.uint8)).all()):
            strange = values[(values != 0) & (values != 1) & (values != TUMOUR)][0]
            raise UserError(f"{self.path} holds the label {strange} in slice {index}; LiTS has 0, 1 and 2 only")
        return values == TUMOUR


def patch_box(box: Box, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The square patch about a component's box (FACTS.md section 3, row patch).

    Args:
        box: of the component.
        shape: rows and columns of the slice.

    Returns:
        Rows and columns of the patch: a square but where the slice's border cuts it.
    """
    top, left, bottom, right = box
    for growth in GROWTHS:
        # The release takes the first pixel and the one after the last of the slice as the bounds.
        top, left = max(top - growth, 0), max(left - growth, 0)
        bottom, right = min(bottom + growth, shape[0]), min(right + growth, shape[1])
    half = max(bottom - top + 1, right - left + 1) // 2
    row, column = round((top + bottom) / 2), round((left + right) / 2)  # halves go to the even number
    return (
        slice(max(row - half, 0), min(row + half, shape[0])),
        slice(max(column - half, 0), min(column + half, shape[1])),
    )


def grey(hounsfield: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Hounsfield units as uint8.

    Args:
        hounsfield: any shape, in HU.
        window: centre and width in HU, mapped linearly to 0..255; None, as published, takes HU as grey levels
            and saturates them below 0 and above 255.
    """
    values = hounsfield
    if window is not None:
        centre, width = window
        values = (hounsfield.astype(np.float64) - (centre - width / 2)) * (255 / width)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    either = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / either if either else 0.0


def make_lesion(
    name: str, patch: np.ndarray, component: np.ndarray, info: Mapping[str, Any], *, grabcut: bool
) -> Outcome:
    """One component's patch as a lesion, or the reason why not (FACTS.md section 3, rows ellipse to GrabCut).

    Args:
        name: of the lesion.
        patch: (H, W) uint8.
        component: (H, W) booleans; other tumours of the patch don't count.
        info: what else to note in `lesions.csv`.
        grabcut: make the GrabCut mask too.
    """
    drawn = fit_ellipse(component)
    if drawn is None:
        return Dropped(name, "the hull has under 5 points")
    # Both the choice of lesions and the numbers for k-means rest on the pixels that the ellipse covers wholly.
    covered = shrink_mask(ellipse_mask(drawn, component.shape, whole=0.4))
    recist = fit_ellipse(covered)
    truth, ellipse = resize_mask(component), resize_mask(ellipse_mask(drawn, component.shape))
    if not (truth.any() and ellipse.any()):
        return Dropped(name, "the mask is empty at 120x120")
    if recist is None or _iou(covered, shrink_mask(component)) < LEAST_IOU:
        return Dropped(name, f"the ellipse's IoU with the truth is under {LEAST_IOU}")
    image = np.repeat(resize_image(patch)[..., None], 3, axis=2)
    weak = None
    if grabcut:
        # Here the ellipse counts every pixel it touches, before and after resizing.
        touched = ellipse_mask(drawn, component.shape, grow=0.5).astype(np.float64)
        touched = (cv2.resize(touched, (PATCH, PATCH)) > 0).astype(np.uint8)
        weak = grabcut_mask(image, touched, inset=2, least_pixels=10)
    return Lesion(name, image, ellipse, recist, weak, truth, info)


def make_lesions(part: Part, *, window: tuple[float, float] | None, grabcut: bool) -> list[Outcome]:
    """The tumour patches of a part of a volume, in the order of their names.

    Only slices that hold tumour are read from the volume, and one slice is in memory at a time.

    Args:
        part: the files, and which of the slices with tumour.
        window: see `grey`.
        grabcut: make the GrabCut masks too.

    Raises:
        UserError: unreadable files, sizes that differ, labels other than 0, 1, 2, NaN or infinite voxels.
    """
    pair = part.pair
    volume, segmentation = Scan(pair.volume), Scan(pair.segmentation)
    if volume.shape != segmentation.shape:
        raise UserError(
            f"{pair.segmentation} is {segmentation.size} voxels but its volume is {volume.size}; download both again"
        )
    depth = volume.shape[2]
    slices = [index for index in range(depth) if segmentation.read_tumour(index).any()]
    if not slices:
        return [Dropped(pair.name, "volume without tumour")] if part.number == 0 else []
    slices.sort(key=lambda index: f"{index}_")  # as the names sort
    mine = slices[len(slices) * part.number // PARTS : len(slices) * (part.number + 1) // PARTS]
    outcomes: dict[str, Outcome] = {}
    for index in sorted(mine):
        hounsfield = volume.read(index)
        labels, _ = ndimage.label(segmentation.read_tumour(index), np.ones((3, 3)))  # 8-connected, by first pixels
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            name = f"{pair.name}_{index}_{number}"
            patch = patch_box(Box(rows.start, columns.start, rows.stop - 1, columns.stop - 1), labels.shape)
            pixels = grey(hounsfield[patch], window)
            info = {
                "source": f"{pair.volume.name} slice {index} component {number}",
                "volume": pair.name,
                "spacing_mm": volume.spacing,
                "patch_px": f"{pixels.shape[0]}x{pixels.shape[1]}",
            }
            outcomes[name] = make_lesion(name, pixels, labels[patch] == number, info, grabcut=grabcut)
    if part.number == 0:
        volume.read(depth - 1)  # a volume cut short behind its last tumour is not whole either
    return [outcomes[name] for name in sorted(outcomes)]


def published_split() -> list[str]:
    """Each patch's published split, in the order of the names: 11,522 train, 3,310 val, 1,630 test."""
    names = {"T": "train", "V": "val", "E": "test"}
    return [names[run[0]] for run in PUBLISHED_RUNS.split() for _ in range(int(run[1:]))]


def read_split_file(path: Path, known: set[str]) -> dict[str, str]:
    """The split of each volume from a CSV file with the columns ``volume`` ("volume-7" or "7") and ``split``.

    Args:
        path: the CSV file.
        known: names of the volumes that have segmentations; the file must name all of them and no other.

    Raises:
        UserError: a column, a volume or a split is unknown or missing, or a volume is in two splits.
    """
    chosen: dict[str, str] = {}
    for line, row in enumerate(read_csv(path), 2):
        if not {"volume", "split"} <= row.keys():
            raise UserError(f"{path} lacks the column volume or split; its first line must be volume,split")
        name, split = "volume-" + (row["volume"] or "").strip().removeprefix("volume-"), (row["split"] or "").strip()
        if name not in known:
            raise UserError(f"{path} line {line} names {name}, which has no volume with segmentation; remove the line")
        if split not in SPLITS:
            raise UserError(f"{path} line {line} says {split!r}; a split is one of {', '.join(SPLITS)}")
        if chosen.setdefault(name, split) != split:
            raise UserError(
                f"{path} line {line} puts {name} into {split}, an earlier one into {chosen[name]}; keep one"
            )
    if missing := sorted(known - chosen.keys()):
        raise UserError(f"{path} doesn't name {', '.join(missing[:5])}; give every volume a split")
    return chosen


def split_by_volume(rows: list[dict[str, Any]], chosen: Mapping[str, str] | None = None) -> list[str]:
    """Each row's split; no volume is ever in two, and one line says which split it is.

    Args:
        rows: of `lesions.csv`, in the order of their names.
        chosen: the split of each volume, from a split file; None means the published runs where exactly the
            published patches came out, else a seeded 70/20/10 of the volumes by number of patches.
    """
    volumes = [row["volume"] for row in rows]
    if chosen is not None:
        print("split: as the split file says")
        return [chosen[volume] for volume in volumes]
    published = published_split()
    if len(rows) == len(published) and len(set(zip(volumes, published, strict=True))) == len(set(volumes)):
        print(f"split: the published one, {len(rows)} patches")
        return published
    print(f"split: volumes 70/20/10 by patches, seed 1 (the published one needs its {len(published)} patches)")
    return split_groups(volumes, seed=1)


def parse_window(text: str) -> tuple[float, float]:
    """Parse "CENTRE,WIDTH" in HU, e.g. "50,400"."""
    try:
        centre, width = map(float, text.split(","))
    except ValueError:
        centre = width = math.nan
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not CENTRE,WIDTH in HU, such as 50,400")
    return centre, width


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = prepare_parser(DATASET, __doc__)
    parser.add_argument(
        "--window",
        type=parse_window,
        metavar="CENTRE,WIDTH",
        help="in HU, mapped to 0..255; write --window=-50,400 for a centre below 0 (default as published: "
        "HU below 0 are 0, above 255 are 255)",
    )
    parser.add_argument(
        "--split-file",
        type=Path,
        metavar="CSV",
        help="columns volume, split (default: the published split or a seeded one)",
    )
    args = parser.parse_args(arguments)
    pairs, lone = find_pairs(args.data)
    chosen = read_split_file(args.split_file, {pair.name for pair in pairs}) if args.split_file else None
    files = [path for pair in pairs for path in (pair.volume, pair.segmentation)]
    settings = {"grabcut": args.grabcut, "window": args.window and list(args.window), "split": chosen}
    prepare(
        Request(DATASET, args.protocol, args.clusters, args.seed, fingerprint(files, args.data), settings),
        args.prepared,
        [Part(pair, number) for pair in pairs for number in range(PARTS)],
        partial(make_lesions, window=args.window, grabcut=args.grabcut),
        partial(split_by_volume, chosen=chosen),
        dropped=lone,
        force=args.force,
        workers=args.workers,
        unit="half volume",
    )


if __name__ == "__main__":
    run_script(main)
