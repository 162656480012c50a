"""Segment the lesion in skin images of your own, with a checkpoint trained on HAM10000.

python HAM_predict.py --checkpoint checkpoints/ham_a1class.pt photo.jpg my_images/ --out predictions

Each image shows one lesion. All of it is squeezed to 120x120 px, as HAM10000 is; its mask has the image's own size and
lies over it as viewers show it, turned by its EXIF orientation.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

import HAM_data  # also puts the project's root on the path
from common.data.images import read_photo
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.utils.errors import UserError, run_script
from common.utils.progress import progress

SUFFIXES = (".jpg", ".jpeg", ".png")


def find_images(inputs: Iterable[Path]) -> list[Path]:
    """List the images among files and folders, each once; those directly in a folder are sorted by name.

    Raises:
        UserError: an input does not exist, or is a folder without images.
    """
    images: dict[Path, Path] = {}
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise UserError(f"{path} holds no {', '.join(SUFFIXES)} file; name the images or another folder")
        for file in files:
            images.setdefault(file.resolve(), file)
    return list(images.values())


def read_lesion_image(path: Path, name: str, *, rgb: bool) -> LesionImage:
    """Read an image, which is one patch; its results are named ``name``. For ``rgb`` see `HAM_data.make_patch`.

    Raises:
        UserError: as `read_photo`.
    """
    photo = read_photo(path)
    for note in photo.notes:
        print(f"{path}: {note}", file=sys.stderr)

    def paste(probability: np.ndarray) -> np.ndarray:
        return cv2.resize(probability, photo.pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    patch = LesionPatch(name, HAM_data.make_patch(photo.pixels, rgb=rgb), paste)
    return LesionImage(str(path), name, f"{name}_mask.png", photo.pixels[..., ::-1], [patch])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; see --help."""
    parser = predict_parser(__doc__)
    suffixes = f"{', '.join(SUFFIXES)} files, or folders of them"
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help=suffixes)
    args = parser.parse_args(arguments)
    paths = find_images(args.inputs)
    predictor = load_predictor(args, HAM_data.DATASET, paths)
    model = predictor.model
    rgb = model.settings.get("preprocessing", {}).get("channels", HAM_data.CHANNELS[model.protocol]) == "rgb"
    images = (read_lesion_image(path, name, rgb=rgb) for path, name in zip(paths, output_names(paths), strict=True))
    predict(predictor, progress(images, "predicting", len(paths), "image"), args.out)


if __name__ == "__main__":
    run_script(main)
