"""Prepare DeepLesion (FACTS.md section 3, column DeepLesion): slices and RECIST marks -> Data_deep/prepared/.

python DeepLesion_data.py                               # the published protocol
python DeepLesion_data.py --protocol corrected
python DeepLesion_data.py --download --archives 1-3,7   # fetch these of the 56 archives first
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

import cv2
import numpy as np

import DeepLesion_download
from common.data.dataset import Dropped, Lesion, Outcome
from common.data.images import read_image
from common.data.preprocess import PreprocessConfig, prepare
from common.patches import PATCH, Crop, cut_patch
from common.recipe import DatasetInfo
from common.recist import ellipse_from_diameters
from common.run.cli import prepare_parser
from common.utils.errors import UserError, run_script
from common.weak_masks import ellipse_mask, grabcut_mask
from DeepLesion_info import Channel, Mark, Task, find_tasks, read_marks, slice_path
from DeepLesion_truth import frame_scale, human_truth

DATASET = DatasetInfo(
    name="DeepLesion",
    folder=Path(__file__).resolve().parent,
    data="Data_deep",
    prepare_script="DeepLesion_data.py",
    clusters=190,
    truth="grabcut",
    read_truth=human_truth,
)
INFO = "DL_info.csv"
IMAGES = "Images_png"
HU_OFFSET = 32_768
"""The 16-bit PNGs hold HU plus this."""
OUTLINE = 2.05
"""px by which the release's drawn outline grows the ellipse; measured, see FACTS.md section 3."""
INSET = 2
"""px by which GrabCut's rectangle is moved in and made smaller, as published."""
LEAST_GRABCUT = 10
"""A GrabCut result of fewer px falls back to the ellipse, as for LiTS; under `released` all do."""
_ROWS_A_JOB = 8  # bounds what waits in memory, whatever the number of lesions in a series


