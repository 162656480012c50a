"""Prediction on a user's own images: command line, masks, overlays and measurements.

A dataset's script cuts the lesions' patches and pastes the predictions back; everything else is here.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.data.images import write_image
from common.inference.lesion_image import LesionImage, draw_overlay
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
known, mm; mL for volumes. An empty mask has area and diameters 0. Where a mask has several parts (the column parts),
the diameters are those of the largest.
"""
_IMAGES_IN_MEMORY = 8


def predict_parser(description: str | None, lesions_help: str = "") -> argparse.ArgumentParser:
    """The flags that the three predict scripts share; a script adds its inputs.

    Args:
        description: the script's docstring.
        lesions_help: format of the lesions CSV; empty for a script without ``--lesions``.
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
        UserError: ``--out`` is no folder or holds one of the inputs; or as `Predictor.load`.
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

    settings = ("encoder", "canvas", "protocol", "device", "precision")
    return Predictor.load(args.checkpoint, dataset, **{name: getattr(args, name) for name in settings})


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
    """Segment, draw and measure the lesions of each image, then write `measurements.csv`.

    Args:
        predictor: the network.
        images: any number; few of them are in memory at a time.
        out: folder of the results.
        save_mask: takes an image and the (H, W) uint8 0/1 mask of all its lesions; None writes a PNG of 0 and 255.
    """
    rows: list[dict[str, Any]] = []
    for image, masks in _predict_masks(predictor, images):
        union, diameter_ends = np.bitwise_or.reduce(masks), []
        for patch, mask in zip(image.patches, masks, strict=True):
            measurements, ends = measure_lesion(mask, image.spacing)
            columns = {"input": image.source, "lesion": patch.lesion, "slice": image.slice, "mask": image.mask_file}
            rows.append(columns | measurements)
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


def _predict_masks(
    predictor: "Predictor", images: Iterable[LesionImage]
) -> Iterator[tuple[LesionImage, list[np.ndarray]]]:
    """Each image with the (H, W) uint8 0/1 masks of its lesions."""
    images = iter(images)
    while group := list(islice(images, _IMAGES_IN_MEMORY)):
        predictions = iter(predictor.probabilities([patch.image for image in group for patch in image.patches]))
        for image in group:
            yield image, [(patch.paste(next(predictions)) > 0.5).astype(np.uint8) for patch in image.patches]
