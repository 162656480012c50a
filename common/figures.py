"""Pictures of lesions and predictions.

    python common/figures.py PREPARED CHECKPOINT [CHECKPOINT ...] --out FILE.png

One row per lesion: image, truth, approximate target, then each checkpoint's prediction with its Dice.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from anywhere, from a bare clone

import cv2
import numpy as np

from common.errors import UserError, run_script
from common.files import atomic_path
from common.prepared import SPLITS, Prepared

# Okabe and Ito's colours, which colour-blind readers tell apart (RGB).
GREEN, ORANGE, BLUE = (0, 158, 115), (230, 159, 0), (86, 180, 233)
SCALE = 2
"""A patch is drawn this many times larger, so that a thin outline does not hide the border."""


def display_image(image: np.ndarray, channels: str) -> np.ndarray:
    """A prepared image as it looks: (120, 120, 3) uint8 RGB.

    Args:
        image: (120, 120, 3), 0..255.
        channels: "bgr", "rgb" or "slices", of which the key slice in the middle is shown.
    """
    image = np.clip(image, 0, 255).astype(np.uint8)
    if channels == "slices":
        return np.repeat(image[..., 1:2], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" else image


def outline(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw a (120, 120) mask's outline on an RGB image; both are enlarged by `SCALE`."""
    size = (image.shape[1] * SCALE, image.shape[0] * SCALE)
    large = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    border, _ = cv2.findContours(
        cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_NEAREST),
        cv2.RETR_EXTERNAL,
        cv2.CHAIN_APPROX_NONE,
    )
    return cv2.drawContours(large, border, -1, colour, SCALE)


def predict(checkpoint: Path, prepared: Prepared, rows: np.ndarray) -> tuple[str, np.ndarray]:
    """A checkpoint's method and its (N, 120, 120) uint8 predictions for rows of a prepared folder.

    Raises:
        UserError: not a checkpoint.
    """
    import torch

    from common.checkpoint import load_checkpoint
    from common.cli import ENCODER
    from common.dataset import LesionBatches, centre
    from common.model import build_network
    from common.patches import CANVAS
    from common.recipe import METHODS

    content = load_checkpoint(checkpoint)
    method = METHODS[content.method]
    network = build_network(method, str(content.recipe.get("encoder", ENCODER)), content.clusters or 1)
    network.load_state_dict(content.state)
    canvas = content.recipe.get("canvas", CANVAS)
    lesions = LesionBatches(prepared, rows, "ellipse", (canvas[0], canvas[1]), torch.device("cpu"))
    network.eval()
    with torch.inference_mode():
        masks = [(centre(network(batch.images)["mask"])[:, 0] > 0).numpy() for batch in lesions.batches(8)]
    return method.label, np.concatenate(masks).astype(np.uint8)


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


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two 0/1 masks; NaN when both are empty."""
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else float("nan")


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
    predictions = dict(predict(checkpoint, prepared, rows) for checkpoint in args.checkpoints)
    draw_predictions(args.out, prepared, rows, predictions)
    print(f"{args.out} written: {len(rows)} lesions")


if __name__ == "__main__":
    run_script(main)
