"""Segment lesions on CT slices of your own, with a checkpoint trained on DeepLesion.

python deeplesion_predict.py --checkpoint checkpoints/checkpoint_190.pt 000001_01_01/109.png --lesions lesions.csv \\
    --spacing 0.488 --interval 5 --out predictions

A slice is a 16-bit PNG of HU + 32768, as DeepLesion's. With --interval the network also sees what lies 2 mm before
and behind it, from the slices beside it in its folder (108.png, 110.png; of 000001_01_01_109.png, 000001_01_01_108.png
and so on); without, three copies of the slice.
A patch is 120 px of the slice scaled to 512 px; where a box or RECIST mark is larger than that, the slice is scaled
down until it fits, and where the mask of a point reaches the patch's border, to a half and then to a quarter.
"""

import re
import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

import DeepLesion_data  # also puts the project's root on the path
from common.data.lesion import Unreadable
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import SLICE_HELP, Grid, LesionPrompt, read_prompts
from common.io.images import find_images
from common.patches import PATCH, paste_patch
from common.utils.arguments import numbers
from common.utils.errors import UserError, run_script
from common.utils.progress import progress
from common.weak_masks import quarters_mask
from DeepLesion_info import LEAST_INTERVAL
from DeepLesion_slices import files_of, find_channels
from DeepLesion_truth import frame_scale

WINDOW = (-175.0, 275.0)  # HU; the window of nearly all rows of `DL_info.csv` (column `DICOM_windows`)
FITTED = 100  # px to which a lesion is scaled that would not fit into the patch
LEAST_SCALE = 0.25  # of a larger patch for a second look, against the scale of the first


def split_number(path: Path) -> tuple[str, str]:
    """The name of a slice as what precedes its number, such as "SERIES_" or "", and the number; else a UserError."""
    if match := re.fullmatch(r"(|.*_)([0-9]+)", path.stem):
        return match[1], match[2]
    raise UserError(f"{path.name} does not end in a number, as 109.png does, so --interval has no neighbours to find")


def neighbour_path(path: Path, number: int) -> Path:
    """Where another slice of the same series is, its number padded as that of ``path`` or not."""
    series, own = split_number(path)
    padded, plain = (path.with_name(f"{series}{text}{path.suffix}") for text in (f"{number:0{len(own)}d}", number))
    return plain if plain.is_file() else padded


def read_slice(
    path: Path,
    prompts: Sequence[LesionPrompt],
    name: str,
    *,
    window: tuple[float, float] = WINDOW,
    interval: float | None = None,
    spacing: float | None = None,
) -> LesionImage:
    """Read a slice and cut its lesions' patches as `DeepLesion_data` cuts them, or larger ones where lesions don't fit.

    The results' names begin with ``name``. ``window`` is in HU. ``interval`` is mm to the neighbours, which lie beside
    the slice; without, channels are copies of it. ``spacing`` is mm of a pixel, for measurements.

    Raises:
        UserError: as `DeepLesion_data.read_slice`; a neighbour of another size, a patch that is all black or white, or
            an interval for a slice without a number.
    """
    source, path = str(path), path.absolute()
    key = int(split_number(path)[1]) if interval else 0

    def file(number: int) -> Path:
        return path if number == key else neighbour_path(path, number)

    @lru_cache
    def read(number: int) -> np.ndarray:
        return DeepLesion_data.read_slice(file(number))

    channels = find_channels(key, interval, lambda number: file(number).is_file())
    if interval and len(files_of(channels, file)) == 1:
        print(f"{source}: no neighbouring slice lies beside it; its channels are copies of it", file=sys.stderr)
    DeepLesion_data.check_sizes(files_of(channels, file), key, read)
    shape = read(key).shape
    frame = frame_scale(shape)

    def cut(prompt: LesionPrompt, scale: float) -> LesionPatch:
        box = np.array([[prompt.left, prompt.top], [prompt.right, prompt.bottom]])
        crop = DeepLesion_data.crop_about(box * scale, scale)
        image = DeepLesion_data.cut_channels(channels, read, window, crop)
        if colour := DeepLesion_data.one_colour(image):
            raise UserError(
                f"{source} is all {colour} about lesion {prompt.lesion} in the window {window[0]:g},{window[1]:g}; "
                f"check its place, and that px are HU + {DeepLesion_data.HU_OFFSET}, or pass another --dicom-window"
            )
        larger = partial(cut, prompt, scale / 2) if prompt.point and scale > LEAST_SCALE * frame else None
        ends = quarters = None
        if prompt.ends is not None:
            ends = (prompt.ends + 0.5) * scale - 0.5 - (crop.left, crop.top)
            quarters = partial(quarters_mask, prompt.ends, shape)
        paste = partial(paste_patch, crop=crop, shape=shape)
        return LesionPatch(prompt.lesion, image, paste, larger, ends, quarters, partial(prompt.place, shape))

    def first_scale(prompt: LesionPrompt) -> float:
        side = max(prompt.right - prompt.left, prompt.bottom - prompt.top) + 1
        return frame if side * frame <= PATCH - 2 else FITTED / side

    grey = np.rint(DeepLesion_data.window_image(read(key), *window)).astype(np.uint8)
    return LesionImage(
        source=source,
        name=name,
        mask_file=f"{name}_mask.png",
        rgb=cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB),
        patches=[cut(prompt, first_scale(prompt)) for prompt in prompts],
        spacing=(spacing, spacing) if spacing else None,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = predict_parser(__doc__, f"{SLICE_HELP}DL_info.csv counts its pixels from 1: take 1 from each.\n")
    add = parser.add_argument
    mm = numbers(f"a number of mm from {LEAST_INTERVAL} to 1000", lambda step: LEAST_INTERVAL <= step < 1000)
    window = numbers("LOW,HIGH in HU, such as -175,275", lambda low, high: low < high, count=2)
    add("slices", type=Path, nargs="+", metavar="SLICE_OR_FOLDER", help="PNGs of 16-bit grey, HU + 32768, or folders")
    note = f"default {WINDOW[0]:g},{WINDOW[1]:g}; write --dicom-window=LOW,HIGH for a LOW below 0"
    add("--dicom-window", type=window, default=WINDOW, metavar="LOW,HIGH", help=f"HU that are shown ({note})")
    add("--spacing", type=mm, metavar="MM", help="of a pixel, the same on all; only for measurements in mm")
    add("--interval", type=mm, metavar="MM", help="between slices, the same for all (default: copies of the slice)")
    args = parser.parse_args(arguments)
    slices = find_images(args.slices, (".png",))
    prompts = read_prompts(args.lesions, slices, lambda path: Grid(DeepLesion_data.read_slice(path).shape), "slice")
    if args.interval:
        for path in prompts:
            split_number(path)
    predictor = load_predictor(
        args, DeepLesion_data.DATASET, [*slices, args.lesions], chain.from_iterable(prompts.values())
    )

    def read(path: Path, name: str) -> LesionImage | Unreadable:
        own = prompts[path]
        try:
            return read_slice(path, own, name, window=args.dicom_window, interval=args.interval, spacing=args.spacing)
        except UserError as error:
            return Unreadable(name, str(error))

    images = map(read, prompts, output_names(list(prompts)))
    predict(predictor, progress(images, "predicting", len(prompts), "slice"), args.out)


if __name__ == "__main__":
    run_script(main)
