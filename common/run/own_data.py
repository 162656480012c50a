"""Data of your own: the three recipes, one script for all of them, and the files with outlines and end points.

README.md, "Your own data", shows the script that is built on this.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np

from common.data.images import read_image
from common.inference.prompts import ENDS
from common.recipe import A1, A1CLASS, ACOSEG, METHODS, DatasetInfo, Recipe
from common.run.scripts import eval_main, train_main
from common.utils.errors import UserError, run_script
from common.utils.files import read_csv


def recipes(dataset: DatasetInfo) -> dict[str, Recipe]:
    """The three methods with HAM10000's published values, for any dataset; all lesions scored, the best weights kept.

    Returns:
        A recipe for each name in `recipe.METHODS`.
    """
    shared: dict[str, Any] = {
        "dataset": dataset,
        "epochs": 50,
        "patience": 5,
        "watch": "mask",
        "out_of_patience": "best",
        "scored_multiple": 1,
        "published": (),
    }
    prefix = dataset.name.lower()
    a1 = Recipe(method=A1, checkpoint=f"{prefix}_a1.pt", loss_weights={"mask": 100.0}, lr=1e-3, batch_size=10, **shared)
    a1class = Recipe(
        method=A1CLASS,
        checkpoint=f"{prefix}_a1class.pt",
        loss_weights={"mask": 50.0, "cluster": 1.0},
        lr=1e-3,
        batch_size=10,
        **shared,
    )
    coseg = Recipe(
        method=ACOSEG, checkpoint=f"{prefix}_coseg.pt", loss_weights={"mask": 1.0}, lr=1e-5, batch_size=8, **shared
    )
    return {recipe.method.name: recipe for recipe in (a1, a1class, coseg)}


def own_data_main(
    dataset: DatasetInfo,
    prepare: Callable[[Sequence[str]], None],
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> None:
    """Command line: ``prepare``, ``train METHOD`` or ``eval METHOD``, and then the flags that all scripts take.

    The protocol is `corrected` unless a flag says otherwise: there are no published figures to match.

    Args:
        dataset: yours.
        prepare: makes the prepared folder, given flags for `cli.prepare_parser`.
        description: what --help prints.
        arguments: None means those that the script was started with.

    Raises:
        UserError: an unknown verb or method; or as what is run.
    """
    own, corrected = recipes(dataset), ["--protocol", "corrected"]
    match list(sys.argv[1:] if arguments is None else arguments):
        case ["-h" | "--help"]:
            print(f"{description}\n\nEach of these takes --help.")
        case ["prepare", *flags]:
            prepare([*corrected, *flags])
        case ["train", method, *flags] if method in own:
            train_main(own[method], description, [*corrected, *flags])
        case ["eval", method, *flags] if method in own:
            eval_main(own[method], description, flags)
        case _:
            raise UserError(
                f"say prepare, train METHOD or eval METHOD, METHOD being one of {', '.join(METHODS)} (see --help)"
            )


def own_data_script(
    dataset: DatasetInfo, prepare: Callable[[Sequence[str]], None], description: str | None
) -> NoReturn:
    """What a script for data of your own does when it is run; see `own_data_main`."""
    run_script(partial(own_data_main, dataset, prepare, description))


def read_outline(image: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The mask of an image of (rows, columns[, channels]): `masks/STEM.png` beside the image's folder, above 0 inside.

    Returns:
        (rows, columns) uint8; None where there is no folder of masks at all.

    Raises:
        UserError: this image has none, or one of another size.
    """
    path = image.parent.with_name("masks") / f"{image.stem}.png"
    if not path.parent.is_dir():
        return None
    mask = read_image(path, cv2.IMREAD_GRAYSCALE)
    if mask.shape != shape[:2]:
        raise UserError(
            f"{path} must have its image's size, {shape[1]}x{shape[0]} px, not {mask.shape[1]}x{mask.shape[0]}"
        )
    return mask


def read_ends(path: Path) -> dict[str, np.ndarray]:
    """RECIST end points by image, as (4, 2) points (x, y) for `recist.ellipse_from_diameters`.

    Args:
        path: a CSV file with the columns ``image``, a file's name, and `boxes.ENDS`, both ends of the long diameter,
            then of the short one, in px of the image; where there is none, nothing is returned.

    Raises:
        UserError: a column or a number is missing, or an image comes twice.
    """
    ends: dict[str, np.ndarray] = {}
    for line, row in enumerate(read_csv(path) if path.is_file() else [], 2):
        if missing := [name for name in ("image", *ENDS) if name not in row]:
            raise UserError(f"{path} lacks the column {missing[0]}; its first line must be image,{','.join(ENDS)}")
        try:
            points = np.array([float(row[name]) for name in ENDS])
        except (TypeError, ValueError):
            points = np.array([np.nan])
        if not np.isfinite(points).all():
            raise UserError(f"{path} line {line} must have a number in each of {', '.join(ENDS)}")
        if row["image"] in ends:
            raise UserError(f"{path} line {line} names {row['image']} again; an image shows one lesion")
        ends[row["image"]] = points.reshape(4, 2)
    return ends
