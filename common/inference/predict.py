"""Predicting lesions on a user's own images: command line, masks, overlays and measurements.

A dataset's script says how an image becomes 120x120 patches and how a patch goes back; the rest is here.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.data.images import write_image
from common.inference.frames import COLUMNS, Frame, by_lesion, draw, measure_lesion
from common.patches import CANVAS, parse_canvas
from common.recipe import ENCODER, PROTOCOLS, DatasetInfo
from common.utils.arguments import Parser
from common.utils.errors import UserError
from common.utils.files import write_csv
from common.utils.progress import progress

if TYPE_CHECKING:
    from common.inference.predictor import Predictor

MEASUREMENTS = "measurements.csv"
_OUTPUTS = f"""
--out gets the masks, a picture of each image or slice (outline blue, diameters orange), and {MEASUREMENTS}: area and
RECIST diameters (the longest chord, and the longest one across it) of each lesion in px and, where the spacing is
known, mm; mL for volumes. An empty mask has area and diameters 0. Where a mask has several parts (the column parts),
the diameters are those of the largest.
"""
_FRAMES = 8  # held in memory at a time


def predict_parser(description: str | None, lesions_help: str = "") -> argparse.ArgumentParser:
    """The flags that the three predict scripts share; a script adds its inputs.

    Args:
        description: the script's docstring.
        lesions_help: what the lesions CSV is; without it the script has no ``--lesions``.
    """
    parser = Parser(description=f"{description}{_OUTPUTS}", epilog=lesions_help)
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
    """Make ``--out``, then load the network: what can't be written is told before the work, not after.

    Raises:
        UserError: ``--out`` is no folder or holds an input; or as `Predictor.open`.
    """
    out: Path = args.out
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; choose a folder")
    for path in inputs:
        if out.is_dir() and path.parent.samefile(out):
            raise UserError(f"--out {out} holds the input {path.name}; choose a folder of its own for the results")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    from common.inference.predictor import Predictor  # torch is imported only once the command line is understood

    settings = ("encoder", "canvas", "protocol", "device", "precision")
    return Predictor.load(args.checkpoint, dataset, **{name: getattr(args, name) for name in settings})


def output_names(paths: Sequence[Path]) -> list[str]:
    """A file-name stem for each input's results, different even where inputs differ only by suffix or folder.

    >>> output_names([Path("a.jpg"), Path("a.png"), Path("b/A.jpg")])
    ['a', 'a_png', 'A_jpg']
    >>> output_names([Path("a.jpg"), Path("b/a.jpg"), Path("c/a.jpg")])
    ['a', 'a_jpg', 'a-2']
    """
    names: dict[str, str] = {}  # by what a file system that ignores case makes of them
    for path in paths:
        stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
        choices = chain((stem, path.name.replace(".", "_")), (f"{stem}-{number}" for number in count(2)))
        name = next(name for name in choices if name.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


def predict(
    predictor: "Predictor",
    frames: Iterable[Frame],
    out: Path,
    keep: Callable[[Frame, np.ndarray], None],
    total: int,
    unit: str,
) -> None:
    """Segment, draw and measure frame after frame, holding few of them; then write `measurements.csv`.

    Args:
        segmenter: the network.
        frames: may be read one by one as they are asked for; the slices of a volume are neighbours.
        out: folder of the results.
        keep: takes each frame's mask, (H, W) uint8 0/1, all lesions together.
        total: number of frames, for the progress display.
        unit: what a frame is, for the same.
    """
    rows: list[dict[str, Any]] = []
    for frame, masks in _segmented(predictor, progress(frames, "predicting", total, unit)):
        measured = [measure_lesion(frame, patch.lesion, mask) for patch, mask in zip(frame.patches, masks, strict=True)]
        together = np.bitwise_or.reduce(masks)
        keep(frame, together)
        drawn = draw(frame.picture, together, [ends for _, ends in measured])
        write_image(out / f"{frame.name}_overlay.png", drawn[..., ::-1])
        rows += [row for row, _ in measured]
    lesions = by_lesion(rows)
    write_csv(out / MEASUREMENTS, lesions, COLUMNS)
    empty = sum(row["area_px"] == 0 for row in lesions)
    print(f"{out}: {len(lesions)} lesions measured" + (f", {empty} of them empty" if empty else ""))


def _segmented(predictor: "Predictor", frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[np.ndarray]]]:
    frames = iter(frames)
    while group := list(islice(frames, _FRAMES)):
        found = iter(predictor.probabilities([patch.image for frame in group for patch in frame.patches]))
        for frame in group:
            yield frame, [(patch.back(next(found)) > 0.5).astype(np.uint8) for patch in frame.patches]


def keep_png(out: Path) -> Callable[[Frame, np.ndarray], None]:
    """What `predict` does with masks where each image has its own: a PNG of 0 and 255."""
    return lambda frame, mask: write_image(out / frame.mask, mask * 255)
