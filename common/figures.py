"""Pictures of lesions and predictions.

    python common/figures.py PREPARED CHECKPOINT [CHECKPOINT ...] --out FILE.png

One row per lesion: image, truth, approximate target, then each checkpoint's prediction with its Dice.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from anywhere, from a bare clone

import numpy as np

from common.drawing import BLUE, GREEN, ORANGE, dice, display_image, outline
from common.errors import UserError, run_script
from common.files import atomic_path
from common.prepared import SPLITS, Prepared


def draw_predictions(path: Path, prepared: Prepared, rows: np.ndarray, predictions: Mapping[str, np.ndarray]) -> None:
    """Write the picture: a row per lesion, a column for the image, the truth, the target and each method.

    Args:
        path: PNG to write.
        prepared: the folder the rows belong to.
        rows: (N,) row numbers.
        predictions: (N, 120, 120) masks by column heading.
    """
    from matplotlib.figure import Figure

    names = prepared.content["arrays"]
    columns: dict[str, tuple[np.ndarray | None, tuple[int, int, int]]] = {"image": (None, GREEN)}
    if "truth" in names:
        columns["truth"] = (prepared.array("truth")[rows], GREEN)
    columns["approximate target"] = (prepared.array("ellipse")[rows], ORANGE)
    columns |= {label: (masks, BLUE) for label, masks in predictions.items()}
    reference = columns.get("truth", columns["approximate target"])[0]
    assert reference is not None

    figure = Figure(figsize=(1.7 * len(columns), 1.75 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, row in enumerate(rows):
        image = display_image(prepared.array("images")[row], prepared.content["channels"])
        for place, (heading, (masks, colour)) in enumerate(columns.items()):
            axis = axes[line, place]
            axis.imshow(image if masks is None else outline(image, masks[line], colour))
            axis.set_axis_off()
            if line == 0:
                axis.set_title(heading, fontsize=9)
            if heading in predictions and masks is not None:
                text = f"Dice {dice(masks[line], reference[line]):.2f}"
                axis.text(0.03, 0.03, text, transform=axis.transAxes, fontsize=7, color="white",
                          bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0})  # fmt: skip
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("checkpoints", type=Path, nargs="+", help="trained on it")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--rows", type=int, default=6, metavar="N", help="lesions to draw, spread over the split")
    args = parser.parse_args(arguments)
    if args.rows < 1:
        raise UserError(f"--rows {args.rows} must be at least 1")
    prepared = Prepared.load(args.prepared)
    rows = prepared.rows(args.split)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(args.rows, len(rows))).astype(int))]
    from common.evaluate import predict_rows  # torch is imported only once the command line is understood

    predictions = dict(predict_rows(checkpoint, prepared, rows) for checkpoint in args.checkpoints)
    draw_predictions(args.out, prepared, rows, predictions)
    print(f"{args.out} written: {len(rows)} lesions")


if __name__ == "__main__":
    run_script(main)
