"""Prepare LiTS (FACTS.md section 3, column LiTS): CT volumes and tumour masks -> data/prepared/.

python lits_data.py                              # the published patches, saturated to 0..255 HU
python lits_data.py --window 50,400              # a liver window instead
python lits_data.py --split-file my_split.csv    # columns volume, split
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

import cv2
import numpy as np
from scipy import ndimage

from common.data.lesion import Dropped, Lesion, Outcome
from common.data.preprocess import PreprocessConfig, or_unreadable, preprocess
from common.patches import PATCH, resize_image, resize_mask, resize_points, shrink_mask
from common.recipe import DatasetInfo
from common.recist import diameters, fit_ellipse
from common.run.cli import prepare_parser, work_options
from common.utils.arguments import numbers
from common.utils.errors import UserError, run_script
from common.weak_masks import LEAST_IOU, ellipse_fits, ellipse_mask, grabcut_mask
from lits_files import Pair, check_pairs, find_pairs
from lits_scan import Scan
from lits_split import read_split_file, split_by_volume

DATASET = DatasetInfo(
    name="LiTS",
    folder=Path(__file__).resolve().parent,
    data="data",
    prepare=("lits_data.py",),
    clusters=40,
    truth="truth",
    splits=(11_522, 3310, 1630),
)
GROWTHS = (10, 8)  # px, one after the other
INSET = 2  # px by which GrabCut's rectangle is moved in, as published
LEAST_GRABCUT = 10  # a GrabCut result of fewer px falls back to the ellipse
NO_TUMOUR = "volume without tumour (label 2; if 1 stands for the tumours, relabel them to 2)"


def patch_box(box: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the patch about a component (FACTS.md section 3): a square unless the slice's border cuts it.

    Args:
        box: top, left, bottom, right of the component; first and last pixels, both included.
        shape: rows and columns of the slice.
    """
    top, left, bottom, right = box
    for growth in GROWTHS:
        # As in the release, the bounds are 0 and the slice's size, one beyond its last pixel.
        top, left = max(top - growth, 0), max(left - growth, 0)
        bottom, right = min(bottom + growth, shape[0]), min(right + growth, shape[1])
    half = max(bottom - top + 1, right - left + 1) // 2
    row, column = round((top + bottom) / 2), round((left + right) / 2)  # halves go to the even number
    return (
        slice(max(row - half, 0), min(row + half, shape[0])),
        slice(max(column - half, 0), min(column + half, shape[1])),
    )


