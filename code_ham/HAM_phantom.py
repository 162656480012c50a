"""A synthetic HAM10000 in the original file layout, for the demo and the tests.

python HAM_phantom.py DIR     # 120 images and masks
"""

from pathlib import Path

import cv2
import numpy as np

import HAM_data  # also puts the project's root on the path
from common.data.phantom import blob, phantom_script, smooth_noise, soften
from common.io.images import write_image
from common.utils.files import write_csv

IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
MASK_FOLDER = "HAM10000_segmentations_lesion_tschandl"
HEIGHT, WIDTH = 450, 600  # px, as every image of HAM10000


def draw_lesion(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw skin with a pigmented lesion, (450, 600, 3) uint8 BGR, and the lesion's mask, (450, 600) uint8 0/255.

    The pigment is uneven, the border soft; there are hairs and a vignette.
    """
    shape, radius = (HEIGHT, WIDTH), rng.uniform(60, 170)
    radii = radius, radius * rng.uniform(0.55, 1)
    centre = rng.uniform(200, 400), rng.uniform(170, 280)
    mask = blob(shape, centre, radii, rng.uniform(0, 180), rng.uniform(0.05, 0.14), rng)
    skin = rng.uniform((120, 140, 190), (175, 195, 235))  # BGR
    pigment = rng.uniform(0.35, 1.0) * np.array([70, 85, 135]) + rng.uniform(-12, 12, 3)
    uneven = 1 + 0.25 * smooth_noise(shape, 25, rng) + 0.1 * smooth_noise(shape, 4, rng)
    weight = np.clip(soften(mask, rng.uniform(3, 12)) * np.clip(uneven, 0.4, 1.4), 0, 1)[..., None]
    tone = 1 + 0.03 * smooth_noise(shape, 60, rng) + 0.02 * smooth_noise(shape, 2, rng)
    image = (skin * (1 - weight) + pigment * weight) * tone[..., None]
    for _ in range(int(rng.integers(0, 14))):
        _draw_hair(image, rng)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    vignette = 1 - rng.uniform(0, 0.35) * np.clip(x**2 + y**2 - 0.6, 0, None)
    image = image * vignette[..., None] + rng.normal(0, 2.5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask * 255


def _draw_hair(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a dark curved stroke across the image, in place."""
    start, end = (rng.uniform((0, 0), (WIDTH, HEIGHT)) for _ in range(2))
    bend = (start + end) / 2 + rng.normal(0, 50, 2)
    t = np.linspace(0, 1, 40)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    colour = rng.uniform((15, 20, 25), (60, 70, 90)).tolist()
    thickness = int(rng.integers(1, 4))
    cv2.polylines(image, [np.rint(curve).astype(np.int32)], False, colour, thickness, cv2.LINE_AA)


def write_ham(folder: Path, lesions: int = 120, seed: int = 0) -> None:
    """Write a synthetic HAM10000: images in two folders, masks, and the metadata; ``seed`` decides every pixel.

    Every tenth image has the lesion id of the one before, as HAM10000's follow-up images do.
    """
    folders = [folder / name for name in (*IMAGE_FOLDERS, MASK_FOLDER)]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    metadata = []
    for index in range(lesions):
        image, mask = draw_lesion(np.random.default_rng([seed, index]))
        name = f"ISIC_{9_000_000 + index:07d}"
        write_image(folders[index * 2 // lesions] / f"{name}.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        write_image(folders[2] / f"{name}{HAM_data.MASK_SUFFIX}", mask)
        metadata.append({"lesion_id": f"HAM_{index - (index % 10 == 9):07d}", "image_id": name})
    write_csv(folder / "HAM10000_metadata.csv", metadata, ["lesion_id", "image_id"])


if __name__ == "__main__":
    phantom_script(write_ham)
