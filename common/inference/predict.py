"""Prediction on a user's own images: command line, masks, overlays and measurements.

A dataset's script cuts the lesions' patches and pastes the predictions back; everything else is here.
"""

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from common.data.lesion import Unreadable
from common.inference.lesion_image import LesionImage, LesionPatch, draw_overlay
from common.inference.lesion_page import PAGE, draw_thumbnail, write_page
from common.inference.measurements import COLUMNS, measure_lesion, merge_slices
from common.inference.prompts import LesionPrompt, check_mark
from common.io.images import write_image
from common.recipe import DatasetInfo
from common.training.config import add_network_flags
from common.utils.arguments import TTA_HELP, Parser
from common.utils.errors import UserError, join_names
from common.utils.files import check_writable, file_stem, read_csv, write_csv
from common.weak_masks import QUARTERS_SCALE

if TYPE_CHECKING:
    from common.inference.predictor import Predictor

MEASUREMENTS = "measurements.csv"
_RESULTS_HELP = f"""
--out gets the masks, an overlay of each image or slice (outline blue, diameters orange), and {MEASUREMENTS}: area and
RECIST diameters (the longest chord, and the longest one across it) of each lesion in px and, where the spacing is
known, mm; mL for a lesion on consecutive slices. In CT, only the mask's parts that touch the lesion's box, point or
mark are kept, or else the nearest part. An empty mask has area and diameters 0. If a mask has several parts (column
parts), the diameters are those of the largest. If the column cut is above 0, the mask reaches the border of its patch,
and the lesion may be larger than measured. {PAGE} shows overlays and measurements in a browser.
"""
_IMAGES_IN_MEMORY = 8


def predict_parser(
    description: str | None, lesions_help: str = "", checkpoint: Path | None = None
) -> argparse.ArgumentParser:
    """The flags that all predict scripts share; a script adds its inputs.

    ``lesions_help`` is the format of the lesions CSV; where it is empty, the script adds ``--lesions``. ``checkpoint``
    is the default one; without it, --checkpoint or --target must be given.
    """
    parser = Parser(description=f"{description}{_RESULTS_HELP}", epilog=lesions_help)
    add = parser.add_argument
    text = f"default {checkpoint}" if checkpoint else "ours, or a released one"
    source = parser.add_mutually_exclusive_group(required=checkpoint is None)
    source.add_argument("--checkpoint", type=Path, default=checkpoint, metavar="PATH", help=text)
    text = f"no network: the masks are the RECIST marks' quarter-ellipses, scaled by {QUARTERS_SCALE:g}"
    source.add_argument("--target", choices=("quarters",), help=text)
    if lesions_help:
        add("--lesions", type=Path, required=True, metavar="CSV", help="where the lesions are; see below")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results, made if need be")
    add_network_flags(parser, default="the checkpoint's own, else ")
    add("--tta", action="store_true", help=TTA_HELP)
    return parser


def load_predictor(
    args: argparse.Namespace, dataset: DatasetInfo, inputs: Sequence[Path], prompts: Iterable[LesionPrompt] = ()
) -> "Predictor | None":
    """Make sure that ``--out`` is writable, then load the network that the flags name; None with ``--target``.

    Raises:
        UserError: ``--out`` is no folder, holds one of the inputs or the results of others; a flag contradicts what the
            checkpoint was trained with, or is a network's where there is none; marks are needed, and one of the
            ``prompts``, which are rows of ``--lesions``, gives none; or as `Predictor.load`.
    """
    out: Path = args.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; choose a folder")
    for path in inputs:
        if out.is_dir() and path.parent.samefile(out):
            raise UserError(f"--out {out} holds the input {path.name}; choose a folder of its own for the results")
    _check_results(out, {str(path) for path in inputs})
    check_writable(out, "pass another --out")
    network = {name: getattr(args, name) for name in ("encoder", "canvas", "protocol")}
    if args.target:
        if given := [name for name, value in {**network, "tta": args.tta}.items() if value]:
            raise UserError(f"--{given[0]} is a checkpoint's, and --target {args.target} needs none; leave it out")
        _check_marks(args, prompts)
        return None
    from common.inference.predictor import Predictor  # torch is imported only once the command line is understood

    predictor = Predictor.load(
        args.checkpoint, dataset, **network, device=args.device, precision=args.precision, tta=args.tta
    )
    for name, value in network.items():
        own = predictor.model.settings.get(name)
        if value and own and value != (tuple(own) if name == "canvas" else own):
            raise UserError(f"{args.checkpoint} was trained with another {name}, {own}; leave --{name} out")
    if predictor.model.prompted:
        _check_marks(args, prompts)
    return predictor


