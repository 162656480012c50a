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
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import VOLUME_HELP, LesionPrompt, read_prompts
from common.utils.errors import UserError, run_script
from common.utils.progress import progress
from lits_files import Scan

SUFFIXES = (".nii", ".nii.gz")


def cut_patch(pixels: np.ndarray, prompt: LesionPrompt) -> LesionPatch:
    """Cut a lesion's patch out of a (rows, columns) uint8 slice, as `lits_data` cuts a component's."""
    box = lits_data.Box(*(round(side) for side in (prompt.top, prompt.left, prompt.bottom, prompt.right)))
    place = lits_data.patch_box(box, pixels.shape)
    patch = pixels[place]

    def paste(probability: np.ndarray) -> np.ndarray:
        image = np.zeros(pixels.shape, np.float32)
        image[place] = cv2.resize(probability, patch.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return image

    return LesionPatch(prompt.lesion, lits_data.make_patch(patch), paste)


def read_slices(
    scan: Scan, prompts: Iterable[LesionPrompt], name: str, window: tuple[float, float] | None
) -> Iterator[LesionImage]:
    """Read the slices that have prompts, one by one and in their order, and cut the lesions' patches.

    The results' names begin with ``name``. For ``window`` see `lits_data.grey`.

    Raises:
        UserError: the file is cut short or damaged.
    """
    spacing = scan.spacing if all(0 < step < math.inf for step in scan.spacing) else None
    for index, slice_prompts in groupby(sorted(prompts, key=lambda p: p.slice), key=lambda p: p.slice):
        pixels = lits_data.grey(scan.read(index), window)
        yield LesionImage(
            source=str(scan.path),
            name=f"{name}_{index}",
            mask_file=f"{name}_mask.nii.gz",
            rgb=cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB),
            patches=[cut_patch(pixels, prompt) for prompt in slice_prompts],
            slice=index,
            spacing=spacing,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = predict_parser(__doc__, VOLUME_HELP)
    add, note = parser.add_argument, "as the checkpoint's patches were prepared with (default as published: none)"
    add("volume", type=Path, metavar="VOLUME.nii.gz", help="CT in HU")
    add("--window", type=lits_data.parse_window, metavar="CENTRE,WIDTH", help=f"in HU, {note}")
    args = parser.parse_args(arguments)
    if not args.volume.name.endswith(SUFFIXES):
        raise UserError(f"{args.volume} is not named like a NIfTI volume, {' or '.join(SUFFIXES)}")
    scan = Scan(args.volume)
    prompts = read_prompts(args.lesions, scan.shape)
    predictor = load_predictor(args, lits_data.DATASET, [args.volume, args.lesions])
    (name,) = output_names([args.volume])
    volume_mask = np.zeros(scan.shape, np.uint8, order="F")  # slices are contiguous; untouched ones take no memory

    def save_mask(image: LesionImage, mask: np.ndarray) -> None:
        volume_mask[..., image.slice] = mask

    slices = read_slices(scan, prompts, name, args.window)
    total = len({prompt.slice for prompt in prompts})
    predict(predictor, progress(slices, "predicting", total, "slice"), args.out, save_mask)
    scan.write_mask(args.out / f"{name}_mask.nii.gz", volume_mask)


if __name__ == "__main__":
    run_script(main)
