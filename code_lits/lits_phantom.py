"""A synthetic LiTS in the original file layout, for the demo and the tests.

python lits_phantom.py DIR     # 6 volumes and segmentations
"""

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np

import lits_data  # noqa: F401 - also puts the project's root on the path
from common.data.phantom import Pair, blob, phantom_script, smooth_noise, soften
from lits_scan import write_nifti

SIDE, DEPTH = 256, 16  # px, slices
# 1.2x1.2x4 mm; rows run to the patient's back, columns to the left.
AFFINE = np.array([[0, -1.2, 0, 0], [-1.2, 0, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
AIR, FAT, ORGANS, LIVER, VESSELS, TUMOUR, BONE = -1000, -90, 45, 115, 165, 55, 420  # HU
RADII = (2.2, 3, 9, 14, 22)  # px at the widest slice of a volume's lesions: two tiny ones, three to measure


def draw_volume(seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw an abdomen, volume ``number`` of a data set: body, spine, a liver with vessels and lesions, noise.

    Returns:
        The volume (256, 256, 16) int16 in HU and its labels, uint8: 0 background, 1 liver, 2 tumour.
    """
    rng = np.random.default_rng([seed, number])
    shape = (SIDE, SIDE)
    body = blob(shape, (128, 128), (115, 88), 0, 0.02, rng)
    inner = blob(shape, (128, 128), (105, 78), 0, 0.02, rng)
    spine = blob(shape, (130, 180), (14, 12), 0, 0.1, rng)
    liver = blob(shape, (100, 115), (72, 54), rng.uniform(-20, 20), 0.05, rng) & inner
    vessels = _draw_vessels(liver, rng)
    lesions = _place_lesions(liver, rng)
    volume = np.empty((*shape, DEPTH), np.int16)
    labels = np.empty((*shape, DEPTH), np.uint8)
    for index in range(DEPTH):
        tumour = np.zeros(shape, np.uint8)
        for lesion, (centre, middle, radius, reach) in enumerate(lesions):
            share = 1 - ((index - middle) / reach) ** 2
            if share > 0:
                # The same draws in each slice: the lesion keeps its outline and only shrinks towards its ends.
                lesion_rng = np.random.default_rng([seed, number, lesion])
                radii = radius * share**0.5, radius * share**0.5 * lesion_rng.uniform(0.6, 1)
                tumour |= blob(shape, centre, radii, lesion_rng.uniform(0, 180), 0.12, lesion_rng)
        tumour &= liver
        hounsfield = np.full(shape, AIR, np.float32)
        for mask, tone in ((body, FAT), (inner, ORGANS), (spine, BONE), (liver, LIVER)):
            hounsfield[mask > 0] = tone
        hounsfield += soften(vessels, 1) * (VESSELS - LIVER)
        edge = soften(tumour, 1)
        hounsfield = hounsfield * (1 - edge) + (TUMOUR + 8 * smooth_noise(shape, 6, rng)) * edge
        hounsfield += np.where(body > 0, 7 * smooth_noise(shape, 1, rng) + 6 * smooth_noise(shape, 12, rng), 0)
        volume[..., index] = np.rint(hounsfield)
        labels[..., index] = np.where(tumour > 0, 2, liver)
    return volume, labels


def _draw_vessels(liver: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a few branches from the middle of the liver, (256, 256) uint8 0/1."""
    vessels = np.zeros_like(liver)
    rows, columns = np.nonzero(liver)
    root = columns.mean(), rows.mean()
    for angle in rng.uniform(0, 2 * np.pi, 7):
        bend = root + rng.uniform(18, 30) * np.array([np.cos(angle), np.sin(angle)])
        angle += rng.normal(0, 0.5)
        end = bend + rng.uniform(15, 35) * np.array([np.cos(angle), np.sin(angle)])
        curve = np.rint(np.array([root, bend, end])).astype(np.int32)
        cv2.polylines(vessels, [curve], False, 1, int(rng.integers(2, 5)))
    return vessels & liver


def _place_lesions(liver: np.ndarray, rng: np.random.Generator) -> list[tuple[Pair, float, float, float]]:
    """Draw each lesion's centre (x, y) in px, middle slice, radius in px and half height in slices."""
    inside = cv2.distanceTransform(liver, cv2.DIST_L2, 5)
    lesions = []
    for widest in RADII:
        radius = widest * rng.uniform(0.85, 1.15)
        rows, columns = np.nonzero(inside > 0.6 * radius)
        pick = rng.integers(rows.size)
        centre = float(columns[pick]), float(rows[pick])
        lesions.append((centre, rng.uniform(4, DEPTH - 5), radius, 1.5 + radius / 4))
    return lesions


def write_lits(folder: Path, volumes: int = 6, seed: int = 0) -> None:
    """Write so many volumes and segmentations, every other one compressed, to a data folder."""
    places = "volume/volume", "segmentations/segmentation"
    for number in range(volumes):
        suffix = ".nii.gz" if number % 2 else ".nii"  # the download has .nii, which users compress
        for voxels, place in zip(draw_volume(seed, number), places, strict=True):
            path = folder / f"{place}-{number}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(path, nib.Nifti1Image(voxels, AFFINE))


if __name__ == "__main__":
    phantom_script(write_lits)
