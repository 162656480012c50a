"""Your own data: images that show one lesion each become a dataset with the paper's three methods.

README.md, "Your own data", shows the layout of the files and the script of a few lines that is built on this.
"""

import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from common.data.dataset import Dropped, Lesion, Outcome
from common.data.images import Photo, read_photo
from common.data.masks import mask_fault, read_mask
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

NO_ROW = "recist.csv has no row for it; its ellipse comes from its outline"
TURNED_ENDS = "its EXIF orientation turns it; its end points are taken as on the picture that viewers show"
APART = "its end points and its outline lie apart; look at the order of x and y, and at both files"
FLAGS = ("--protocol", "corrected")  # unless a flag says otherwise: there are no published metrics to reproduce
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
        UserError: the image or its outline is unreadable, they differ in size, or end points lie outside the image.
    """
    photo = read_photo(path)
    outline, notes = read_outline(path, photo)
    if outline is not None and (fault := mask_fault(outline)):
        return [Dropped(path.name, fault)]
    if path.name in ends:
        notes += check_ends(path, ends[path.name], photo)
        ellipse = ellipse_from_diameters(ends[path.name])
    else:
        notes += [NO_ROW] if ends else []
        ellipse = None if outline is None else fit_ellipse(outline)
    mask = None if ellipse is None else resize_mask(ellipse_mask(ellipse, photo.pixels.shape[:2]))
    recist = None if mask is None else fit_ellipse(mask)
    if mask is None or recist is None:
        return [Dropped(path.name, "neither an outline nor diameters that an ellipse fits")]
    patch = np.ascontiguousarray(resize_image(photo.pixels)[..., ::-1])  # RGB
    truth = None if outline is None else resize_mask(outline)
    if truth is not None and not (mask & truth).any():
        notes.append(APART)
    lesion = Lesion(
        name=path.name,
        group=path.name,
        image=patch,
        ellipse=mask,
        recist=recist,
        grabcut=grabcut_mask(patch, mask) if grabcut else None,
        truth=truth,
        info={"source": path.name},
        notes=(*photo.notes, *notes),
    )
    return [lesion]


def check_ends(path: Path, ends: np.ndarray, photo: Photo) -> list[str]:
    """Check that an image's (4, 2) end points lie in it and are in px; sentences for the user.

    Raises:
        UserError: they are normalised, or outside the image.
    """
    rows, columns = photo.pixels.shape[:2]
    if ends.min() >= 0 and ends.max() <= 1:
        raise UserError(
            f"the end points of {path.name} lie between 0 and 1; multiply them by its width and height in px"
        )
    if ends.min() < -1 or (ends > (columns, rows)).any():  # px borders or centres, counted from 0 or from 1
        raise UserError(f"end points of {path.name} lie outside the image of {columns} columns and {rows} rows")
    return [TURNED_ENDS] if photo.orientation != 1 else []


def split_by_group(rows: list[dict[str, str]]) -> list[str]:
    """Split rows of `lesions.csv` 70/20/10, with no group in two splits."""
    return split_groups([row["group"] for row in rows], seed=1)


def own_data_main(
    dataset: DatasetInfo,
    description: str | None,
    arguments: Sequence[str] | None = None,
    *,
    make_lesion: Callable[..., list[Outcome]] = make_lesion,
    split: Callable[[list[dict[str, str]]], list[str]] = split_by_group,
) -> None:
    """Run the command line ``prepare``, ``train METHOD`` or ``eval METHOD``, with the flags that all scripts take.

    The protocol is `corrected` unless a flag says otherwise.

    Args:
        dataset: yours.
        description: what --help prints first.
        arguments: None means those that the script was started with.
        make_lesion: takes the place of `make_lesion`; a function of your script, so that processes can share it.
        split: takes the place of `split_by_group`, where each image is a group of its own.

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
            images = sorted(path for path in (args.data / "images").iterdir() if not path.name.startswith("."))
            stems = Counter(path.stem for path in images)
            if twice := [path.name for path in images if stems[path.stem] > 1 and (args.data / "masks").is_dir()]:
                raise UserError(f"{_some(twice)} would share a mask; give each image a name of its own")
            inputs = [*images, *args.data.glob("masks/*"), *args.data.glob("*.[cC][sS][vV]")]
            config = PreprocessConfig.from_args(dataset, args, inputs, preprocessing={"channels": "rgb"})
            ends, patients = read_ends(args.data, images), read_patients(args.data, images)

            def split_patients(rows: list[dict[str, str]]) -> list[str]:
                for row in rows:
                    row["group"] = patients.get(row["lesion"], row["group"])
                return split(rows)

            work = partial(make_lesion, ends=ends, grabcut=args.grabcut)
            preprocess(
                config,
                args.prepared,
                images,
                work,
                split_patients,
                force=args.force,
                refresh=args.refresh,
                workers=args.workers,
            )
        case ["train", method, *flags] if method in own:
            train_main(own[method], description, [*FLAGS, *flags])
        case ["eval", method, *flags] if method in own:
            eval_main(own[method], description, flags)  # the checkpoint knows its protocol
        case _:
            raise UserError(
                f"say prepare, train METHOD or eval METHOD, METHOD being one of {', '.join(METHODS)} (see --help)"
            )


