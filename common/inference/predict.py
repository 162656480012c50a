"""Prediction on a user's own images: command line, masks, overlays and measurements.

A dataset's script cuts the lesions' patches and pastes the predictions back; everything else is here.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.data.images import write_image
from common.inference.lesion_image import LesionImage, LesionPatch, draw_overlay
from common.inference.measurements import COLUMNS, measure_lesion, merge_slices
from common.patches import CANVAS, parse_canvas
from common.recipe import ENCODER, PROTOCOLS, DatasetInfo
from common.utils.arguments import Parser
from common.utils.errors import UserError
from common.utils.files import write_csv

if TYPE_CHECKING:
    from common.inference.predictor import Predictor

MEASUREMENTS = "measurements.csv"
_RESULTS_HELP = f"""
--out gets the masks, an overlay of each image or slice (outline blue, diameters orange), and {MEASUREMENTS}: area and
RECIST diameters (the longest chord, and the longest one across it) of each lesion in px and, where the spacing is
known, mm; mL for a lesion on several slices. An empty mask has area and diameters 0. Where a mask has several parts
(the column parts), the diameters are those of the largest. Where the column cut is above 0, the mask reaches the border
of its patch and the lesion may be larger than measured.
"""
_IMAGES_IN_MEMORY = 8


def predict_parser(description: str | None, lesions_help: str = "") -> argparse.ArgumentParser:
    """The flags that the three predict scripts share; a script adds its inputs.

    ``lesions_help`` is the format of the lesions CSV; it is empty for a script without ``--lesions``.
    """
    parser = Parser(description=f"{description}{_RESULTS_HELP}", epilog=lesions_help)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="PATH", help="ours, or a released one")
    if lesions_help:
        add("--lesions", type=Path, required=True, metavar="CSV", help="where the lesions are; see below")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results, made if need be")
    note = "default the checkpoint's own, else"
    add("--encoder", metavar="NAME", help=f"{note} {ENCODER}")
    add("--canvas", type=parse_canvas, metavar="HxW", help=f"px the network sees ({note} {CANVAS[0]}x{CANVAS[1]})")
    add("--protocol", choices=PROTOCOLS, help=f"{note} released")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where the hardware has it")
    return parser


def load_predictor(args: argparse.Namespace, dataset: DatasetInfo, inputs: Iterable[Path]) -> "Predictor":
    """Load the network that the flags name, once ``--out`` is there and can be written to.

    Raises:
        UserError: ``--out`` is no folder or holds one of the inputs; a flag contradicts what the checkpoint was trained
            with; or as `Predictor.load`.
    """
    out: Path = args.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; choose a folder")
    for path in inputs:
        if out.is_dir() and path.parent.samefile(out):
            raise UserError(f"--out {out} holds the input {path.name}; choose a folder of its own for the results")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass  # raises where the folder can't be written to
    from common.inference.predictor import Predictor  # torch is imported only once the command line is understood

    network = {name: getattr(args, name) for name in ("encoder", "canvas", "protocol")}
    predictor = Predictor.load(args.checkpoint, dataset, **network, device=args.device, precision=args.precision)
    for name, value in network.items():
        own = predictor.model.settings.get(name)
        if value and own and value != (tuple(own) if name == "canvas" else own):
            raise UserError(f"{args.checkpoint} was trained with another {name}, {own}; leave --{name} out")
    return predictor


def output_names(paths: Sequence[Path]) -> list[str]:
    """A file-name stem for each input's results, different even where inputs differ only by suffix or folder.

    >>> output_names([Path("a.jpg"), Path("a.png"), Path("b/a.png")])
    ['a', 'a_png', 'a-2']
    """
    names: dict[str, str] = {}  # by their case-folded form: some file systems ignore case
    for path in paths:
        stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
        choices = chain((stem, path.name.replace(".", "_")), (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in choices if name.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


def predict(
    predictor: "Predictor",
    images: Iterable[LesionImage],
    out: Path,
    save_mask: Callable[[LesionImage, np.ndarray], None] | None = None,
) -> None:
    """Segment, draw and measure the lesions of any number of images, few of them in memory at a time.

    The folder ``out`` gets overlays, `measurements.csv`, and masks as PNGs of 0 and 255, unless ``save_mask`` takes an
    image and the (H, W) uint8 0/1 mask of all its lesions.
    """
    rows: list[dict[str, Any]] = []
    for image, masks in _predict_masks(predictor, images):
        union, diameter_ends = np.bitwise_or.reduce([mask for mask, _ in masks]), []
        for patch, (mask, cut) in zip(image.patches, masks, strict=True):
            measurements, ends = measure_lesion(mask, image.spacing)
            columns = {"input": image.source, "lesion": patch.lesion, "slice": image.slice, "mask": image.mask_file}
            rows.append(columns | measurements | {"cut": int(cut)})
            diameter_ends.append(ends)
        if save_mask:
            save_mask(image, union)
        else:
            write_image(out / image.mask_file, union * 255)
        write_image(out / f"{image.name}_overlay.png", draw_overlay(image.rgb, union, diameter_ends)[..., ::-1])
    lesions = merge_slices(rows)
    write_csv(out / MEASUREMENTS, lesions, COLUMNS)
    empty = sum(row["area_px"] == 0 for row in lesions)
    print(f"{out}: {len(lesions)} lesions measured" + (f", {empty} of them empty" if empty else ""))
    if cut_off := [row["lesion"] for row in lesions if row["cut"]]:
        names = ", ".join(cut_off[:5]) + (", ..." if len(cut_off) > 5 else "")
        print(
            f"warning: cut off by the patch (see the column cut): {names}; these lesions may be larger than measured; "
            "give a box or RECIST end points that hold them",
            file=sys.stderr,
        )


Look = tuple[np.ndarray, bool]  # the (H, W) uint8 0/1 mask of a lesion, and whether the patch's border cuts it off


def _predict_masks(predictor: "Predictor", images: Iterable[LesionImage]) -> Iterator[tuple[LesionImage, list[Look]]]:
    images = iter(images)
    while group := list(islice(images, _IMAGES_IN_MEMORY)):
        predictions = iter(predictor.probabilities([patch.image for image in group for patch in image.patches]))
        for image in group:
            yield image, [_paste(predictor, patch, next(predictions)) for patch in image.patches]


def _paste(predictor: "Predictor", patch: LesionPatch, probability: np.ndarray) -> Look:
    """The mask of a patch, or, where it is cut off and a larger patch shows anything, of that one."""
    mask = (patch.paste(probability) > 0.5).astype(np.uint8)
    cut = patch.cuts(mask)
    if cut and patch.larger:
        larger = patch.larger()
        look = _paste(predictor, larger, predictor.probabilities([larger.image])[0])
        if look[0].any():
            return look
    return mask, cut