def grey(hounsfield: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Turn HU of any shape into uint8 grey levels.

    ``window``, centre and width in HU, is mapped linearly to 0..255; None, as published, takes HU as grey levels and
    saturates them below 0 and above 255.
    """
    values = hounsfield
    if window is not None:
        centre, width = window
        values = (hounsfield.astype(np.float64) - (centre - width / 2)) * (255 / width)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


# A smaller width would be spoilt by rounding.
parse_window = numbers("CENTRE,WIDTH in HU, such as 50,400", lambda centre, width: width >= 1e-3, count=2)


def make_patch(pixels: np.ndarray) -> np.ndarray:
    """Resize (H, W) uint8 grey levels to the (120, 120, 3) patch."""
    return np.repeat(resize_image(pixels)[..., None], 3, axis=2)


def check_patches(path: Path, patches: Iterable[np.ndarray]) -> None:
    """Refuse a volume whose patches show next to nothing, as they do where its intensities are not HU.

    Raises:
        UserError: nearly all pixels of its (120, 120, 3) patches are black or of one grey level, or most are white.
    """
    pixels = [patch[::4, ::4, 0] for patch in patches]
    if not pixels:
        return
    low, middle, high = np.percentile(pixels, (1, 50, 99))
    look = "white" if middle == 255 else "black" if high == 0 else "of one grey" if high - low <= 1 else None
    if look:
        raise UserError(
            f"{path}: the patches of its lesions are all {look}, so its intensities can't be HU, or --window does "
            "not fit; restore HU (0 to 1: undo the scaling; off by 1024: shift them back), or take another window"
        )


def make_lesion(
    name: str,
    group: str,
    pixels: np.ndarray,
    component: np.ndarray,
    info: Mapping[str, Any],
    *,
    corrected: bool,
    grabcut: bool,
) -> Outcome:
    """Make a lesion from a component's patch, or say why it is dropped (FACTS.md section 3, rows ellipse to GrabCut).

    ``pixels``, (H, W) uint8, are the patch at its own resolution, ``component`` its (H, W) booleans, without the
    patch's other tumours; ``info`` are more cells of `lesions.csv`; ``corrected`` puts masks in place (FACTS.md 4.10).
    """
    ellipse = fit_ellipse(component)
    if ellipse is None:
        return Dropped(name, "the hull has under 5 points")
    truth = resize_mask(component, centred=corrected)
    target = resize_mask(ellipse_mask(ellipse, component.shape), centred=corrected)
    if not (truth.any() and target.any()):
        return Dropped(name, "the mask is empty at 120x120")
    # The choice of lesions and the vector for k-means both use only pixels that the ellipse covers completely.
    covered = shrink_mask(ellipse_mask(ellipse, component.shape, margin=0.4))
    tumour = shrink_mask(component)
    recist = fit_ellipse(covered)
    if recist is None or not ellipse_fits(covered, tumour):
        return Dropped(name, f"the ellipse's IoU with the truth is under {LEAST_IOU}")
    image, weak = make_patch(pixels), None
    if grabcut:
        # Here the ellipse counts every pixel it touches, before and after resizing.
        touched = ellipse_mask(ellipse, component.shape, grow=0.5).astype(np.float64)
        touched = (cv2.resize(touched, (PATCH, PATCH)) > 0).astype(np.uint8)
        weak = grabcut_mask(image, touched, inset=INSET, least_pixels=LEAST_GRABCUT)
    ends = resize_points(diameters(component).ends, component.shape)
    return Lesion(
        name=name,
        group=group,
        image=image,
        ellipse=target,
        recist=recist,
        ends=ends,
        grabcut=weak,
        truth=truth,
        info=info,
    )


def make_lesions(pair: Pair, *, window: tuple[float, float] | None, corrected: bool, grabcut: bool) -> list[Outcome]:
    """Make the lesions of a volume, in the order of their names; an error anywhere drops the whole volume.

    Only slices that hold tumour are read from the volume, one at a time.

    Args:
        pair: the files.
        window: see `grey`.
        corrected: see `make_lesion`.
        grabcut: make the GrabCut masks too.

    Raises:
        UserError: as `Scan`, its methods and `check_patches`.
    """
    volume = Scan(pair.volume)
    segmentation = Scan(pair.segmentation, volume)
    depth, spacing = volume.shape[2], "x".join(f"{step:g}" for step in volume.spacing or ())
    slices = [index for index in range(depth) if segmentation.read_tumour(index).any()]
    if not slices:
        return [Dropped(pair.name, NO_TUMOUR)]
    outcomes: dict[str, Outcome] = {}
    for index in slices:
        hounsfield = volume.read(index)
        labels, _ = ndimage.label(segmentation.read_tumour(index), np.ones((3, 3)))  # 8-connected, by first pixels
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
            name = f"{pair.name}_{index}_{number}"
            patch = patch_box((rows.start, columns.start, rows.stop - 1, columns.stop - 1), labels.shape)
            pixels = grey(hounsfield[patch], window)
            info = {
                "source": f"{pair.name} slice {index} component {number}",
                "spacing_mm": spacing,
                "patch_px": f"{pixels.shape[0]}x{pixels.shape[1]}",
            }
            component = labels[patch] == number
            outcomes[name] = make_lesion(name, pair.name, pixels, component, info, grabcut=grabcut, corrected=corrected)
    check_patches(pair.volume, (lesion.image for lesion in outcomes.values() if isinstance(lesion, Lesion)))
    volume.read(depth - 1)  # so that a volume cut short behind its last tumour is noticed
    return [outcomes[name] for name in sorted(outcomes)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = prepare_parser(DATASET, __doc__)
    add = parser.add_argument
    note = "default as published: HU below 0 are 0, above 255 are 255; write --window=-50,400 for a centre below 0"
    add("--window", type=parse_window, metavar="CENTRE,WIDTH", help=f"the HU that become 0..255 ({note})")
    note = "default: the published split or a seeded one"
    add("--split-file", type=Path, metavar="CSV", help=f"the volumes' splits, columns volume and split ({note})")
    args = parser.parse_args(arguments)
    pairs, dropped = find_pairs(args.data)
    check_pairs(pairs)
    chosen = read_split_file(args.split_file, {pair.name for pair in pairs}) if args.split_file else None
    inputs = [path for pair in pairs for path in (pair.volume, pair.segmentation)]
    corrected = args.protocol == "corrected"
    preprocessing = {"channels": "bgr", "window": args.window and list(args.window)}
    preprocess(
        PreprocessConfig.from_args(DATASET, args, inputs, preprocessing, split=chosen),
        args.prepared,
        pairs,
        partial(or_unreadable, make=make_lesions, window=args.window, grabcut=args.grabcut, corrected=corrected),
        partial(split_by_volume, chosen=chosen),
        dropped=dropped,
        **work_options(args),
        unit="volume",
    )


if __name__ == "__main__":
    run_script(main)
