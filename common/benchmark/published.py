"""The published way of doing it, written for the benchmark from FACTS.md sections 5 and 6: what `bench` compares with.

One process draws each ellipse through a plotting library; one worker decodes, resizes and pads every sample each time
it is needed; the network runs in float32 and the host reads a loss at every step; evaluation keeps all predictions of
the set; distances between borders are taken between lists of points. It gives the same numbers as the project's way.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse as DrawnEllipse
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from skimage.feature import canny

from common.data.images import read_image
from common.patches import PATCH, patch_offset, resize_image, resize_mask
from common.recist import Ellipse
from common.utils.errors import UserError

if TYPE_CHECKING:  # preparing and scoring do without torch, and its memory would be counted as theirs
    import torch
    from torch import Tensor, nn

_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_STD = np.array((0.229, 0.224, 0.225), np.float32)
_DOTS = 100  # an inch


class Pair(NamedTuple):
    """The files of a lesion."""

    image: Path
    mask: Path


def find_pairs(data: Path, lesions: Sequence[Mapping[str, str]]) -> list[Pair]:
    """Image and mask of each row of `lesions.csv`, found anywhere below a data folder by the image's name.

    Raises:
        UserError: a lesion has no such two files.
    """
    files = {name: Path(folder, name) for folder, _, names in os.walk(data, followlinks=True) for name in names}
    names = sorted(files)
    pairs = []
    for lesion in lesions:
        source = lesion["source"]
        stem = source.rpartition(".")[0]
        beside = [name for name in names[bisect_left(names, stem) :][:4] if name.startswith(stem) and name != source]
        if source not in files or not beside:
            raise UserError(
                f"{data} has no image {source} with a mask named after it; the benchmark needs data in such pairs"
            )
        pairs.append(Pair(files[source], files[beside[0]]))
    return pairs


def draw_ellipse(ellipse: Ellipse, shape: tuple[int, int], path: Path) -> np.ndarray:
    """Draw a filled ellipse as a picture.

    Args:
        ellipse: in px of the picture.
        shape: rows and columns of the picture.
        path: PNG that it is written to.

    Returns:
        ``shape`` uint8: 255 inside, 0 outside, between on the border.
    """
    rows, columns = shape
    figure = Figure(figsize=(columns / _DOTS, rows / _DOTS), dpi=_DOTS, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.add_patch(DrawnEllipse(ellipse[:2], ellipse.width, ellipse.height, angle=ellipse.angle, facecolor="white"))
    figure.savefig(path, facecolor="black")
    return read_image(path, cv2.IMREAD_GRAYSCALE)


def fit(mask: np.ndarray) -> Ellipse:
    """Fit an ellipse to the convex hull of all pixels above 0."""
    (cx, cy), (width, height), angle = cv2.fitEllipse(cv2.convexHull(cv2.findNonZero(mask)))
    return Ellipse(cx, cy, width, height, angle)


@dataclass(frozen=True)
class LesionFiles:
    """Samples for a loader, each read from its files whenever it is asked for."""

    pairs: Sequence[Pair]
    masks: Sequence[Path]
    """Pictures of the masks, those of the data or drawn ellipses; above 127 is inside."""
    clusters: np.ndarray
    canvas: tuple[int, int]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray, int]:
        """(3, H, W) float32 image, (1, H, W) float32 mask of 0/1, and shape cluster."""
        image = resize_image(read_image(self.pairs[row].image)).astype(np.float32)
        mask = resize_mask((read_image(self.masks[row], cv2.IMREAD_GRAYSCALE) > 127).astype(np.uint8))
        if image.max() > 1:
            image /= 255
        image = np.ascontiguousarray(((self._pad(image) - _MEAN) / _STD).transpose(2, 0, 1))
        return image, self._pad(mask)[None].astype(np.float32), self.clusters[row]

    def _pad(self, patch: np.ndarray) -> np.ndarray:
        row, column = patch_offset(self.canvas)
        after = self.canvas[0] - PATCH - row, self.canvas[1] - PATCH - column
        return cv2.copyMakeBorder(patch, row, after[0], column, after[1], cv2.BORDER_REFLECT_101)


def train_step(
    model: "nn.Module", optimizer: "torch.optim.Optimizer", batch: "Sequence[Tensor]", weights: Mapping[str, float]
) -> dict[str, float]:
    """One step in float32 on images, masks and clusters; its losses are read at once."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    images, masks, clusters = batch
    outputs = model(images)
    losses = {"mask": binary_cross_entropy_with_logits(outputs["mask"], masks)}
    if "cluster" in outputs:
        losses["cluster"] = cross_entropy(outputs["cluster"], clusters)
    total = sum(weights[name] * loss for name, loss in losses.items())
    optimizer.zero_grad()
    total.backward()  # type: ignore[union-attr]
    optimizer.step()
    return {name: loss.item() for name, loss in losses.items()}


def evaluate_lesions(
    model: "nn.Module", device: "torch.device", batches: "Iterable[Sequence[Tensor]]"
) -> list[dict[str, float]]:
    """The figures of each lesion, once all canvases have been predicted and joined."""
    import torch

    with torch.no_grad():
        predicted = [(model(images.to(device))["mask"].sigmoid().cpu(), masks) for images, masks, _ in batches]
    canvases, truths = (torch.cat(parts).numpy()[:, 0] for parts in zip(*predicted, strict=True))
    row, column = patch_offset(canvases.shape[1:])
    centre = np.s_[row : row + PATCH, column : column + PATCH]
    return [figures(truth[centre], canvas[centre] > 0.5) for truth, canvas in zip(truths, canvases, strict=True)]


def figures(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """The paper's six figures of two (120, 120) masks; distances to an empty one are NaN."""
    truth, prediction = truth.astype(bool), prediction.astype(bool)
    both, missed, extra = ((a & b).sum() for a, b in ((truth, prediction), (truth, ~prediction), (~truth, prediction)))
    total = 2 * both + missed + extra
    edges = [
        int(canny(mask.astype(np.uint8), sigma=1, low_threshold=1, high_threshold=1).sum())
        for mask in (truth, prediction)
    ]
    result = {
        "iou": both / (both + missed + extra),
        "dice": 2 * both / total,
        "vs": 1 - abs(int(missed) - int(extra)) / total,
        "perimeter_error": abs(edges[0] - edges[1]) / 2,
        "centre_error": np.nan,
        "avd": np.nan,
    }
    if truth.any() and prediction.any():
        points = [np.argwhere(mask) for mask in (truth, prediction)]
        middles = [(one.min(0) + one.max(0)) / 2 for one in points]
        result["centre_error"] = np.hypot(*(middles[0] - middles[1]))
        apart = cdist(*(np.argwhere(mask & ~binary_erosion(mask)) for mask in (truth, prediction)))
        result["avd"] = max(apart.min(0).max(), apart.min(1).max())
    return {name: float(value) for name, value in result.items()}
