"""The HTML report's pictures, as data: URIs."""

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.data.dataset import LesionDataset
from common.evaluation.results import read_lesion_metrics
from common.report.figures.curves import draw_histories, read_history
from common.report.figures.galleries import lesion_image
from common.report.figures.page import rgb
from common.report.runs import RunGroup
from common.report.significance import lesion_table, mean_by_lesion
from common.training.config import history_path
from common.utils.drawing import BLUE, GREEN, NAVY, ORANGE, SCALE, outline
from common.utils.pages import data_uri
from common.utils.provenance import sha256

GAP = 4  # px of white between the panels of a strip
_sha256 = cache(sha256)  # checkpoints are large, and each is looked for more than once


def find_checkpoint(run: Mapping[str, Any], folders: Sequence[Path]) -> Path | None:
    """The checkpoint that a run scored; None where it is in none of the folders, or was trained again since."""
    checkpoint = run.get("checkpoint", {})
    paths = [folder / str(checkpoint.get("file")) for folder in folders]
    return next((path for path in paths if path.is_file() and _sha256(path) == checkpoint.get("sha256")), None)


def lesion_sizes(dataset: LesionDataset, truth: str) -> pd.DataFrame:
    """The "row" of each lesion by name, and the "diameter" in px of a disc with the area of its truth.

    Where the truth is not among the arrays, the area is that of the ellipse.
    """
    masks = dataset.array(truth if truth in dataset.metadata["arrays"] else "ellipse")
    diameters = 2 * np.sqrt(masks.sum((1, 2), dtype=np.int64) / np.pi)
    names = [lesion["lesion"] for lesion in dataset.lesions]
    return pd.DataFrame({"row": np.arange(len(names)), "diameter": diameters}, names)


def lesion_strips(
    run: Mapping[str, Any], checkpoint: Path, dataset: LesionDataset, count: int
) -> list[tuple[str, str]]:
    """Draw the ``count`` lesions of a run with the worst and the best Dice, in turn: worst, best, second worst, ...

    Returns:
        A caption and a picture (data: URI) for each: image, truth, the mask trained on and prediction side by side.
    """
    from common.inference.predictor import Predictor

    dice = read_lesion_metrics(run, "dice")
    lesions = lesion_sizes(dataset, run["truth"]).join(dice, how="inner").sort_values("dice", kind="stable")
    places = [place for rank in range(min(count, len(lesions) // 2)) for place in (rank, -1 - rank)]
    if not places:
        return []
    lesions = lesions.iloc[places]
    settings = run["settings"]
    noise, seed = settings.get("prompt_noise"), settings.get("noise_seed", 0)
    ends = dataset.noisy_ends(noise, seed) if noise else None
    predictor = Predictor.load(
        checkpoint,
        encoder=settings.get("encoder"),
        canvas=tuple(settings["canvas"]) if settings.get("canvas") else None,
        protocol=settings.get("protocol"),
        tta=settings.get("tta", False),
    )
    predictions = predictor.mask_rows(dataset, lesions["row"].to_numpy(), ends)
    trained_on = run["settings"].get("target")
    target = trained_on if trained_on in dataset.metadata["arrays"] else dataset.target
    strips = []
    for place, lesion, mask in zip(places, lesions.itertuples(), predictions, strict=True):
        kind, nothing = "best" if place < 0 else "worst", "" if mask.any() else " (nothing found)"
        nothing += "" if run["truth"] in dataset.metadata["arrays"] else " (its truth is not at hand)"
        caption = f"{kind}: {lesion.Index}, {lesion.diameter:.0f} px across, Dice {lesion.dice:.3f}{nothing}"
        strips.append((caption, _strip(dataset, run["truth"], target, lesion.row, mask)))
    return strips


def _strip(dataset: LesionDataset, truth: str, target: str, row: int, prediction: np.ndarray) -> str:
    image, nothing = lesion_image(dataset, row), np.zeros_like(prediction)
    reference = dataset.array(truth)[row] if truth in dataset.metadata["arrays"] else nothing
    masks = ((nothing, BLUE), (reference, GREEN), (dataset.array(target)[row], ORANGE), (prediction, BLUE))
    gap = np.full((len(image) * SCALE, GAP, 3), 255, np.uint8)
    strip = np.hstack([part for mask, colour in masks for part in (gap, outline(image, mask, colour))][1:])
    return data_uri(cv2.imencode(".png", strip[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes(), "png")


def size_plot(block: Sequence[RunGroup], dataset: LesionDataset) -> str:
    """Dice against size, a panel for each network of a block; behind it the weak mask itself where it was scored."""
    sizes = lesion_sizes(dataset, block[0].runs[0]["truth"])
    networks = [group for group in block if group.target]
    baselines = [group for group in block if not group.target and group.runs[0].get("method") == dataset.target]
    columns = min(4, max(len(networks), 1))
    lines = -(-max(len(networks), 1) // columns)
    figure = Figure(figsize=(11, 3.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, network in zip(axes, networks, strict=False):
        for group in (*baselines[:1], network):
            dice = mean_by_lesion(lesion_table(dict(enumerate(group.runs)), "dice"))
            points = sizes.join(dice.rename("dice"), how="inner")
            style = {"color": rgb(NAVY)} if group is network else {"facecolor": "none", "edgecolor": "#888888"}
            axis.scatter(points["diameter"], points["dice"], s=16, alpha=0.7, **style)
        axis.set_title(network.name, fontsize=10)
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
    for axis in axes[len(networks) :]:
        axis.set_axis_off()
    figure.supxlabel("diameter of the lesion, px of the 120x120 patch", fontsize=10)
    figure.supylabel("Dice", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return data_uri(buffer.getvalue(), "png")


def learning_curves(groups: Sequence[RunGroup], folders: Sequence[Path]) -> str | None:
    """The learning curves of the networks that were scored; None where no history lies beside their checkpoints."""
    runs = [run for group in groups for run in group.runs]
    checkpoints = dict.fromkeys(path for run in runs if (path := find_checkpoint(run, folders)))
    histories = [read_history(path) for path in map(history_path, checkpoints) if path.is_file()]
    if not histories:
        return None
    with TemporaryDirectory() as folder:
        draw_histories(path := Path(folder) / "curves.png", histories)
        return data_uri(path.read_bytes(), "png")
