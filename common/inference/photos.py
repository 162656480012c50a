"""Prediction on photos that show one lesion each: the command line, and the reading of each photo as one patch."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from common.data.dataset import prepared_clusters
from common.data.lesion import Unreadable
from common.inference.image_table import HELP, check_ends, read_ends
from common.inference.lesion_image import LesionImage, LesionPatch
from common.inference.predict import load_predictor, output_names, predict, predict_parser
from common.inference.prompts import check_mark
from common.io.images import SUFFIXES, find_images, read_photo
from common.patches import resize_points
from common.recipe import DatasetInfo, Recipe
from common.recist import long_first
from common.utils.errors import UserError
from common.utils.progress import progress
from common.weak_masks import quarters_mask

if TYPE_CHECKING:
    from common.inference.predictor import Predictor


def read_lesion_image(path: Path, name: str, *, rgb: bool, ends: np.ndarray | None = None) -> LesionImage | Unreadable:
    """Read an image, which is one patch; its results are named ``name``. For ``rgb`` see `Photo.patch`.

    ``ends`` are (4, 2) RECIST end points (x, y) in px of the image, where they are needed.
    """
    try:
        photo = read_photo(path)
        notes = [*photo.notes, *([] if ends is None else check_ends(path, ends, photo))]
    except UserError as error:
        return Unreadable(name, str(error))
    for note in notes:
        print(f"{path}: {note}", file=sys.stderr)
    shape = photo.pixels.shape[:2]
    patch = LesionPatch(
        name,
        photo.patch(rgb=rgb),
        paste=partial(cv2.resize, dsize=shape[::-1], interpolation=cv2.INTER_LINEAR),
        ends=None if ends is None else resize_points(ends, shape),
        quarters=None if ends is None else partial(quarters_mask, ends, shape),
    )
    return LesionImage(str(path), name, f"{name}_mask.png", photo.pixels[..., ::-1], [patch])


def predict_photos(
    dataset: DatasetInfo, description: str | None, arguments: Sequence[str] | None = None, recipe: Recipe | None = None
) -> None:
    """Segment photos with a network trained on a dataset, as a command line says; see --help.

    With a ``recipe``, the network must be of its method, and the recipe's checkpoint is the default.

    Raises:
        UserError: as `find_images`; the network is of another method; RECIST marks are needed and missing, or given and
            not needed; an image is unreadable, once all others are done; or as `load_predictor`.
    """
    clusters = prepared_clusters(dataset.folder / dataset.data / "prepared", dataset)
    default = dataset.folder / "checkpoints" / recipe.checkpoint_name(clusters) if recipe else None
    parser = predict_parser(description, checkpoint=default)
    suffixes = f"images ({', '.join(SUFFIXES)}), or folders of them"
    parser.add_argument("inputs", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help=suffixes)
    note = "RECIST marks of the lesions, for --target quarters or a checkpoint trained with --prompt recist; see below"
    parser.add_argument("--lesions", type=Path, metavar="CSV", help=note)
    parser.epilog = HELP
    args = parser.parse_args(arguments)
    paths = find_images(args.inputs)
    ends = read_ends(args.lesions, paths, others=True) if args.lesions else {}
    for path, points in ends.items():
        check_mark(points, f"{args.lesions}: the row of {path.name}")
    predictor = load_predictor(args, dataset, [*paths, *([args.lesions] if args.lesions else [])])
    _check_use(args, predictor, recipe)
    rgb = predictor is not None and predictor.model.preprocessing(dataset)["channels"] == "rgb"
    images = (
        read_lesion_image(path, name, rgb=rgb, ends=long_first(ends[path]) if ends else None)
        for path, name in zip(paths, output_names(paths), strict=True)
    )
    predict(predictor, progress(images, "predicting", len(paths), "image"), args.out)


def _check_use(args: argparse.Namespace, predictor: "Predictor | None", recipe: Recipe | None) -> None:
    """Check that the network is of the recipe's method, and that marks are given if, and only if, they are used."""
    if predictor and recipe and predictor.model.method != recipe.method:
        method = predictor.model.method
        raise UserError(f"{args.checkpoint} holds the network of {method.label}; say predict {method.name}")
    sees_marks = predictor is None or predictor.model.prompted
    if sees_marks and not args.lesions:
        source = args.checkpoint if predictor else f"--target {args.target}"
        raise UserError(f"{source} needs the RECIST marks of the lesions; pass --lesions CSV (see --help)")
    if args.lesions and not sees_marks:
        raise UserError(f"{args.checkpoint} sees no marks: it was trained without --prompt; leave --lesions out")
