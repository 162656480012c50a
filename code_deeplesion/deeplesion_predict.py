"""Segment lesions on a CT slice of your own, with a checkpoint trained on DeepLesion.

python deeplesion_predict.py --checkpoint checkpoints/checkpoint_190.pt 000001_01_01/109.png --lesions lesions.csv \\
    --spacing 0.488 --interval 5 --out predictions

The slice is a 16-bit PNG of HU + 32768, as DeepLesion's. With --interval the network also sees what lies 2 mm before
and behind it, from the slices beside it in its folder (108.png, 110.png); without, three copies of the slice.
"""

import argparse
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import DeepLesion_data  # also puts the project's root on the path
from common.inference.frames import Frame, Patch
from common.inference.predict import keep_png, load_predictor, output_names, predict, predict_parser
from common.inference.prompts import HELP, LesionPrompt, read_prompts
from common.patches import paste_patch
from common.utils.errors import UserError, run_script
from DeepLesion_info import LEAST_INTERVAL, find_channels, slice_path
from DeepLesion_truth import frame_scale

WINDOW = (-175.0, 275.0)
"""HU; what nearly all rows of `DL_info.csv` say in `DICOM_windows`."""


class Settings(NamedTuple):
    """What `DL_info.csv` would say of the slice."""

    window: tuple[float, float]
    """Lowest and highest intensity shown, in HU."""
    interval: float | None
    """mm between slices."""
    spacing: float | None
    """mm of a pixel."""


def read_frame(path: Path, lesions: Sequence[LesionPrompt], settings: Settings) -> Frame:
    """A slice, and the patches of its lesions cut as `DeepLesion_data` cuts them.

    Raises:
        UserError: an unreadable slice, a neighbour of another size, or an interval for a slice without a number.
    """
    source, path = str(path), path.absolute()
    if settings.interval and not (path.stem.isascii() and path.stem.isdigit()):
        raise UserError(f"{path.name} is not a number, as 109.png is, so that --interval has no neighbours to find")

    def neighbour(number: int) -> Path:
        return slice_path(path.parents[1], path.parent.name, number)

    @lru_cache
    def read(number: int) -> np.ndarray:
        return DeepLesion_data.read_slice(path if number == key else neighbour(number))

    key = int(path.stem) if settings.interval else 0
    channels = find_channels(key, settings.interval, lambda number: neighbour(number).is_file())
    DeepLesion_data.check_sizes(path.parent, key, channels, read)
    shape = read(key).shape
    scale = frame_scale(shape)

    def cut(lesion: LesionPrompt) -> Patch:
        crop = DeepLesion_data.crop_about(np.array(lesion[2:]).reshape(2, 2) * scale, scale)
        image = DeepLesion_data.cut_channels(channels, read, settings.window, crop)
        return Patch(lesion.lesion, image, lambda probability: paste_patch(probability, crop, shape))

    (name,) = output_names([path])
    grey = np.rint(DeepLesion_data.window_image(read(key), *settings.window)).astype(np.uint8)
    return Frame(
        source=source,
        name=name,
        mask=f"{name}_mask.png",
        picture=cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB),
        patches=[cut(lesion) for lesion in lesions],
        spacing=(settings.spacing, settings.spacing) if settings.spacing else None,
    )


def parse_window(text: str) -> tuple[float, float]:
    """Parse "LOW,HIGH" in HU, e.g. "-175,275"."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = math.nan
    if not (-1e6 < low < high < 1e6):
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW,HIGH in HU, such as -175,275")
    return low, high


def parse_mm(text: str) -> float:
    """Parse a length in mm that a CT may have between pixels or slices."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not LEAST_INTERVAL <= value < 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of mm from {LEAST_INTERVAL} to 1000")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = predict_parser(__doc__, f"{HELP}DL_info.csv counts its pixels from 1: take 1 from each.\n")
    add = parser.add_argument
    add("slice", type=Path, metavar="SLICE.png", help="16-bit grey, HU + 32768")
    note = f"default {WINDOW[0]:g},{WINDOW[1]:g}; write --dicom-window=LOW,HIGH for a LOW below 0"
    add("--dicom-window", type=parse_window, default=WINDOW, metavar="LOW,HIGH", help=f"HU that are shown ({note})")
    add("--spacing", type=parse_mm, metavar="MM", help="of a pixel; only for measurements in mm")
    add("--interval", type=parse_mm, metavar="MM", help="between slices (default: three copies of the slice)")
    args = parser.parse_args(arguments)
    shape = DeepLesion_data.read_slice(args.slice).shape
    settings = Settings(args.dicom_window, args.interval, args.spacing)
    frame = read_frame(args.slice, read_prompts(args.lesions, shape), settings)
    predictor = load_predictor(args, DeepLesion_data.DATASET, [args.slice, args.lesions])
    predict(predictor, [frame], args.out, keep_png(args.out), total=1, unit="slice")


if __name__ == "__main__":
    run_script(main)