def _check_results(out: Path, inputs: set[str]) -> None:
    """Refuse a folder with the results of other inputs, which would be lost or lose their table."""
    rows = read_csv(out / MEASUREMENTS) if (out / MEASUREMENTS).is_file() else []
    if others := sorted({row.get("input", "") for row in rows} - inputs):
        raise UserError(f"--out {out} holds the results of {join_names(others)}; choose another folder, or delete it")


def _check_marks(args: argparse.Namespace, prompts: Iterable[LesionPrompt]) -> None:
    for prompt in prompts:
        check_mark(prompt.ends, f"{args.lesions}, row {prompt.row} after the header,")


def output_names(paths: Sequence[Path]) -> list[str]:
    """A file-name stem for each input's results, with the folder's name where folders hold files of the same name.

    >>> output_names([Path("a.jpg"), Path("a.png"), Path("b.png")])
    ['a', 'a_png', 'b']
    >>> output_names([Path("1/ct.nii.gz"), Path("2/ct.nii.gz"), Path("2/late.nii")])
    ['1_ct', '2_ct', '2_late']
    """
    folders: dict[str, set[str]] = defaultdict(set)  # that hold a name
    for path in paths:
        folders[file_stem(path.name).casefold()].add(path.parent.name)
    shared = any(len(holders) > 1 for holders in folders.values())
    names: dict[str, str] = {}  # by their case-folded form: some file systems ignore case
    for path in paths:
        folder = f"{path.parent.name}_" if shared and path.parent.name not in ("", "..") else ""
        stem, name = folder + file_stem(path.name), folder + path.name.replace(".", "_")
        choices = chain((stem, name), (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in choices if name.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


def predict(predictor: "Predictor | None", images: Iterable[LesionImage | Unreadable], out: Path) -> None:
    """Segment, draw and measure the lesions of any number of images, few of them in memory at a time.

    Without ``predictor`` the masks are the `LesionPatch.quarters`, which all patches must have then. The folder
    ``out`` gets masks, overlays and, once all images are done, `measurements.csv` and `index.html`; the results that
    another `measurements.csv` lists there are removed once there are new ones.

    Raises:
        UserError: images are unreadable; they are listed once the results of all others are written.
    """
    rows: list[dict[str, Any]] = []
    pictures: dict[tuple[str, int | None], str] = {}
    unreadable: list[str] = []

    def readable() -> Iterator[LesionImage]:
        for image in images:
            if isinstance(image, Unreadable):
                unreadable.append(image.reason)
            else:
                yield image

    for image, masks in _predict_masks(predictor, readable()):
        if not rows:
            _remove_results(out)
        union = np.bitwise_or.reduce([mask for mask, _ in masks])
        image_rows, diameter_ends = _measure(image, masks)
        rows += image_rows
        if image.save_mask:
            image.save_mask(union)
        else:
            write_image(out / image.mask_file, union * 255)
        write_image(out / f"{image.name}_overlay.png", draw_overlay(image.rgb, union, diameter_ends)[..., ::-1])
        pictures[image.source, image.slice] = draw_thumbnail(image.rgb, union, diameter_ends)
    if rows:
        lesions = merge_slices(rows)
        write_csv(out / MEASUREMENTS, lesions, COLUMNS)
        write_page(out / PAGE, lesions, pictures, unreadable)
        _print_summary(out, lesions)
    rest = f"the others are done, in {out}" if rows else "nothing is written"
    if len(unreadable) == 1:
        raise UserError(f"{unreadable[0]} ({rest})")
    if unreadable:
        print(*unreadable, sep="\n", file=sys.stderr)
        raise UserError(f"{len(unreadable)} images can't be read, as listed above; {rest}")


class LesionMask(NamedTuple):
    """The (H, W) uint8 0/1 mask of a lesion, and whether the patch's border cuts it off."""

    mask: np.ndarray
    cut: bool


def _measure(image: LesionImage, masks: Sequence[LesionMask]) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """A row for each lesion of an image, and the ends of its diameters."""
    rows, diameter_ends = [], []
    for patch, (mask, cut) in zip(image.patches, masks, strict=True):
        measurements, ends = measure_lesion(mask, image.spacing)
        columns = {"input": image.source, "lesion": patch.lesion, "slice": image.slice, "mask": image.mask_file}
        rows.append(columns | measurements | {"cut": int(cut)})
        diameter_ends.append(ends)
    return rows, diameter_ends


def _remove_results(out: Path) -> None:
    """Remove the masks and overlays that the table of an earlier run lists, and the table: they aren't this run's."""
    if (out / MEASUREMENTS).is_file():
        stems = {row.get("mask", "").rpartition("_mask.")[0] for row in read_csv(out / MEASUREMENTS)} - {""}
        for path in list(out.iterdir()):
            if match := re.fullmatch(r"(.+?)(_[0-9]+)?_(?:overlay\.png|mask\.png|mask\.nii\.gz)", path.name):
                slice_number = match[2] or ""  # of an overlay, or the end of an image's name
                if {match[1], match[1] + slice_number} & stems:
                    path.unlink()
    for name in (MEASUREMENTS, PAGE):
        (out / name).unlink(missing_ok=True)


def _print_summary(out: Path, lesions: Sequence[Mapping[str, Any]]) -> None:
    empty = sum(row["area_px"] == 0 for row in lesions)
    print(f"{out}: {len(lesions)} lesions measured" + (f", {empty} of them empty" if empty else ""))
    named = Counter(row["lesion"] for row in lesions)

    def name(row: Mapping[str, Any]) -> str:
        return row["lesion"] if named[row["lesion"]] == 1 else f"{row['lesion']} of {row['input']}"

    several = [row for row in lesions if (row.get("slices") or 1) > 1 and "area_mm2" in row]
    if gaps := [name(row) for row in several if "volume_ml" not in row]:
        print(f"warning: no volume of {join_names(gaps)}, whose slices are not consecutive", file=sys.stderr)
    if cut_off := [name(row) for row in lesions if row["cut"]]:
        print(
            f"warning: cut off by the patch (see the column cut): {join_names(cut_off)}; these lesions may be larger "
            "than measured; give a box or RECIST end points that hold them",
            file=sys.stderr,
        )


def _predict_masks(
    predictor: "Predictor | None", images: Iterator[LesionImage]
) -> Iterator[tuple[LesionImage, list[LesionMask]]]:
    if predictor is None:
        for image in images:
            yield image, [LesionMask(patch.quarters(), cut=False) for patch in image.patches if patch.quarters]
        return
    while group := list(islice(images, _IMAGES_IN_MEMORY)):
        predictions = iter(_probabilities(predictor, [patch for image in group for patch in image.patches]))
        for image in group:
            yield image, [_paste(predictor, patch, next(predictions)) for patch in image.patches]


def _probabilities(predictor: "Predictor", patches: Sequence[LesionPatch]) -> np.ndarray:
    ends = [patch.ends for patch in patches if patch.ends is not None] if predictor.model.prompted else None
    return predictor.probabilities([patch.image for patch in patches], ends)


def _paste(predictor: "Predictor", patch: LesionPatch, probability: np.ndarray) -> LesionMask:
    """A patch's mask or, if that is cut off, a larger patch's, unless the latter is empty or shows only neighbours."""
    mask = patch.own_parts((patch.paste(probability) > 0.5).astype(np.uint8))
    cut = patch.cuts(mask)
    if cut and patch.larger:
        larger = patch.larger()
        second = _paste(predictor, larger, _probabilities(predictor, [larger])[0])
        if second.mask.any() and (patch.holds_place(second.mask) or not patch.holds_place(mask)):
            return second
    return LesionMask(mask, cut)
