"""Segment the lesion in skin images of your own, with a checkpoint trained on HAM10000.

python HAM_predict.py --checkpoint checkpoints/ham_a1class.pt photo.jpg my_images/ --out predictions

An image shows one lesion and is seen whole, squeezed to 120x120 as HAM10000 is; its mask has the image's own size.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

import HAM_data  # also puts the project's root on the path
from common.data.images import read_image
from common.inference.frames import Frame, Patch
from common.inference.predict import keep_png, load_predictor, output_names, predict, predict_parser
from common.utils.errors import UserError, run_script

SUFFIXES = (".jpg", ".jpeg", ".png")


def find_images(inputs: Iterable[Path]) -> list[Path]:
    """The images among files and folders, each once; of a folder, those directly in it, by name.

    Raises:
        UserError: an input does not exist, or is a folder without images.
    """
    images: dict[Path, Path] = {}
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        found = [path]
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not found:
            raise UserError(f"{path} holds no {', '.join(SUFFIXES)} file; name the images or another folder")
        for image in found:
            images.setdefault(image.resolve(), image)
    return list(images.values())


def read_frame(path: Path, name: str, *, rgb: bool) -> Frame:
    """An image as the network sees it, and as it looks.

    Args:
        path: the image.
        name: of its results.
        rgb: see `HAM_data.make_patch`.

    Raises:
        UserError: not a readable image.
    """
    image = read_image(path)

    def back(probability: np.ndarray) -> np.ndarray:
        return cv2.resize(probability, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    patch = Patch(name, HAM_data.make_patch(image, rgb=rgb), back)
    return Frame(str(path), name, f"{name}_mask.png", image[..., ::-1], [patch])


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = predict_parser(__doc__)
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="IMAGE_OR_FOLDER",
        help=f"{', '.join(SUFFIXES)} files, or folders of them",
    )
    args = parser.parse_args(arguments)
    images = find_images(args.inputs)
    predictor = load_predictor(args, HAM_data.DATASET, images)
    rgb = predictor.model.protocol == "corrected"
    frames = (read_frame(path, name, rgb=rgb) for path, name in zip(images, output_names(images), strict=True))
    predict(predictor, frames, args.out, keep_png(args.out), total=len(images), unit="image")


if __name__ == "__main__":
    run_script(main)
