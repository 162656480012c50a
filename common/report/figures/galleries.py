"""Two pages of patches: shape clusters with their lesions, and predictions beside the truth."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.data.dataset import LesionDataset
from common.metrics import dice
from common.recipe import default_target
from common.report.figures import page
from common.report.runs import variations
from common.utils.drawing import BLUE, GREEN, ORANGE, Colour

GAP = 0.05  # inches between columns of patches
TARGET = "approximate\ntarget"
COLOURS = {"truth": GREEN, TARGET: ORANGE}  # of outlines, by column heading; those of predictions are BLUE
REFERENCES = {"truth": "", "grabcut": "GrabCut instead", "quarters": "quarters instead", "ellipse": "ellipse instead"}
"""Arrays that predictions can be scored against, the best first, with their captions; not every dataset has all."""


class Predictions(NamedTuple):
    """Masks that networks predict for some lesions of a dataset."""

    dataset: LesionDataset
    rows: np.ndarray  # (n,) row numbers
    masks: Mapping[str, np.ndarray] = {}  # (n, 120, 120) uint8 0/1 by column heading

    @property
    def reference(self) -> str:
        """The array that predictions are scored against."""
        return next(name for name in REFERENCES if name in self.dataset.metadata["arrays"])


def predict(dataset: LesionDataset, checkpoints: Sequence[Path], split: str, count: int) -> Predictions:
    """Predict ``count`` lesions of a split with each checkpoint.

    Headings are the methods' names with their variations, with the mask trained on unless that is the default, and with
    the file's name where an earlier checkpoint has the same heading.

    Raises:
        UserError: a checkpoint is damaged, or was trained on lesions that were preprocessed in another way.
    """
    from common.evaluation.evaluate import check_preprocessing, seen_rows  # torch takes seconds to import
    from common.inference.predictor import Predictor
    from common.training.checkpoint import check_dataset

    rows = rows_by_size(dataset, split, count)
    masks: dict[str, np.ndarray] = {}
    for checkpoint in checkpoints:
        predictor = Predictor.load(checkpoint)
        check_dataset(checkpoint, predictor.model.settings, dataset.metadata["dataset"])
        check_preprocessing(dataset, checkpoint, predictor.model.settings)
        method, settings = predictor.model.method, predictor.model.settings
        heading = ", ".join([method.label, *variations(method.label, settings).values()])
        if split == "test" and (seen := seen_rows(dataset, settings, rows)):
            print(
                f"warning: {len(seen)} of these {len(rows)} lesions were seen in the training of {checkpoint}",
                file=sys.stderr,
            )
        target = settings.get("target", "ellipse")
        if target != default_target(predictor.model.protocol, method):
            heading += f"\ntrained on {target}"
        if heading in masks:
            heading += f"\n{checkpoint.parent.name}/{checkpoint.stem}"
        masks[heading] = predictor.mask_rows(dataset, rows)
    return Predictions(dataset, rows, masks)


def rows_by_size(dataset: LesionDataset, split: str, count: int) -> np.ndarray:
    """Row numbers of ``count`` lesions of a split, evenly spaced from the smallest ellipse to the largest.

    Where outlines are known, only lesions that have one are taken.
    """
    rows = dataset.rows(split)
    rows = dataset.outlined_rows(rows) if "truth" in dataset.metadata["arrays"] else rows
    area = dataset.array("ellipse")[rows].sum(axis=(1, 2))
    return rows[np.argsort(area, kind="stable")][evenly_spaced(len(rows), count)]


def evenly_spaced(length: int, count: int) -> np.ndarray:
    """``count`` indices spaced evenly over 0..length-1 without its ends (2 and 7 for 2 of 10), or all if fewer."""
    count = min(count, length)
    return ((np.arange(count) + 0.5) * length / max(count, 1)).astype(int)


def largest_clusters(dataset: LesionDataset, count: int) -> list[tuple[int, np.ndarray]]:
    """The ``count`` most populous clusters, each with its rows, in the order of their ellipses' mean area."""
    labels, area = dataset.clusters(), dataset.array("recist")[:, 2:4].prod(axis=1)
    sizes = np.bincount(labels)
    largest = np.argsort(-sizes, kind="stable")[: min(count, np.count_nonzero(sizes))]
    clusters = [(int(cluster), np.flatnonzero(labels == cluster)) for cluster in largest]
    return sorted(clusters, key=lambda cluster: float(area[cluster[1]].mean()))


def lesion_image(dataset: LesionDataset, row: int) -> np.ndarray:
    """A lesion's patch as (120, 120, 3) uint8 RGB; of slices, the key slice in the middle."""
    image, channels = dataset.array("images")[row], dataset.metadata["preprocessing"]["channels"]
    image = np.clip(image, 0, 255).astype(np.uint8)
    if channels == "slices":
        return np.repeat(image[..., 1:2], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1]) if channels == "bgr" else image


def draw_cluster(axis: Axes, recist: np.ndarray, colour: Colour) -> None:
    """Draw a cluster's (n, 5) ellipses over each other, fainter the more there are."""
    page.draw_frame(axis)
    page.draw_ellipses(axis, recist, [colour], width=0.8, alpha=float(np.clip(8 / len(recist), 0.2, 0.9)))


