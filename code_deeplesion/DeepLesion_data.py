"""Prepare DeepLesion (FACTS.md section 3, column DeepLesion): slices and RECIST marks -> Data_deep/prepared/.

python DeepLesion_data.py                               # the published protocol
python DeepLesion_data.py --protocol corrected          # exact ellipses, GrabCut on grey levels
python DeepLesion_data.py --download --archives 1-3,7   # fetch these of the 56 archives first
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial, reduce
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # scripts run from anywhere, from a bare clone

import cv2
import numpy as np

import DeepLesion_download
from common.data.lesion import Dropped, Lesion, Outcome
from common.data.preprocess import PreprocessConfig, or_unreadable, preprocess
from common.io.images import read_image
from common.patches import PATCH, Crop, cut_patch
from common.recipe import DatasetInfo
from common.recist import diameters_cross, ellipse_from_diameters, long_first
from common.run.cli import prepare_parser, work_options
from common.utils.errors import UserError, run_script
from common.utils.files import describe_folder
from common.weak_masks import ellipse_mask, grabcut_mask
from DeepLesion_info import INFO, Mark, choose_noisy, find_table, read_marks
from DeepLesion_slices import Channel, Task, find_tasks
from DeepLesion_truth import frame_scale, human_truth
from DeepLesion_unpack import gigabytes

DATASET = DatasetInfo(
    name="DeepLesion",
    folder=Path(__file__).resolve().parent,
    data="Data_deep",
    prepare=("DeepLesion_data.py",),
    clusters=190,
    truth="grabcut",
    read_truth=human_truth,
    channels="slices",
)
HU_OFFSET = 32_768  # the 16-bit PNGs hold HU plus this
TISSUE, SHIFTED = (-900, 3071), (850, 1250)  # HU; the second is what soft tissue becomes with 1024 too many
OUTLINE = 2.05  # px by which the release's drawn outline grows the ellipse; measured, see FACTS.md section 3
INSET = 2  # px by which GrabCut's rectangle is moved in, as published
LEAST_GRABCUT = 10  # a GrabCut result of fewer px falls back to the ellipse (under `released` each is the ellipse)
SliceReader = Callable[[int], np.ndarray]  # a slice of a series by its number: (rows, columns) float32 in HU
_TASKS_PER_JOB = 8  # neighbouring rows share slices, which are then decoded once; more would only fill the memory


def read_slice(path: Path) -> np.ndarray:
    """Read a slice as (rows, columns) float32 in HU.

    Raises:
        UserError: unreadable, not 16-bit grey, or its values can't be HU + 32768.
    """
    image = read_image(path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint16 or image.ndim != 2:
        raise UserError(
            f"{path} holds {8 * image.itemsize}-bit px in {image.ndim} dimensions, but DeepLesion's slices are "
            "16-bit grey; unpack it again from its archive"
        )
    hu = image.astype(np.float32) - HU_OFFSET
    tissue, shifted = (((low < hu) & (hu < high)).mean() for low, high in (TISSUE, SHIFTED))
    if tissue < 0.01 or shifted > 0.2:  # of 76 real slices, at least 0.33 and at most 0.005
        raise UserError(
            f"{path} holds {image.min()} to {image.max()}, which as HU + {HU_OFFSET} can't be a CT slice; "
            f"store HU + {HU_OFFSET} (if px are HU + 1024, add {HU_OFFSET - 1024}), or unpack it again from its archive"
        )
    return hu


def window_image(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Turn HU into grey levels 0..255, float32: ``low`` and below are 0, ``high`` and above are 255."""
    return np.clip((image - low) / (high - low), 0, 1, dtype=np.float32) * np.float32(255)


def crop_about(box: np.ndarray, scale: float) -> Crop:
    """Place the patch about a box of (2, 2) points (x, y), counted from 0, in px of the scaled slice."""
    left, top = np.rint(box.mean(axis=0)) - PATCH // 2
    return Crop(scale, int(left), int(top))


def place_patch(mark: Mark, scale: float, *, corrected: bool) -> tuple[Crop, np.ndarray]:
    """Place a lesion's patch on the scaled slice, and its (4, 2) RECIST end points (x, y) in px of the patch.

    The box is 1-based and LesaNet takes 1 from it. The end points keep their place relative to the box's corner, which
    the release clips to 0: a lesion wider than the patch is shifted by the clipped amount (FACTS.md section 3), unless
    ``corrected``. Both protocols scale the end points with the slice (a fault mended: FACTS.md section 4).
    """
    box = np.array(mark.box).reshape(2, 2)
    scaled = (box - 1) * scale
    crop = crop_about(scaled, scale)
    corner = scaled[0] - (crop.left, crop.top)
    corner = corner if corrected else np.maximum(corner, 0)
    ends = (np.array(mark.ends).reshape(4, 2) - box[0]) * scale + corner + (scale - 1) / 2  # as pixels are resized
    return crop, ends


def cut_channels(channels: Iterable[Channel], read: SliceReader, window: Sequence[float], crop: Crop) -> np.ndarray:
    """Blend, window and cut a patch's three channels: (120, 120, 3) float32, 0..255; ``window`` is in HU."""
    blends = (reduce(np.add, (weight * read(number) for weight, number in channel)) for channel in channels)
    return np.stack([cut_patch(window_image(blend, *window), crop) for blend in blends], axis=-1)


def one_colour(image: np.ndarray) -> str | None:
    """Return "black" or "white" if a patch, 0..255, is entirely that: its intensities can't be right then."""
    return "black" if image.max() <= 0 else "white" if image.min() >= 255 else None


