"""Segment lesions on a CT slice of your own, with a checkpoint trained on DeepLesion.

python deeplesion_predict.py --checkpoint checkpoints/checkpoint_190.pt 000001_01_01/109.png --lesions lesions.csv \\
    --spacing 0.488 --interval 5 --out predictions

The slice is a 16-bit PNG of HU + 32768, as DeepLesion's. With --interval the network also sees what lies 2 mm before
and behind it, from the slices beside it in its folder (108.png, 110.png); without, three copies of the slice.
"""

import argparse
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

import DeepLesion_data  # also puts the project's root on the path
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import HELP, LesionPrompt, read_prompts
from common.patches import paste_patch
from common.utils.arguments import number_list
from common.utils.errors import UserError, run_script
from DeepLesion_info import LEAST_INTERVAL, find_channels, slice_path
from DeepLesion_truth import frame_scale

WINDOW = (-175.0, 275.0)
"""HU; the window of nearly all rows of `DL_info.csv` (column `DICOM_windows`)."""


def read_slice(
    path: Path,
    prompts: Sequence[LesionPrompt],
    *,
    window: tuple[float, float] = WINDOW,
    interval: float | None = None,
    spacing: float | None = None,
) -> LesionImage:
    """Read a slice and cut its lesions' patches as `DeepLesion_data` cuts them.

    Args:
        path: the slice; its neighbours lie beside it.
        prompts: where the lesions are.
        window: lowest and highest intensity of the display, in HU.
        interval: mm between slices; None takes three copies of the slice as channels.
        spacing: mm of a pixel, for measurements.

    Raises:
        UserError: an unreadable slice, a neighbour of another size, or an interval for a slice without a number.
    """
    source, path = str(path), path.absolute()
    if interval and not (path.stem.isascii() and path.stem.isdigit()):
        raise UserError(f"{path.name} is not a number, as 109.png is, so that --interval has no neighbours to find")
    key = int(path.stem) if interval else 0

    def file(number: int) -> Path:
        return path if number == key else slice_path(path.parents[1], path.parent.name, number)

    @lru_cache
    def read(number: int) -> np.ndarray:
        return DeepLesion_data.read_slice(file(number))

    channels = find_channels(key, interval, lambda number: file(number).is_file())
    DeepLesion_data.check_sizes(path.parent, key, channels, read)
    shape = read(key).shape
    scale = frame_scale(shape)

    def cut(prompt: LesionPrompt) -> LesionPatch:
        box = np.array([[prompt.left, prompt.top], [prompt.right, prompt.bottom]])
        crop = DeepLesion_data.crop_about(box * scale, scale)
        image = DeepLesion_data.cut_channels(channels, read, window, crop)
        return LesionPatch(prompt.lesion, image, lambda probability: paste_patch(probability, crop, shape))

    (name,) = output_names([path])
    grey = np.rint(DeepLesion_data.window_image(read(key), *window)).astype(np.uint8)
    return LesionImage(
        source=source,
        name=name,
        mask_file=f"{name}_mask.png",
        rgb=cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB),
        patches=[cut(prompt) for prompt in prompts],
        spacing=(spacing, spacing) if spacing else None,
    )


def parse_window(text: str) -> tuple[float, float]:
    """Parse "LOW,HIGH" in HU, e.g. "-175,275"."""
    match number_list(text, 2):
        case low, high if low < high:
            return low, high
    raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH in HU, such as -175,275")


def parse_mm(text: str) -> float:
    """Parse a distance in mm between a CT's pixels or slices."""
    match number_list(text, 1):
        case (value,) if LEAST_INTERVAL <= value < 1000:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of mm from {LEAST_INTERVAL} to 1000")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = predict_parser(__doc__, f"{HELP}DL_info.csv counts its pixels from 1: take 1 from each.\n")
    add = parser.add_argument
    add("slice", type=Path, metavar="SLICE.png", help="16-bit grey, HU + 32768")
    note = f"default {WINDOW[0]:g},{WINDOW[1]:g}; write --dicom-window=LOW,HIGH for a LOW below 0"
    add("--dicom-window", type=parse_window, default=WINDOW, metavar="LOW,HIGH", help=f"HU that are shown ({note})")
    add("--spacing", type=parse_mm, metavar="MM", help="of a pixel; only for measurements in mm")
    add("--interval", type=parse_mm, metavar="MM", help="between slices (default: three copies of the slice)")
    args = parser.parse_args(arguments)
    prompts = read_prompts(args.lesions, DeepLesion_data.read_slice(args.slice).shape)
    image = read_slice(args.slice, prompts, window=args.dicom_window, interval=args.interval, spacing=args.spacing)
    predictor = load_predictor(args, DeepLesion_data.DATASET, [args.slice, args.lesions])
    predict(predictor, [image], args.out)


if __name__ == "__main__":
    run_script(main)
