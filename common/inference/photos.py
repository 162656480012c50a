"""Prediction on photos that show one lesion each: the command line that reads them, each of them being one patch."""

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2

from common.data.dataset import Unreadable, prepared_clusters
from common.data.images import SUFFIXES, list_images, read_photo
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.recipe import DatasetInfo, Recipe
from common.utils.errors import UserError
from common.utils.progress import progress


def find_images(inputs: Iterable[Path]) -> list[Path]:
    """List the images among files and folders, each once.

    Raises:
        UserError: an input does not exist, or as `list_images`.
    """
    images: dict[Path, Path] = {}
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        for file in list_images(path) if path.is_dir() else [path]:
            images.setdefault(file.resolve(), file)
    return list(images.values())


def read_lesion_image(path: Path, name: str, *, rgb: bool) -> LesionImage | Unreadable:
    """Read an image, which is one patch; its results are named ``name``. For ``rgb`` see `Photo.patch`."""
    try:
        photo = read_photo(path)
    except UserError as error:
        return Unreadable(name, str(error))
    for note in photo.notes:
        print(f"{path}: {note}", file=sys.stderr)
    paste = partial(cv2.resize, dsize=photo.pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    patch = LesionPatch(name, photo.patch(rgb=rgb), paste)
    return LesionImage(str(path), name, f"{name}_mask.png", photo.pixels[..., ::-1], [patch])


def predict_photos(
    dataset: DatasetInfo,
    description: str | None,
    arguments: Sequence[str] | None = None,
    recipe: Recipe | None = None,
) -> None:
    """Segment photos with a network trained on a dataset, as a command line says; see --help.

    With a ``recipe``, the network is one of its method, and by default that of its checkpoint.

    Raises:
        UserError: no image; the network is of another method; an image is unreadable, once all others are done; or as
            `load_predictor`.
    """
    clusters = prepared_clusters(dataset.folder / dataset.data / "prepared", dataset)
    default = dataset.folder / "checkpoints" / recipe.checkpoint_name(clusters) if recipe else None
    parser = predict_parser(description, checkpoint=default)
    suffixes = f"images ({', '.join(SUFFIXES)}), or folders of them"
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help=suffixes)
    args = parser.parse_args(arguments)
    paths = find_images(args.inputs)
    predictor = load_predictor(args, dataset, paths)
    from common.inference.predictor import read_preprocessing  # after torch

    model = predictor.model
    if recipe and model.method != recipe.method:
        raise UserError(f"{args.checkpoint} holds the network of {model.method.label}; say predict {model.method.name}")
    rgb = read_preprocessing(model, dataset)["channels"] == "rgb"
    images = (read_lesion_image(path, name, rgb=rgb) for path, name in zip(paths, output_names(paths), strict=True))
    predict(predictor, progress(images, "predicting", len(paths), "image"), args.out)
