"""A synthetic DeepLesion in the original file layout, for the demo and the tests.

python DeepLesion_phantom.py DIR     # 120 lesions
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import DeepLesion_data  # also puts the project's root on the path
from common.data.phantom import blob, phantom_script, smooth_noise, soften
from common.io.images import write_image
from common.recist import diameters
from common.utils.files import write_csv
from DeepLesion_slices import IMAGES, NEIGHBOUR

SIZE = 512  # px
INTERVALS = (1.0, 2.0, 2.5, 5.0)  # mm; the series take turns
WINDOW = (-175, 275)  # HU, as nearly all of DeepLesion's rows say
COLUMNS = tuple(
    "File_name Patient_index Study_index Series_ID Key_slice_index Measurement_coordinates Bounding_boxes "
    "Lesion_diameters_Pixel_ Normalized_lesion_location Coarse_lesion_type Possibly_noisy Slice_range Spacing_mm_px_ "
    "Image_size DICOM_windows Patient_gender Patient_age Train_Val_Test".split()
)
_LESIONS_A_SERIES = 5
_MARGIN = 5  # px from the end points to the box, as in DeepLesion


class Nodule(NamedTuple):
    """A lesion in space."""

    key: int  # number of the key slice
    mask: np.ndarray  # (512, 512) uint8 0/1 on the key slice
    reach: float  # mm along z over which it fades
    contrast: float  # HU


def draw_series(rng: np.random.Generator, interval: float, lesions: int) -> tuple[dict[int, np.ndarray], list[Nodule]]:
    """Draw a body with a number of lesions, cut into slices ``interval`` mm apart.

    Returns:
        Slices (512, 512) uint16 by number, and the lesions.
    """
    shape = (SIZE, SIZE)
    body = soften(blob(shape, (256, 262), (190, 140), 0, 0.03, rng), 2)
    texture = 20 * smooth_noise(shape, 30, rng) + 8 * smooth_noise(shape, 5, rng)
    for _ in range(6):
        organ = blob(shape, tuple(rng.normal((256, 262), (90, 60))), tuple(rng.uniform(20, 60, 2)), 0, 0.1, rng)
        texture += rng.uniform(-90, 60) * soften(organ, 2)
    start = int(rng.integers(10, 200))
    nodules = []
    for number in range(lesions):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.7 * np.sqrt(rng.uniform())  # well inside the body
        centre = 256 + 190 * distance * np.cos(angle), 262 + 140 * distance * np.sin(angle)
        radius = float(np.clip(rng.lognormal(2.4, 0.5), 4, 45))
        mask = blob(shape, centre, (radius, radius * rng.uniform(0.55, 1)), rng.uniform(0, 180), 0.08, rng)
        contrast = float(rng.choice([-1, 1]) * rng.uniform(50, 120))
        nodules.append(Nodule(start + 2 * number, mask, max(radius * 0.7, interval), contrast))
    step = int(np.ceil(NEIGHBOUR / interval))
    slices = {}
    for number in range(start - step, start + 2 * lesions - 1 + step):
        hu = -1000 + body * (1040 + texture)
        for nodule in nodules:
            gap = abs(number - nodule.key) * interval / nodule.reach
            if gap < 1:
                hu += nodule.contrast * np.sqrt(1 - gap**2) * soften(nodule.mask, 1.2)
        hu += rng.normal(0, 6, shape).astype(np.float32)
        slices[number] = (np.rint(hu).clip(-1024, 3071) + DeepLesion_data.HU_OFFSET).astype(np.uint16)
    return slices, nodules


def write_deeplesion(folder: Path, lesions: int = 120, seed: int = 0) -> None:
    """Write a synthetic DeepLesion to a data folder: 16-bit slices, up to five lesions in a series, and the table."""
    rows: list[dict[str, object]] = []
    for patient, first in enumerate(range(0, lesions, _LESIONS_A_SERIES), 1):
        rng = np.random.default_rng([seed, patient])
        interval = INTERVALS[patient % len(INTERVALS)]
        series = f"{patient:06d}_01_01"
        slices, nodules = draw_series(rng, interval, min(_LESIONS_A_SERIES, lesions - first))
        for number, image in slices.items():
            write_image(folder / IMAGES / series / f"{number:03d}.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        # 70/15/15 by patient, as DeepLesion's own split.
        split = 2 if patient % 7 == 3 else 3 if patient % 7 == 5 else 1
        known = {
            "Patient_index": patient,
            "Study_index": 1,
            "Series_ID": 1,
            "Coarse_lesion_type": -1,
            "Possibly_noisy": 0,
            "Patient_gender": "FM"[patient % 2],
            "Patient_age": 30 + patient % 50,
            "Train_Val_Test": split,
            "Slice_range": f"{min(slices)}, {max(slices)}",
            "Spacing_mm_px_": f"0.8, 0.8, {interval:g}",
            "Image_size": f"{SIZE}, {SIZE}",
            "DICOM_windows": f"{WINDOW[0]}, {WINDOW[1]}",
        }
        rows += [known | _row(series, nodule) for nodule in nodules]
    write_csv(folder / DeepLesion_data.INFO, rows, COLUMNS)


def _row(series: str, nodule: Nodule) -> dict[str, object]:
    ends = diameters(nodule.mask).ends + 1  # DeepLesion counts px from 1
    box = np.concatenate([ends.min(axis=0) - _MARGIN, ends.max(axis=0) + _MARGIN])
    numbers = {
        "Measurement_coordinates": ends.ravel(),
        "Bounding_boxes": box,
        "Lesion_diameters_Pixel_": np.hypot(*(ends[1::2] - ends[::2]).T),
        "Normalized_lesion_location": np.append((box[:2] + box[2:]) / 2 / SIZE, 0.5),
    }
    row = {name: ", ".join(f"{value:g}" for value in values) for name, values in numbers.items()}
    return {**row, "File_name": f"{series}_{nodule.key:03d}.png", "Key_slice_index": nodule.key}


if __name__ == "__main__":
    phantom_script(write_deeplesion)