def read_outline(image: Path, photo: Photo) -> tuple[np.ndarray | None, list[str]]:
    """Read the outline of an image, `masks/STEM.png` beside the image's folder, as `read_mask` does.

    Returns:
        (rows, columns) uint8 0/1, None where there is no folder of masks at all; and sentences for the user.
    """
    path = image.parent.with_name("masks") / f"{image.stem}.png"
    return read_mask(path, photo) if path.parent.is_dir() else (None, [])


def read_table(
    data: Path, name: str, images: Sequence[Path], columns: Sequence[str], *, complete: bool
) -> dict[str, dict[str, str]]:
    """Read a CSV file with a row an image, its cells stripped and its header in lower case; {} where there is none.

    Args:
        data: the folder that holds it.
        name: of the file, which may be in upper case too.
        images: what the column ``image`` may name: with or without folder and suffix, in upper or lower case.
        columns: those that it must have, the first being ``image``.
        complete: each image must have a row.

    Returns:
        Rows by the images' file names; "line" is the row's in the file.

    Raises:
        UserError: the folder holds several such files, or one that is only named alike; a column is missing; a row
            names none or several of the images; an image has no row though it must, or two.
    """
    files = [path for path in sorted(data.iterdir()) if Path(name).stem in path.name.casefold() and path.is_file()]
    exact = [path for path in files if path.name.casefold() == name]
    if files and len(exact) != 1:
        raise UserError(
            f"{data} holds {_some([path.name for path in files])}; name the one to read {name}, keep no other"
        )
    by_name: dict[str, list[str]] = defaultdict(list)
    by_stem: dict[str, list[str]] = defaultdict(list)
    for image in images:
        by_name[_plain(image.name)].append(image.name)
        by_stem[_plain(image.stem)].append(image.name)
    table: dict[str, dict[str, str]] = {}
    for path in exact:
        for line, cells in enumerate(read_csv(path), 2):
            row = {(column or "").strip().lower(): str(cell or "").strip() for column, cell in cells.items()}
            if missing := [column for column in columns if column not in row]:
                raise UserError(f"{path} lacks the column {missing[0]}; its first line must be {','.join(columns)}")
            cell = _plain(row["image"].replace("\\", "/").rpartition("/")[2])
            matches = by_name.get(cell) or by_stem.get(cell, [])
            if len(matches) != 1:
                why = f"may be {' or '.join(matches)}" if matches else "is none of the images"
                raise UserError(f"{path} line {line}: {row['image']!r} {why}; write a file's name in full")
            if matches[0] in table:
                raise UserError(f"{path} line {line} names {matches[0]} again; an image shows one lesion")
            table[matches[0]] = {**row, "line": str(line)}
        if (complete or not table) and (without := [image.name for image in images if image.name not in table]):
            raise UserError(f"{path} has no row for {_some(without)}; add what is missing, or move the images away")
    return table


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip()).casefold()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def read_ends(data: Path, images: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read RECIST end points from `recist.csv`, with the columns ``image`` and `prompts.ENDS`, if it is there.

    Returns:
        By image, (4, 2) points (x, y) in px of the image: both ends of the long diameter, then of the short one, as
        `recist.ellipse_from_diameters` takes them.

    Raises:
        UserError: as `read_table`; or a number is missing. Each image needs a row unless there are masks.
    """
    ends: dict[str, np.ndarray] = {}
    table = read_table(data, "recist.csv", images, ("image", *ENDS), complete=not (data / "masks").is_dir())
    for name, row in table.items():
        points = number_list(",".join(row[column] for column in ENDS), len(ENDS))
        if points is None:
            raise UserError(f"recist.csv line {row['line']} must have a number in each of {', '.join(ENDS)}")
        ends[name] = np.array(points).reshape(4, 2)
    return ends


def read_patients(data: Path, images: Sequence[Path]) -> dict[str, str]:
    """Read the patient of each image from `patients.csv`, with the columns ``image`` and ``patient``, if it is there.

    Raises:
        UserError: as `read_table`; or a patient is missing.
    """
    table = read_table(data, "patients.csv", images, ("image", "patient"), complete=True)
    if without := [name for name, row in table.items() if not row["patient"]]:
        raise UserError(f"patients.csv names no patient for {_some(without)}; fill the column")
    return {name: row["patient"] for name, row in table.items()}
