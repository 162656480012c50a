"""Your own data: images that show one lesion each become a dataset with the paper's three methods.

README.md, "Your own data", shows the layout of the files and the script of a few lines that is built on this.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from common.data.dataset import Dropped, Lesion, Outcome
from common.data.images import read_image
from common.data.preprocess import PreprocessConfig, preprocess
from common.data.splits import split_groups
from common.inference.prompts import ENDS
from common.patches import resize_image, resize_mask
from common.recipe import A1, A1CLASS, ACOSEG, METHODS, DatasetInfo, Method, Recipe
from common.recist import ellipse_from_diameters, fit_ellipse
from common.run.cli import prepare_parser
from common.run.scripts import eval_main, train_main
from common.utils.arguments import number_list
from common.utils.errors import UserError
from common.utils.files import read_csv
from common.weak_masks import ellipse_mask, grabcut_mask

FLAGS = ("--protocol", "corrected")
"""Before all other flags of preparing and training: there are no published metrics to reproduce."""
# Checkpoint, loss weights, learning rate and batch size: HAM10000's (FACTS.md section 2).
_VALUES: dict[Method, tuple[str, dict[str, float], float, int]] = {
    A1: ("a1", {"mask": 100.0}, 1e-3, 10),
    A1CLASS: ("a1class", {"mask": 50.0, "cluster": 1.0}, 1e-3, 10),
    ACOSEG: ("coseg", {"mask": 1.0}, 1e-5, 8),
}


def recipes(dataset: DatasetInfo) -> dict[str, Recipe]:
    """The three methods, by name, for any dataset. All lesions are scored, and the best weights are kept."""
    return {
        method.name: Recipe(
            dataset=dataset,
            method=method,
            checkpoint=f"{dataset.name.lower()}_{stem}.pt",
            loss_weights=loss_weights,
            lr=lr,
            batch_size=batch_size,
            epochs=50,
            patience=5,
            watch="mask",
            out_of_patience="best",
            scored_multiple=1,
            published=(),
        )
        for method, (stem, loss_weights, lr, batch_size) in _VALUES.items()
    }


def make_lesion(path: Path, ends: Mapping[str, np.ndarray], grabcut: bool) -> list[Outcome]:
    """Make a lesion from an image, or say why it is dropped.

    The ellipse comes from the image's end points, else from its outline; the outline is the truth.

    Args:
        path: the image.
        ends: end points by image, as `read_ends` returns them.
        grabcut: make the GrabCut mask too.

    Raises:
        UserError: the image or its outline is unreadable, or they differ in size.
    """
    image = read_image(path, cv2.IMREAD_COLOR_RGB)
    outline = read_outline(path, image.shape)
    if path.name in ends:
        ellipse = ellipse_from_diameters(ends[path.name])
    else:
        ellipse = None if outline is None else fit_ellipse(outline)
    mask = None if ellipse is None else resize_mask(ellipse_mask(ellipse, image.shape[:2]))
    recist = None if mask is None else fit_ellipse(mask)
    if mask is None or recist is None:
        return [Dropped(path.name, "neither an outline nor diameters that an ellipse fits")]
    patch = resize_image(image)
    lesion = Lesion(
        name=path.name,
        image=patch,
        ellipse=mask,
        recist=recist,
        grabcut=grabcut_mask(patch, mask) if grabcut else None,
        truth=None if outline is None else resize_mask(outline),
        info={"source": path.name},
    )
    return [lesion]


def split_by_image(rows: list[dict[str, str]]) -> list[str]:
    """Split rows of `lesions.csv` 70/20/10 by image."""
    return split_groups([row["lesion"] for row in rows], seed=1)


def own_data_main(
    dataset: DatasetInfo,
    description: str | None,
    arguments: Sequence[str] | None = None,
    *,
    make_lesion: Callable[..., list[Outcome]] = make_lesion,
    split: Callable[[list[dict[str, str]]], list[str]] = split_by_image,
) -> None:
    """Run the command line ``prepare``, ``train METHOD`` or ``eval METHOD``, with the flags that all scripts take.

    The protocol is `corrected` unless a flag says otherwise.

    Args:
        dataset: yours.
        description: what --help prints first.
        arguments: None means those that the script was started with.
        make_lesion: takes the place of `make_lesion`; a function of your script, so that processes can share it.
        split: takes the place of `split_by_image`, for example to keep a patient's images in one split.

    Raises:
        UserError: an unknown verb or method; or as the verb's work.
    """
    own = recipes(dataset)
    match list(sys.argv[1:] if arguments is None else arguments):
        case ["-h" | "--help"]:
            script = dataset.prepare_script.removesuffix(" prepare")
            usage = [f"python {script} {verb}" for verb in ("prepare", "train METHOD", "eval METHOD")]
            print(description, "", *usage, "", f"METHOD is {', '.join(METHODS)}; each takes --help.", sep="\n")
        case ["prepare", *flags]:
            args = prepare_parser(dataset, description).parse_args([*FLAGS, *flags])
            images = sorted((args.data / "images").iterdir())
            inputs = [*images, *args.data.glob("masks/*"), *args.data.glob("recist.csv")]
            config = PreprocessConfig.from_args(dataset, args, inputs, channels="rgb")
            work = partial(make_lesion, ends=read_ends(args.data / "recist.csv"), grabcut=args.grabcut)
            preprocess(config, args.prepared, images, work, split, force=args.force, workers=args.workers)
        case ["train", method, *flags] if method in own:
            train_main(own[method], description, [*FLAGS, *flags])
        case ["eval", method, *flags] if method in own:
            eval_main(own[method], description, flags)  # the checkpoint knows its protocol
        case _:
            raise UserError(
                f"say prepare, train METHOD or eval METHOD, METHOD being one of {', '.join(METHODS)} (see --help)"
            )


def read_outline(image: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Read the outline of an image: `masks/STEM.png` beside the image's folder, 0 outside the lesion.

    Args:
        image: the image's path.
        shape: of the image, (rows, columns[, channels]).

    Returns:
        (rows, columns) uint8; None where there is no folder of masks at all.

    Raises:
        UserError: this image has no outline, or one of another size.
    """
    path = image.parent.with_name("masks") / f"{image.stem}.png"
    if not path.parent.is_dir():
        return None
    mask = read_image(path, cv2.IMREAD_GRAYSCALE)
    (rows, columns), (image_rows, image_columns) = mask.shape, shape[:2]
    if (rows, columns) != (image_rows, image_columns):
        raise UserError(f"{path} must have its image's size, {image_columns}x{image_rows} px, not {columns}x{rows}")
    return mask


def read_ends(path: Path) -> dict[str, np.ndarray]:
    """Read RECIST end points from a CSV file with the columns ``image``, a file's name, and `prompts.ENDS`.

    Returns:
        By image, (4, 2) points (x, y) in px of the image: both ends of the long diameter, then of the short one, as
        `recist.ellipse_from_diameters` takes them. Empty where there is no such file.

    Raises:
        UserError: a column or a number is missing, or an image is named twice.
    """
    ends: dict[str, np.ndarray] = {}
    for line, row in enumerate(read_csv(path) if path.is_file() else [], 2):
        if missing := [name for name in ("image", *ENDS) if name not in row]:
            raise UserError(f"{path} lacks the column {missing[0]}; its first line must be image,{','.join(ENDS)}")
        points = number_list(",".join(row[name] or "" for name in ENDS), len(ENDS))
        if points is None:
            raise UserError(f"{path} line {line} must have a number in each of {', '.join(ENDS)}")
        if row["image"] in ends:
            raise UserError(f"{path} line {line} names {row['image']} again; an image shows one lesion")
        ends[row["image"]] = np.array(points).reshape(4, 2)
    return ends