def check_sizes(files: Mapping[int, Path], key: int, read: SliceReader) -> None:
    """Raise a UserError if one of the slices ``files``, by number, has another size than the slice ``key``."""
    for number, path in files.items():
        if read(number).shape != read(key).shape:
            raise UserError(
                f"{path} has another size than slice {key:03d} of its series; unpack both again from their archive"
            )


def make_lesion(task: Task, read: SliceReader, *, corrected: bool, grabcut: bool) -> Outcome:
    """Make a lesion, with a GrabCut mask if ``grabcut``, or say why it is dropped.

    ``corrected`` is the exact ellipse, and GrabCut on grey levels; else the ellipse grows by its drawn outline and
    GrabCut gets 0s and 1s, as published (FACTS.md 4.3).
    """
    mark = task.mark
    rows, columns = read(mark.slice).shape
    if not (1 <= sum(mark.box[::2]) / 2 <= columns and 1 <= sum(mark.box[1::2]) / 2 <= rows):
        return Dropped(mark.name, "the box lies outside the slice")
    crop, ends = place_patch(mark, frame_scale((rows, columns)), corrected=corrected)
    recist = ellipse_from_diameters(ends)
    grow = 0 if corrected else OUTLINE
    if recist is None or not (ellipse := ellipse_mask(recist, (PATCH, PATCH), grow=grow)).any():
        return Dropped(mark.name, "the ellipse covers no pixel of the patch")
    image = cut_channels(task.channels, read, mark.window, crop)
    if colour := one_colour(image):
        return Dropped(mark.name, f"the patch is all {colour} in its window (are its px HU + {HU_OFFSET}?)")
    corners, points = np.reshape(mark.box, (2, 2)), np.reshape(mark.ends, (4, 2))
    inside = (points >= corners[0] - 1).all() and (points <= corners[1] + 1).all()
    notes = [] if inside else ["its end points lie outside its box; look at the order of x and y"]
    if not diameters_cross(points):
        notes.append("its diameters do not cross; look at the order of the end points")
    grey = (np.rint(image) if corrected else image / 255).astype(np.uint8)
    known = {name: getattr(mark, name) for name in ("source", "split", "series", "row", "spacing", "interval")}
    return Lesion(
        name=mark.name,
        group=mark.series.split("_")[0],  # the patient
        image=image,
        ellipse=ellipse,
        recist=recist,
        ends=long_first(ends),
        grabcut=grabcut_mask(grey, ellipse, INSET, LEAST_GRABCUT) if grabcut else None,
        info=known | crop._asdict(),
        notes=tuple(notes),
    )


def make_lesions(tasks: Sequence[Task], *, corrected: bool, grabcut: bool) -> list[Outcome]:
    """Make the lesions of a job; see `make_lesion`. Unusable slices are `Unreadable`."""
    read_path = lru_cache(maxsize=16)(read_slice)

    def make(task: Task) -> list[Outcome]:
        def read(number: int) -> np.ndarray:
            return read_path(task.files[number])

        check_sizes(task.files, task.mark.slice, read)
        return [make_lesion(task, read, corrected=corrected, grabcut=grabcut)]

    return [outcome for task in tasks for outcome in or_unreadable(task, make)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = prepare_parser(DATASET, __doc__)
    add, size = parser.add_argument, gigabytes(DeepLesion_download.TOTAL)
    add("--download", action="store_true", help=f"fetch the slices first, {size} in all")
    add("--archives", type=DeepLesion_download.parse_archives, metavar="RANGE",
        help="with --download: only these, e.g. 1-3,7")  # fmt: skip
    add("--no-noisy", dest="noisy", action="store_false", help="leave out rows whose Possibly_noisy is 1")
    args = parser.parse_args(arguments)
    if args.archives and not args.download:
        raise UserError("--archives chooses what --download fetches; pass both or neither")
    table = find_table(args.data)
    marks, dropped = read_marks(table)
    marks, noisy = choose_noisy(marks, table, args.noisy)
    if args.download:
        DeepLesion_download.download(args.archives or DeepLesion_download.read_archives(), args.data)
    tasks, without_slice = find_tasks(args.data, marks)
    if not tasks:
        raise UserError(
            f"{args.data} holds none of the {len(marks)} key slices that {INFO} names, at any depth, as SERIES/NNN.png "
            f"or SERIES_NNN.png ({describe_folder(args.data)}); unpack the archives there, or see --download"
        )
    # Neighbours that are missing now and arrive later change the inputs' fingerprint too.
    slices = {path for task in tasks for path in task.files.values()}
    print(f"{args.data}: {len(slices)} slices are used, such as {tasks[0].files[tasks[0].mark.slice]}, and {table}")
    if alone := sum(task.mark.interval is not None and len(task.files) == 1 for task in tasks):
        print(f"{alone} of {len(tasks)} lesions have no neighbouring slice here; their channels are all the key slice")
    settings = {} if args.noisy else {"noisy": False}  # as published, prepared.json does not tell
    preprocess(
        PreprocessConfig.from_args(DATASET, args, {table, *slices}, {"channels": DATASET.channels}, **settings),
        args.prepared,
        [tasks[start : start + _TASKS_PER_JOB] for start in range(0, len(tasks), _TASKS_PER_JOB)],
        partial(make_lesions, corrected=args.protocol == "corrected", grabcut=args.grabcut),
        lambda rows: [row["split"] for row in rows],
        dropped=dropped + noisy + without_slice,
        **work_options(args),
        unit="batch",
    )


if __name__ == "__main__":
    run_script(main)