@rc_context(page.STYLE)
def draw_clusters(path: Path, datasets: Sequence[LesionDataset], clusters: int, members: int) -> None:
    """Write a PNG with a block for each dataset, and in it a row for each of its ``clusters`` most populous clusters:
    all its ellipses at once, then ``members`` of its lesions.
    """
    height, grid = _square_grid(page.WIDTH / len(datasets), clusters, members + 1, head=0.5, gap=GAP)
    figure = Figure(figsize=(page.WIDTH, height))
    for block, dataset in zip(figure.subfigures(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        title = f"{dataset.metadata['dataset']}, K = {dataset.metadata['clusters']}"
        block.suptitle(title, x=(grid["left"] + grid["right"]) / 2, y=1 - 0.08 / height, **page.HEADING)
        axes = block.subplots(clusters, members + 1, squeeze=False, gridspec_kw=grid, subplot_kw=page.BLANK)
        axes[0, 0].set_title("all ellipses")
        axes[0, 1].set_title(f"lesions, {members} of each cluster", x=(members + (members - 1) * grid["wspace"]) / 2)
        recist = dataset.array("recist")
        for (first, *others), (cluster, rows) in zip(axes, largest_clusters(dataset, clusters), strict=False):
            first.set_ylabel(f"cluster {cluster}\n{len(rows)} lesions")
            draw_cluster(first, recist[rows], ORANGE)
            for axis, row in zip(others, rows[evenly_spaced(len(rows), members)], strict=False):
                page.draw_image(axis, lesion_image(dataset, row))
                page.draw_ellipses(axis, recist[[row]], [ORANGE], width=1.1)
    page.save_figure(figure, path)


@rc_context(page.STYLE)
def draw_results(path: Path, blocks: Sequence[Predictions]) -> None:
    """Write a PNG with a row for each lesion: image, truth, approximate target, then every network's prediction."""
    headings = ["image", "truth", TARGET, *dict.fromkeys(heading for block in blocks for heading in block.masks)]
    columns = len(headings)
    grids = [_square_grid(page.WIDTH, len(block.rows), columns, head=0, gap=0.25) for block in blocks]
    head = 0.22 + 0.15 * max(len(heading.splitlines()) for heading in headings)
    heights = [head, *(height for height, _ in grids)]
    figure = Figure(figsize=(page.WIDTH, sum(heights)))
    header, *panels = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    bar_grid = {**grids[0][1], "bottom": 0.035 / head, "top": 0.07 / head}
    bars = header.subplots(1, columns, gridspec_kw=bar_grid, subplot_kw=page.BLANK)
    for bar, heading in zip(bars, headings, strict=True):
        bar.set_title(heading, fontsize=fitting_size(heading, page.WIDTH / columns))
        if heading != "image":
            page.draw_frame(bar, width=0, fill=COLOURS.get(heading, BLUE))
    for panel, block, (_, grid) in zip(panels, blocks, grids, strict=True):
        panel.supylabel(block.dataset.metadata["dataset"], y=(grid["bottom"] + grid["top"]) / 2, **page.HEADING)
        axes = panel.subplots(len(block.rows), columns, squeeze=False, gridspec_kw=grid, subplot_kw=page.BLANK)
        for index, row in enumerate(axes):
            _draw_lesion(dict(zip(headings, row, strict=True)), block, index)
    page.save_figure(figure, path)


def _draw_lesion(axes: Mapping[str, Axes], block: Predictions, index: int) -> None:
    """Draw a lesion's image in each column, with the column's outline and, below, its Dice against the reference."""
    row, image = block.rows[index], lesion_image(block.dataset, block.rows[index])
    reference = block.dataset.array(block.reference)[row]
    masks = {"truth": reference, TARGET: block.dataset.array(block.dataset.target)[row]}
    masks |= {heading: predictions[index] for heading, predictions in block.masks.items()}
    page.draw_image(axes["image"], image)
    for heading, mask in masks.items():
        page.draw_image(axes[heading], image)
        page.draw_outline(axes[heading], mask, COLOURS.get(heading, BLUE))
        caption = REFERENCES[block.reference] if heading == "truth" else f"Dice {dice(mask, reference):.2f}"
        axes[heading].set_xlabel(caption, fontsize=fitting_size(caption, page.WIDTH / len(axes)) - 1)


def _square_grid(width: float, rows: int, columns: int, head: float, gap: float) -> tuple[float, dict[str, float]]:
    """Height in inches and ``gridspec_kw`` of square axes, ``head`` inches above them and ``gap`` under each row."""
    left, right, bottom = 0.4, 0.1, gap + 0.05
    side = (width - left - right + GAP) / columns - GAP
    height = head + rows * (side + gap) - gap + bottom
    margins = {"left": left / width, "right": 1 - right / width, "top": 1 - head / height, "bottom": bottom / height}
    return height, margins | {"wspace": GAP / side, "hspace": gap / side}


def fitting_size(text: str, width: float) -> float:
    """Font size in points, `TEXT` at most, at which a text's longest line is no wider than ``width`` inches."""
    letter = 0.62  # mean width of a letter, as a fraction of the font size
    return min(page.TEXT, 72 * width / (letter * max(map(len, text.splitlines()), default=1)))