def read_slice(path: Path) -> np.ndarray:
    """Read a slice as (rows, columns) float32 in HU.

    Raises:
        UserError: unreadable, or not 16-bit grey.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise UserError(
            f"{path} holds {8 * image.itemsize}-bit px in {image.ndim} dimensions, but DeepLesion's slices are "
            "16-bit grey; unpack it again from its archive"
        )
    return image.astype(np.float32) - HU_OFFSET


def window_image(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """HU to grey values 0..255, float32: ``low`` and below are 0, ``high`` and above are 255."""
    return np.clip((image - low) / (high - low), 0, 1, dtype=np.float32) * np.float32(255)


def crop_about(box: np.ndarray, scale: float) -> Crop:
    """The patch about a box of (2, 2) points (x, y), counted from 0, in px of the slice once it is scaled."""
    left, top = np.rint(box.mean(axis=0)) - PATCH // 2
    return Crop(scale, int(left), int(top))


def place_patch(mark: Mark, scale: float) -> tuple[Crop, np.ndarray]:
    """Where a lesion's patch lies, and its RECIST end points in it.

    The box is 1-based and LesaNet takes 1 from it. The end points keep their place relative to the box's corner,
    which the release lets start at 0 at least: a lesion wider than the patch is shifted by the clipped amount. Under
    both protocols the end points are scaled as the slice is (a fault of the release, mended: FACTS.md section 4).

    Args:
        mark: the lesion.
        scale: of the slice.

    Returns:
        The crop, and the (4, 2) end points (x, y) in px of the patch.
    """
    box = np.array(mark.box).reshape(2, 2)
    scaled = (box - 1) * scale
    crop = crop_about(scaled, scale)
    corner = np.maximum(scaled[0] - (crop.left, crop.top), 0)
    ends = (np.array(mark.ends).reshape(4, 2) - box[0]) * scale + corner
    return crop, ends


def cut_channels(
    channels: Iterable[Channel], read: Callable[[int], np.ndarray], window: Sequence[float], crop: Crop
) -> np.ndarray:
    """Blend, window and cut the three channels of a patch.

    Args:
        channels: which slices make each of them.
        read: gives a slice by its number, (rows, columns) float32 in HU.
        window: lowest and highest intensity shown, in HU.
        crop: where the patch lies.

    Returns:
        (120, 120, 3) float32, 0..255.
    """

    def blend(channel: Channel) -> np.ndarray:
        first, *others = (weight * read(number) for weight, number in channel)
        return sum(others, first)

    return np.stack([cut_patch(window_image(blend(channel), *window), crop) for channel in channels], axis=-1)


def make_lesion(task: Task, read: Callable[[int], np.ndarray], *, corrected: bool, grabcut: bool) -> Outcome:
    """One row of the table as a lesion, or the reason why not.

    Args:
        task: the lesion and the slices it takes.
        read: gives a slice by its number, (rows, columns) float32 in HU.
        corrected: the ellipse as it is and GrabCut on grey values; False grows the ellipse by its outline and gives
            GrabCut 0s and 1s, as published (FACTS.md 4.3).
        grabcut: make the GrabCut mask too.
    """
    mark = task.mark
    shape = read(mark.slice).shape
    scale = frame_scale(shape)
    if not (1 <= sum(mark.box[::2]) / 2 <= shape[1] and 1 <= sum(mark.box[1::2]) / 2 <= shape[0]):
        return Dropped(mark.name, "the box lies outside the slice")
    crop, ends = place_patch(mark, scale)
    recist = ellipse_from_diameters(ends)
    ellipse = ellipse_mask(recist, (PATCH, PATCH), grow=0 if corrected else OUTLINE) if recist else None
    if recist is None or ellipse is None or not ellipse.any():
        return Dropped(mark.name, "the ellipse covers no pixel of the patch")
    image = cut_channels(task.channels, read, mark.window, crop)
    grey = np.rint(image) if corrected else image / 255
    return Lesion(
        name=mark.name,
        image=image,
        ellipse=ellipse,
        recist=recist,
        grabcut=grabcut_mask(grey.astype(np.uint8), ellipse, INSET, LEAST_GRABCUT) if grabcut else None,
        info={
            "source": mark.source,
            "split": mark.split,
            "series": mark.series,
            "row": mark.row,
            "spacing": "" if mark.spacing is None else mark.spacing,
            "interval": "" if mark.interval is None else mark.interval,
            **crop._asdict(),
        },
    )


def check_sizes(series: Path, key: int, channels: Iterable[Channel], read: Callable[[int], np.ndarray]) -> None:
    """Refuse neighbours that are of another size than the key slice.

    Args:
        series: their folder.
        key: number of the key slice.
        channels: which slices are to be blended.
        read: gives a slice by its number.

    Raises:
        UserError: names the first such slice.
    """
    for number in {number for channel in channels for _, number in channel}:
        if read(number).shape != read(key).shape:
            raise UserError(
                f"{series / f'{number:03d}.png'} has another size than slice {key:03d} of its series; "
                "unpack both again from their archive"
            )


def make_lesions(tasks: Sequence[Task], *, images: Path, corrected: bool, grabcut: bool) -> list[Outcome]:
    """The lesions of one series' tasks; see `make_lesion`.

    Raises:
        UserError: a slice that is unreadable, not 16-bit grey, or of another size than the key slice.
    """

    @lru_cache(maxsize=16)
    def read(series: str, number: int) -> np.ndarray:
        return read_slice(slice_path(images, series, number))

    outcomes = []
    for task in tasks:
        series = task.mark.series
        check_sizes(images / series, task.mark.slice, task.channels, partial(read, series))
        outcomes.append(make_lesion(task, partial(read, series), corrected=corrected, grabcut=grabcut))
    return outcomes


def make_jobs(tasks: Iterable[Task]) -> list[list[Task]]:
    """Neighbouring rows of one series go together, so that a slice need not be decoded again and again."""
    series = (list(group) for _, group in groupby(tasks, key=lambda task: task.mark.series))
    return [group[start : start + _ROWS_A_JOB] for group in series for start in range(0, len(group), _ROWS_A_JOB)]


def inputs(data: Path, tasks: Iterable[Task]) -> set[Path]:
    """Every file the arrays depend on: a neighbour that arrives later is among them and changes the fingerprint."""
    used = {(t.mark.series, number) for t in tasks for channel in t.channels for _, number in channel}
    return {data / INFO} | {slice_path(data / IMAGES, series, number) for series, number in used}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = prepare_parser(DATASET, __doc__)
    DeepLesion_download.add_flags(parser)
    args = parser.parse_args(arguments)
    if args.archives and not args.download:
        raise UserError("--archives chooses what --download fetches; pass both or neither")
    images = args.data / IMAGES
    marks, dropped = read_marks(args.data / INFO)
    if args.download:
        DeepLesion_download.download(DeepLesion_download.choose(args.archives), args.data)
    tasks, lost = find_tasks(images, marks)
    if not tasks:
        raise UserError(f"{images} holds none of the {len(marks)} key slices that {INFO} names; see --download")
    corrected = args.protocol == "corrected"
    prepare(
        PreprocessConfig.of(DATASET, args, inputs(args.data, tasks), channels="slices"),
        args.prepared,
        make_jobs(tasks),
        partial(make_lesions, images=images, corrected=corrected, grabcut=args.grabcut),
        lambda rows: [row["split"] for row in rows],
        dropped=dropped + lost,
        force=args.force,
        workers=args.workers,
        unit="group",
    )


if __name__ == "__main__":
    run_script(main)
