"""The three datasets at their smallest, in the original file layouts, prepared and trained on in a second."""

import csv
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np

from DeepLesion_phantom import COLUMNS


def draw_ham(data: Path) -> None:
    """12 skin images of 64x96 px in two folders, their masks and the metadata."""
    rng = np.random.default_rng(0)
    for folder in ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_segmentations_lesion_tschandl"):
        (data / folder).mkdir(parents=True)
    rows = ["image_id,lesion_id"]
    for number in range(12):
        mask = np.zeros((64, 96), np.uint8)
        cv2.ellipse(mask, (45 + number % 4, 32), (14 + number, 10 + number % 5), 15 * number, 0, 360, 255, -1)
        image = (200 - mask[..., None] * 0.4 + rng.normal(0, 4, (64, 96, 3))).astype(np.uint8)
        name = f"ISIC_{number:07d}"
        cv2.imwrite(str(data / f"HAM10000_images_part_{1 + number // 6}" / f"{name}.jpg"), image)
        cv2.imwrite(str(data / "HAM10000_segmentations_lesion_tschandl" / f"{name}_segmentation.png"), mask)
        rows.append(f"{name},HAM_{number // 2}")
    (data / "HAM10000_metadata.csv").write_text("\n".join(rows) + "\n")


def draw_lits(data: Path) -> None:
    """Three volumes of 96x96x4 voxels with two tumours in each of the slices 1 to 3."""
    rng = np.random.default_rng(0)
    for folder in ("volume", "segmentations"):
        (data / folder).mkdir(parents=True)
    for number in range(3):
        labels = np.zeros((4, 96, 96), np.uint8)
        for index in range(1, 4):
            cv2.ellipse(labels[index], (26 + number, 30), (9 + index, 7 + number), 20 * index, 0, 360, 2, -1)
            cv2.ellipse(labels[index], (66, 60 + index), (8, 12 + number), 40 * index, 0, 360, 2, -1)
        volume = 100 - 20 * labels + rng.normal(0, 6, labels.shape)
        for folder, stem, voxels in (("volume", "volume", volume), ("segmentations", "segmentation", labels)):
            image = nib.Nifti1Image(voxels.transpose(1, 2, 0).astype(np.int16), np.diag([0.8, 0.8, 2.5, 1]))
            nib.save(image, data / folder / f"{stem}-{number}.nii")


def draw_deeplesion(data: Path) -> None:
    """Six key slices of 512x512 px with two lesions each, and the table."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(1, 7):
        hu = cv2.resize(rng.normal(20, 40, (32, 32)), (512, 512), interpolation=cv2.INTER_CUBIC)
        for lesion in range(2):
            x, y, long, short = 150 + 200 * lesion, 250 + 5 * patient, 12 + 2 * patient, 9 + patient
            cv2.ellipse(hu, (x, y), (long, short), 0, 0, 360, 120, -1)
            ends = np.array([x - long, y, x + long, y, x, y - short, x, y + short]) + 1
            cells = {
                "File_name": f"{patient:06d}_01_01_010.png",
                "Measurement_coordinates": ends,
                "Bounding_boxes": (x - long - 4, y - short - 4, x + long + 6, y + short + 6),
                "Spacing_mm_px_": (0.8, 0.8, 5),
                "DICOM_windows": (-175, 275),
                "Train_Val_Test": {5: 2, 6: 3}.get(patient, 1),
            }
            rows.append({k: v if isinstance(v, str | int) else ", ".join(map(str, v)) for k, v in cells.items()})
        folder = data / "Images_png" / f"{patient:06d}_01_01"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "010.png"), (hu + 32_768).astype(np.uint16))
    with (data / "DL_info.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="0")
        writer.writeheader()
        writer.writerows(rows)
