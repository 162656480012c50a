"""Your own data: images that show one lesion each become a dataset with the paper's three methods and A1+R.

README.md, "Your own data", shows the layout of the files and the script of a few lines that is built on this.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.data.lesion import Dropped, Lesion, Outcome
from common.data.preprocess import PreprocessConfig, or_unreadable, preprocess
from common.data.splits import split_rows
from common.inference.image_table import check_ends
from common.inference.photos import predict_photos
from common.inference.prompts import ENDS_ORDER
from common.io.images import list_images, read_photo
from common.io.masks import mask_fault
from common.patches import PATCH, resize_mask, resize_points
from common.recipe import A1, A1CLASS, A1RECIST, ACOSEG, METHODS, DatasetInfo, Method, Recipe
from common.recist import diameters, diameters_cross, ellipse_from_diameters, fit_ellipse, long_first
from common.run.cli import prepare_parser, work_options
from common.run.own_files import check_masks, find_copies, read_ends, read_outline, read_patients
from common.run.scripts import eval_main, train_main
from common.utils.errors import UserError
from common.utils.provenance import digest
from common.weak_masks import MISFIT, ellipse_fits, ellipse_mask, grabcut_mask

LEAST_OUTLINE = 50  # px on the patch
LARGE_PART = 0.1  # share of an outline's area from which a second part is taken for another lesion
ON_PATCH = f"on the patch of {PATCH}x{PATCH} px; cut the image closer to the lesion"
VERBS = ("prepare", "train METHOD", "eval METHOD", "predict METHOD IMAGE_OR_FOLDER ... --out DIR")
FLAGS = ("--protocol", "corrected")  # unless a flag says otherwise: there are no published metrics to reproduce
# Checkpoint, loss weights, learning rate, batch size, epochs and patience: HAM10000's (FACTS.md section 2).
_HYPERPARAMETERS: dict[Method, tuple[str, dict[str, float], float, int, int, int]] = {
    A1: ("a1", {"mask": 100.0}, 1e-3, 10, 50, 5),
    A1CLASS: ("a1class", {"mask": 50.0, "cluster": 1.0}, 1e-3, 10, 50, 5),
    ACOSEG: ("coseg", {"mask": 1.0}, 1e-5, 8, 50, 5),
    A1RECIST: ("a1recist", {"mask": 1.0, "overlap": 1.0}, 3e-4, 10, 2, 2),
}


def recipes(dataset: DatasetInfo) -> dict[str, Recipe]:
    """The methods, by name, for any dataset. All lesions are scored, and the best weights are kept."""
    return {
        method.name: Recipe(
            dataset=dataset,
            method=method,
            checkpoint=f"{dataset.name.lower()}_{stem}.pt",
            released=None,
            loss_weights=loss_weights,
            lr=lr,
            batch_size=batch_size,
            epochs=epochs,
            patience=patience,
            watch="mask",
            out_of_patience="best",
            scored_multiple=1,
            published=(),
        )
        for method, (stem, loss_weights, lr, batch_size, epochs, patience) in _HYPERPARAMETERS.items()
    }


def make_lesion(path: Path, ends: Mapping[Path, np.ndarray], grabcut: bool) -> list[Outcome]:
    """Make a lesion from an image, or say why it is dropped.

    Ellipse and quarters come from the image's end points, else from its outline; the outline is the truth, which is
    empty for an image with end points alone where others have outlines.

    Args:
        path: the image.
        ends: end points by image, as `read_ends` returns them.
        grabcut: make the GrabCut mask too.

    Raises:
        UserError: the image or its outline is unreadable, they differ in size, or end points lie outside the image.
    """
    photo = read_photo(path)
    points = long_first(ends[path]) if path in ends else None
    outline, notes = read_outline(path, photo, marked=points is not None)
    if outline is not None and (fault := mask_fault(outline)):
        return [Dropped(path.name, fault)]
    if points is not None:
        notes += check_ends(path, points, photo)
        ellipse = ellipse_from_diameters(points)
        if ellipse and not diameters_cross(points):
            return [Dropped(path.name, f"its diameters don't cross; {ENDS_ORDER}")]
    elif outline is not None:
        notes += ["recist.csv has no row for it; its diameters come from its outline"] if ends else []
        points, ellipse = diameters(outline).ends, fit_ellipse(outline)
    else:
        return [Dropped(path.name, "it has neither an outline nor diameters")]
    if ellipse is None:
        return [Dropped(path.name, "no ellipse fits its outline or diameters")]
    shape = photo.pixels.shape[:2]
    mask = resize_mask(ellipse_mask(ellipse, shape), centred=True)
    recist = fit_ellipse(mask)
    if recist is None:
        return [Dropped(path.name, f"it is lost {ON_PATCH}")]
    patch = photo.patch(rgb=True)
    truth = None if outline is None else resize_mask(outline, centred=True)
    if truth is not None:
        notes += _outline_notes(mask, truth, marked=path in ends)
    elif path.parent.with_name("masks").is_dir():
        truth = np.zeros((PATCH, PATCH), np.uint8)  # that of others is known
    lesion = Lesion(
        name=path.name,
        group=path.name,
        image=patch,
        ellipse=mask,
        recist=recist,
        ends=resize_points(points, shape),
        grabcut=grabcut_mask(patch, mask) if grabcut else None,
        truth=truth,
        info={"source": path.name},
        notes=(*photo.notes, *notes),
    )
    return [lesion]


def _outline_notes(ellipse: np.ndarray, truth: np.ndarray, *, marked: bool) -> list[str]:
    """What is to be said of a patch's (120, 120) masks of the ellipse and the outline."""
    notes = []
    if np.count_nonzero(truth) < LEAST_OUTLINE:
        notes.append(f"its outline has less than {LEAST_OUTLINE} px {ON_PATCH}")
    areas = np.sort(cv2.connectedComponentsWithStats(truth, connectivity=8)[2][1:, cv2.CC_STAT_AREA])
    if marked and not (ellipse & truth).any():
        notes.append("its end points and its outline lie apart; look at the order of x and y")
    elif len(areas) > 1 and areas[-2] > LARGE_PART * areas.sum():
        notes.append("its outline has a second large part; an image must show one lesion only")
    elif not ellipse_fits(ellipse, truth):
        notes.append(MISFIT)
    return notes


