"""The HTML report's pictures, as data: URIs."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from common.data.dataset import LesionDataset
from common.data.images import BLUE, GREEN, NAVY, ORANGE, SCALE, display_image, outline
from common.evaluation.results import read_lesion_metrics
from common.report.runs import RunGroup
from common.report.significance import mean_by_lesion
from common.utils.provenance import sha256

GAP = 4
"""px of white between the panels of a strip."""
INK, PALE = [channel / 255 for channel in NAVY], "#888888"
"""For plots on white."""


@dataclass(frozen=True)
class Lesions:
    """The lesions that were scored, with their masks."""

    prepared: LesionDataset
    truth: str
    """The array they were scored against; "folder" where that is not among the arrays."""

    def row(self, name: str) -> int | None:
        """A lesion's row; None where the folder has no such lesion."""
        return self._rows().get(name)

    def _rows(self) -> dict[str, int]:
        return {lesion["lesion"]: row for row, lesion in enumerate(self.prepared.lesions)}

    def diameters(self) -> dict[str, float]:
        """The diameter of a disc of the same area as each lesion's truth, in px of the patch."""
        truth = self.truth_masks()
        area = (self.prepared.array("ellipse") if truth is None else truth).sum((1, 2), dtype=np.int64)
        return dict(zip(self._rows(), 2 * np.sqrt(area / np.pi), strict=True))

    def truth_masks(self) -> np.ndarray | None:
        """(N, 120, 120) 0/1, or None where they are not at hand."""
        return self.prepared.array(self.truth) if self.truth in self.prepared.metadata["arrays"] else None


def find_checkpoint(run: Mapping[str, Any], folders: Sequence[Path]) -> Path | None:
    """The checkpoint that a run scored; None where it is not there or was made anew since."""
    told = run.get("checkpoint", {})
    paths = [folder / str(told.get("file")) for folder in folders]
    return next((path for path in paths if path.is_file() and _digest(path) == told.get("sha256")), None)


_digest = cache(sha256)  # of large files, asked for more than once


def lesion_strips(run: Mapping[str, Any], checkpoint: Path, lesions: Lesions, count: int) -> list[tuple[str, str]]:
    """The worst and the best lesions of a run by Dice, in turn: the worst, the best, the second worst, ...

    Args:
        run: an evaluation.
        checkpoint: that it scored.
        lesions: it scored them.
        count: of each; fewer where there are not so many lesions.

    Returns:
        A caption and a picture (data: URI) for each: image, truth, approximate target and prediction side by side.
    """
    from common.inference.predictor import Predictor  # torch is imported only where there is something to predict

    scored = {name: value for name, value in read_lesion_metrics(run, "dice").items() if lesions.row(name) is not None}
    order = sorted(scored, key=lambda name: scored[name])
    count = min(count, len(order) // 2)
    pairs = zip(order[:count], order[::-1][:count], strict=True)
    chosen = [(kind, name) for pair in pairs for kind, name in zip(("worst", "best"), pair, strict=True)]
    if not chosen:
        return []
    rows = np.array([lesions.row(name) for _, name in chosen])
    predictions = Predictor.load(checkpoint).mask_rows(lesions.prepared, rows)
    diameters = lesions.diameters()
    strips = []
    for (kind, name), row, mask in zip(chosen, rows, predictions, strict=True):
        caption = f"{kind}: {name}, {diameters[name]:.0f} px across, Dice {scored[name]:.3f}"
        strips.append((caption + ("" if mask.any() else " (nothing found)"), _strip(lesions, row, mask)))
    return strips


def _strip(lesions: Lesions, row: int, prediction: np.ndarray) -> str:
    prepared, truth = lesions.prepared, lesions.truth_masks()
    image = display_image(prepared.array("images")[row], prepared.metadata["channels"])
    nothing = np.zeros(image.shape[:2], np.uint8)
    masks = {
        GREEN: nothing if truth is None else truth[row],
        ORANGE: prepared.array("ellipse")[row],
        BLUE: prediction,
    }
    panels = [outline(image, nothing, BLUE), *(outline(image, mask, colour) for colour, mask in masks.items())]
    gap = np.full((image.shape[0] * SCALE, GAP, 3), 255, np.uint8)
    strip = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    return _uri(cv2.imencode(".png", strip[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


def size_plot(block: Sequence[RunGroup], lesions: Lesions) -> str:
    """Dice against size, a panel for each network of a block; behind it the ellipse itself where it was scored."""
    from matplotlib.figure import Figure

    networks = [row for row in block if row.target is not None]
    ellipse = next((row for row in block if row.runs[0].get("method") == "ellipse" and row.target is None), None)
    columns = min(4, max(len(networks), 1))
    lines = -(-max(len(networks), 1) // columns)
    figure = Figure(figsize=(11, 3.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    diameters = lesions.diameters()
    for axis, row in zip(axes, networks, strict=False):
        for shown, style in ((ellipse, {"facecolor": "none", "edgecolor": PALE}), (row, {"color": INK})):
            scores = mean_by_lesion([read_lesion_metrics(run, "dice") for run in shown.runs]) if shown else {}
            names = scores.keys() & diameters.keys()
            axis.scatter([diameters[n] for n in names], [scores[n] for n in names], s=16, alpha=0.7, **style)
        axis.set_title(row.name, fontsize=10)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    for axis in axes[len(networks) :]:
        axis.set_axis_off()
    figure.supxlabel("diameter of the lesion, px of the 120x120 patch", fontsize=10)
    figure.supylabel("Dice", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return _uri(buffer.getvalue())


def learning_curves(rows: Sequence[RunGroup], folders: Sequence[Path]) -> str | None:
    """How the rows' trainings went, as `curves.draw_histories` shows it; None where there is no history."""
    from common.report.figures.curves import HISTORY, draw_histories, read_history

    checkpoints = [path for row in rows for run in row.runs if (path := find_checkpoint(run, folders))]
    histories = [path.with_suffix(HISTORY) for path in checkpoints if path.with_suffix(HISTORY).is_file()]
    if not histories:
        return None
    with TemporaryDirectory() as folder:
        path = Path(folder) / "curves.png"
        draw_histories(path, [read_history(history) for history in histories])
        return _uri(path.read_bytes())


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
