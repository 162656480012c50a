"""Segment tumours in a CT volume of your own, with a checkpoint trained on LiTS.

python lits_predict.py --checkpoint checkpoints/LiTS_A1class_40.pt volume.nii.gz --lesions lesions.csv --out predictions

Around each lesion a square patch is cut exactly as from LiTS's volumes; the mask is a NIfTI file with the volume's own
shape and affine, 1 inside the lesions.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

import lits_data  # also puts the project's root on the path
from common.inference.frames import Frame, Patch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import VOLUME_HELP, LesionPrompt, read_prompts
from common.utils.errors import UserError, run_script
from lits_files import Scan

SUFFIXES = (".nii", ".nii.gz")


def cut_lesion(pixels: np.ndarray, lesion: LesionPrompt) -> Patch:
    """A lesion's patch, cut as `lits_data` cuts a component's.

    Args:
        pixels: (rows, columns) uint8, the whole slice.
        lesion: where it is.
    """
    box = lits_data.Box(*(round(side) for side in (lesion.top, lesion.left, lesion.bottom, lesion.right)))
    place = lits_data.patch_box(box, pixels.shape)
    patch = pixels[place]

    def back(probability: np.ndarray) -> np.ndarray:
        whole = np.zeros(pixels.shape, np.float32)
        whole[place] = cv2.resize(probability, patch.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return whole

    return Patch(lesion.lesion, lits_data.make_patch(patch), back)


def read_frames(
    scan: Scan, lesions: Iterable[LesionPrompt], name: str, window: tuple[float, float] | None
) -> Iterator[Frame]:
    """The slices that hold lesions, in their order, read one by one.

    Args:
        scan: the volume.
        lesions: where they are.
        name: of the results.
        window: see `lits_data.grey`.

    Raises:
        UserError: the file is cut short or damaged.
    """
    known = all(math.isfinite(step) and step > 0 for step in scan.steps)
    for index, boxes in groupby(sorted(lesions, key=lambda box: box.slice), key=lambda box: box.slice):
        pixels = lits_data.grey(scan.read(index), window)
        yield Frame(
            source=str(scan.path),
            name=f"{name}_{index}",
            mask=f"{name}_mask.nii.gz",
            picture=cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB),
            patches=[cut_lesion(pixels, box) for box in boxes],
            slice=index,
            spacing=scan.steps[:2] if known else None,
            thickness=scan.steps[2] if known else None,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = predict_parser(__doc__, VOLUME_HELP)
    parser.add_argument("volume", type=Path, metavar="VOLUME.nii.gz", help="CT in HU")
    parser.add_argument(
        "--window",
        type=lits_data.parse_window,
        metavar="CENTRE,WIDTH",
        help="in HU, as the checkpoint's patches were prepared with (default as published: none)",
    )
    args = parser.parse_args(arguments)
    if not args.volume.name.endswith(SUFFIXES):
        raise UserError(f"{args.volume} is not named like a NIfTI volume, {' or '.join(SUFFIXES)}")
    scan = Scan(args.volume)
    lesions = read_prompts(args.lesions, scan.shape)
    predictor = load_predictor(args, lits_data.DATASET, [args.volume, args.lesions])
    mask = np.zeros(scan.shape, np.uint8, order="F")  # a slice is one piece; untouched ones take no memory

    def keep(frame: Frame, found: np.ndarray) -> None:
        mask[..., frame.slice] = found

    (name,) = output_names([args.volume])
    frames = read_frames(scan, lesions, name, args.window)
    slices = len({lesion.slice for lesion in lesions})
    predict(predictor, frames, args.out, keep, total=slices, unit="slice")
    scan.write_mask(args.out / f"{name}_mask.nii.gz", mask)


if __name__ == "__main__":
    run_script(main)