def _source(function: Any) -> str:
    """The source of a function, or of what a partial or a bound method calls; its name where there is none."""
    while inner := getattr(function, "func", None) or getattr(function, "__func__", None):
        function = inner
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return str(getattr(function, "__qualname__", type(function)))


def own_data(
    name: str,
    script: str,
    description: str | None,
    *,
    clusters: int,
    truth: str = "truth",
    make_lesion: Callable[..., list[Outcome]] = make_lesion,
    split: Callable[[list[dict[str, str]]], list[str]] = split_rows,
) -> tuple[DatasetInfo, Callable[..., None]]:
    """A dataset of your own, and the `main` of its script.

    The `main` runs a command line of `VERBS`, with the flags that all scripts take; the protocol is `corrected` unless
    a flag says otherwise.

    Args:
        name: of the dataset, for tables and messages.
        script: the path of the script; `data/`, `checkpoints/` and `results/` lie beside it.
        description: what --help prints first.
        clusters: K.
        truth: the array that predictions are scored against, one of `recipe.TARGETS`.
        make_lesion: takes the place of `make_lesion`, with its arguments and result; a function of your script, so that
            processes can share it.
        split: takes the place of `split_rows`: given the rows of `lesions.csv`, names the split of each. If the
            source of either function has changed, lesions are prepared again; changes in what they call need
            --force.
    """
    path = Path(script).resolve()
    dataset = DatasetInfo(name, path.parent, "data", (path.name, "prepare"), clusters, truth)
    own = recipes(dataset)

    def main(arguments: Sequence[str] | None = None) -> None:
        """Run a command line of `VERBS`; None means that of the script."""
        match list(sys.argv[1:] if arguments is None else arguments):
            case ["-h" | "--help"]:
                usage = [f"python {path.name} {verb}" for verb in VERBS]
                print(description, "", *usage, "", f"METHOD is {', '.join(METHODS)}; each takes --help.", sep="\n")
            case ["prepare", *flags]:
                _prepare(dataset, description, flags, make_lesion, split)
            case ["train", method, *flags] if method in own:
                train_main(own[method], description, [*FLAGS, *flags])
            case ["eval", method, *flags] if method in own:
                eval_main(own[method], description, flags)  # the checkpoint knows its protocol
            case ["predict", method, *flags] if method in own:
                predict_photos(dataset, description, flags, own[method])
            case _:
                raise UserError(f"usage: {' | '.join(VERBS)}; METHOD is one of {', '.join(METHODS)} (see --help)")

    return dataset, main


def _prepare(
    dataset: DatasetInfo,
    description: str | None,
    flags: Sequence[str],
    make_lesion: Callable[..., list[Outcome]],
    split: Callable[[list[dict[str, str]]], list[str]],
) -> None:
    args = prepare_parser(dataset, description).parse_args([*FLAGS, *flags])
    images = list_images(args.data / "images")
    check_masks(args.data, images)
    inputs = [*images, *args.data.glob("masks/[!.]*"), *args.data.glob("*.[cC][sS][vV]")]
    config = PreprocessConfig.from_args(dataset, args, inputs, preprocessing={"channels": "rgb"})
    own = [function for function in (make_lesion, split) if not function.__module__.startswith("common.")]
    if own:
        sources = [_source(function) for function in own]
        config = replace(config, inputs=digest(text.encode() for text in (config.inputs, *sources)))
    ends, patients = read_ends(args.data, images), read_patients(args.data, images)
    copies = find_copies(images, patients)
    groups = patients or copies

    def split_patients(rows: list[dict[str, str]]) -> list[str]:
        """Put the lesions of a patient, or of copies of an image, into one group; then split."""
        for row in rows if groups else ():
            group = groups.get(row.get("source", "")) or groups.get(row["lesion"])
            if group is None and patients:
                raise UserError(
                    f"patients.csv can't be used: the lesion {row['lesion']} does not say which image it is "
                    "of; let make_lesion put the image's name into info, as source"
                )
            row["group"] = group or row["group"]
        return split(rows)

    work = partial(or_unreadable, make=make_lesion, ends=ends, grabcut=args.grabcut)
    preprocess(config, args.prepared, images, work, split_patients, **work_options(args))
