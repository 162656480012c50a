"""The method on one page, drawn with real arrays: how weak labels arise, then the network and its losses."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Polyline
from matplotlib.patheffects import withStroke

from common.data.dataset import LesionDataset
from common.patches import CANVAS, PATCH, canvas_index, patch_offset
from common.recipe import ENCODER
from common.report.figures import page
from common.report.figures.galleries import draw_cluster, largest_clusters, lesion_image, rows_by_size
from common.utils.drawing import BLUE, GREEN, NAVY, ORANGE, PURPLE, VERMILION, Colour
from common.utils.errors import UserError

DARK, LIGHT, PANEL = (40, 40, 40), (222, 226, 230), (244, 244, 242)  # outside a mask, the network, a panel's background
OTHERS = (BLUE, GREEN, PURPLE, NAVY, VERMILION)  # clusters; the example's own is ORANGE, as all that is trained on

# The layout, in inches from the page's lower left corner.
HEIGHT = 6.15
PANELS = {  # left, bottom, width, height
    "1  Weak labels from RECIST diameters": (0.1, 3.6, 8.8, 2.45),
    "2  One network, two tasks: A1+L": (0.1, 0.1, 8.8, 3.4),
}
BOXES = {  # centre x, centre y, width, height, caption
    "image": (1.025, 4.825, 1.45, 1.45, "image and its two\nRECIST diameters"),
    "ellipse": (3.075, 4.825, 1.45, 1.45, "ellipse they span:\nthe approximate target"),
    "all ellipses": (5.125, 4.825, 1.45, 1.45, "ellipses of all lesions: centre,\nwidth, height, angle"),
    "clusters": (7.55, 4.825, 2.2, 1.45, "shape clusters, {shown} of K = {clusters};\nframed: the lesion's"),
    "canvas": (1.025, 2.18, 1.45, 1.16, f"patch, mirrored\nto {CANVAS[0]}x{CANVAS[1]}"),
    "encoder": (2.715, 2.18, 1.13, 1.2, f"encoder\n{ENCODER.replace('resnet', 'ResNet-')}"),
    "decoder": (4.175, 2.18, 0.95, 1.2, ""),
    "mask": (5.6, 2.18, 1.1, 1.1, "predicted mask"),
    "mask loss": (6.85, 2.18, 0.86, 0.34, ""),
    "target": (8.15, 2.18, 1.1, 1.1, "approximate target"),
    "total loss": (6.85, 1.45, 0.86, 0.34, ""),
    "head": (4.075, 0.72, 1.15, 0.44, ""),
    "probabilities": (5.6, 0.72, 1.1, 0.6, "probabilities of K clusters"),
    "cluster loss": (6.85, 0.72, 0.86, 0.34, ""),
    "own cluster": (8.15, 0.72, 0.6, 0.6, "the lesion's cluster"),
}
ARROWS = (  # from box to box
    ("image", "ellipse", "all ellipses", "clusters"),
    ("canvas", "encoder", "decoder", "mask", "mask loss", "total loss"),
    ("head", "probabilities", "cluster loss", "total loss"),
    ("target", "mask loss"),
    ("own cluster", "cluster loss"),
)
SKIP = ((2.475, 2.7), (2.475, 2.9), (4.175, 2.9), (4.175, 2.62))  # from the encoder's second stage to the decoder
DOWN = ((3.195, 1.94), (3.195, 0.72), (3.43, 0.72))  # from its last stage to the head
# Text over arrows, by the middle of its lower edge.
NOTES = {(2.05, 4.9): "fill", (4.1, 4.9): "five\nnumbers", (6.15, 4.9): "k-means", (3.3, 2.95): "features at stride 4"}


class Example(NamedTuple):
    """A lesion, and what an A1+L network predicts for it."""

    dataset: LesionDataset
    row: int
    cluster: int  # the lesion's own shape cluster
    mask: np.ndarray  # (120, 120) uint8 0/1
    probabilities: np.ndarray  # (K,) of the shape clusters
    weights: dict[str, float]  # of the losses "mask" and "cluster"
    target: str = "ellipse"  # the array that the network was trained on


def predict_example(dataset: LesionDataset, checkpoint: Path, lesion: str | None) -> Example:
    """Predict the lesion of that name, or the test lesion of median size.

    Raises:
        UserError: no such lesion; the checkpoint has no cluster head or another K, or other preprocessing.
    """
    import torch

    from common.evaluation.evaluate import check_preprocessing
    from common.inference.predictor import Predictor
    from common.training.checkpoint import check_dataset

    names = [record["lesion"] for record in dataset.lesions]
    if lesion is not None and lesion not in names:
        raise UserError(f"{dataset.folder / 'lesions.csv'} has no lesion {lesion}; pass one of its names as --lesion")
    row = int(rows_by_size(dataset, "test", 1)[0]) if lesion is None else names.index(lesion)
    predictor = Predictor.load(checkpoint, device="cpu")
    model = predictor.model
    if model.clusters != dataset.metadata["clusters"]:
        head = f"{model.clusters} clusters" if model.clusters else "no cluster head"
        raise UserError(
            f"{checkpoint} has {head}, and {dataset.folder} {dataset.metadata['clusters']} clusters; "
            "pass a checkpoint of A1+L that was trained on this folder"
        )
    check_dataset(checkpoint, model.settings, dataset.metadata["dataset"])
    check_preprocessing(dataset, checkpoint, model.settings)
    if model.settings.get("prepared", dataset.identity) != dataset.identity:
        raise UserError(
            f"{checkpoint} was trained on other shape clusters than those in {dataset.folder}; pass its own"
        )
    ends = torch.from_numpy(dataset.array("ends")[[row]]) if model.prompted else None
    logits = predictor.logits(torch.from_numpy(dataset.array("images")[[row]]), ends)
    mask, probabilities = (logits["mask"][0] > 0).numpy().astype(np.uint8), logits["cluster"][0].softmax(0).numpy()
    weights = model.settings.get("loss_weights", {"mask": 50.0, "cluster": 1.0})  # else FACTS.md section 1
    target = model.settings.get("target", "ellipse")
    return Example(dataset, row, int(dataset.clusters()[row]), mask, probabilities, weights, target)


@rc_context(page.STYLE)
def draw_overview(path: Path, example: Example) -> None:
    """Write the page as PNG."""
    figure = Figure(figsize=(page.WIDTH, HEIGHT))
    inches: dict[str, Any] = {"transform": figure.dpi_scale_trans}
    style: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "linewidth": 0, "facecolor": page.rgb(PANEL)}
    for title, (x, y, width, height) in PANELS.items():
        figure.add_artist(FancyBboxPatch((x, y), width, height, zorder=-1, **style, **inches))
        figure.text(x + 0.15, y + height - 0.27, title, **page.HEADING, **inches)
    axes, clusters = {}, example.dataset.metadata["clusters"]
    for name, (x, y, width, height, caption) in BOXES.items():
        area = (x - width / 2) / page.WIDTH, (y - height / 2) / HEIGHT, width / page.WIDTH, height / HEIGHT
        axes[name] = figure.add_axes(area, **page.BLANK)
        caption = caption.format(shown=min(1 + len(OTHERS), clusters), clusters=clusters)
        figure.text(x, y - height / 2 - 0.08, caption, ha="center", va="top", **inches)
    for start, end in (pair for chain in ARROWS for pair in pairwise(chain)):
        page.connect(axes[start], axes[end])
    for points in (SKIP, DOWN):
        figure.add_artist(FancyArrowPatch(path=Polyline(points), **page.ARROW, **inches))
    for (x, y), note in NOTES.items():
        figure.text(x, y, note, ha="center", va="bottom", **inches)
    _draw_lesion(axes, example)
    _draw_clusters(axes, example)
    _draw_network(axes)
    _draw_outputs(axes, example)
    page.save_figure(figure, path)


def _draw_lesion(axes: Mapping[str, Axes], example: Example) -> None:
    """Draw the image with its diameters, its mirrored canvas, the approximate target and the predicted mask."""
    image = lesion_image(example.dataset, example.row)
    page.draw_image(axes["image"], image)
    cx, cy, width, height, angle = example.dataset.array("recist")[example.row].tolist()
    corners = cv2.boxPoints(((cx, cy), (width, height), angle))
    middles = (corners + np.roll(corners, 1, axis=0)) / 2  # of the box's sides, where the diameters end
    rim = [withStroke(linewidth=3, foreground=page.rgb(DARK))]  # visible on light images too
    for ends in (middles[::2], middles[1::2]):
        axes["image"].plot(*ends.T, color="white", linewidth=1.4, solid_capstyle="projecting", path_effects=rim)
    page.draw_image(axes["canvas"], image[np.ix_(*canvas_index(CANVAS))])
    top, left = patch_offset(CANVAS)
    axes["canvas"].add_patch(Rectangle((left, top), PATCH, PATCH, fill=False, edgecolor="white", linewidth=1.4))
    ellipse, target = (example.dataset.array(name)[example.row] for name in ("ellipse", example.target))
    for name, mask, colour in (("ellipse", ellipse, ORANGE), ("target", target, ORANGE), ("mask", example.mask, BLUE)):
        page.draw_image(axes[name], np.where(mask[..., None] > 0, colour, DARK).astype(np.uint8))


def _draw_clusters(axes: Mapping[str, Axes], example: Example) -> None:
    """Draw the ellipses of all lesions in their clusters' colours, the largest clusters, and the example's own."""
    recist, labels = example.dataset.array("recist"), example.dataset.clusters()
    clusters = dict(largest_clusters(example.dataset, 1 + len(OTHERS)))
    if example.cluster not in clusters:
        clusters.popitem()
        clusters[example.cluster] = np.flatnonzero(labels == example.cluster)
    others = iter(OTHERS)
    colours = {cluster: ORANGE if cluster == example.cluster else next(others) for cluster in clusters}
    rows = np.linspace(0, len(recist) - 1, min(len(recist), 150)).astype(int)  # more would be a grey blot
    row_colours = [colours.get(cluster, page.FAINT) for cluster in labels[rows].tolist()]
    page.draw_frame(axes["all ellipses"])
    page.draw_ellipses(axes["all ellipses"], recist[rows], row_colours, width=0.6, alpha=0.7)
    for place, (cluster, rows) in enumerate(clusters.items()):  # two rows of three
        cell = axes["clusters"].inset_axes((place % 3 * 0.341, 0.517 - place // 3 * 0.517, 0.318, 0.483), **page.BLANK)
        draw_cluster(cell, recist[rows], colours[cluster])
        if cluster == example.cluster:
            page.draw_frame(cell, ORANGE, 2.2)
    draw_cluster(axes["own cluster"], recist[clusters[example.cluster]], ORANGE)


def _draw_network(axes: Mapping[str, Axes]) -> None:
    """Draw the encoder's stages, the decoder and the auxiliary head; their units are inches."""
    style: dict[str, Any] = {"facecolor": page.rgb(LIGHT), "edgecolor": page.rgb(page.INK), "clip_on": False}
    stages = np.array([1.2, 0.9, 0.66, 0.48, 0.34])
    axes["encoder"].bar(0.085 + 0.24 * np.arange(5), stages, 0.17, bottom=-stages / 2, **style)
    axes["encoder"].set(xlim=(0, 1.13), ylim=(-0.6, 0.6))
    axes["decoder"].fill([0, 0.95, 0.95, 0], [0.17, 0.6, -0.6, -0.17], **style)
    axes["decoder"].set(xlim=(0, 0.95), ylim=(-0.6, 0.6))
    axes["decoder"].text(0.515, 0, "DeepLabV3+\ndecoder", ha="center", va="center")
    _draw_box(axes["head"], "auxiliary head:\npool, linear to K", fill=LIGHT)


def _draw_outputs(axes: Mapping[str, Axes], example: Example) -> None:
    """Draw the clusters' probabilities, the highest near the top and the lesion's own in ORANGE, and the losses."""
    axis, probabilities = axes["probabilities"], example.probabilities
    colours = [page.rgb(ORANGE if cluster == example.cluster else BLUE) for cluster in range(len(probabilities))]
    page.draw_frame(axis)
    axis.bar(np.arange(len(probabilities)) + 0.5, probabilities, 0.7, color=colours)
    axis.set(xlim=(0, len(probabilities)), ylim=(0, probabilities.max() / 0.9))
    _draw_box(axes["mask loss"], f"{example.weights['mask']:g} BCE", fontsize=page.TEXT)
    _draw_box(axes["cluster loss"], f"{example.weights['cluster']:g} CE", fontsize=page.TEXT)
    _draw_box(axes["total loss"], "total loss", 1.4, fontsize=page.TEXT, weight="bold")


def _draw_box(axis: Axes, text: str, width: float = 0.6, fill: Colour = page.WHITE, **style: Any) -> None:
    """Draw a box with text in it."""
    page.draw_frame(axis, page.INK, width, fill)
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", **style)
