"""The published way of doing it, written for the benchmark from FACTS.md sections 5 and 6: what `bench` compares with.

One process draws each ellipse through a plotting library; one worker decodes, resizes and pads every sample each time
it is needed; the network runs in float32 and the host reads a loss at every step; evaluation keeps all predictions of
the set; distances between borders are taken between lists of points. It gives the same numbers as the project's way.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
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
from sklearn.cluster import KMeans

from common.bench_ours import LESIONS_SCORED, clock, device_memory, warm_steps
from common.contest import Setup, Work, find_dark
from common.errors import UserError
from common.patches import PATCH, patch_offset, resize_image, resize_mask, shrink_mask
from common.prepared import Prepared
from common.recist import Ellipse
from common.weak_masks import grabcut_mask

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

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
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def _fit(mask: np.ndarray) -> Ellipse:
    (cx, cy), (width, height), angle = cv2.fitEllipse(cv2.convexHull(cv2.findNonZero(mask)))
    return Ellipse(cx, cy, width, height, angle)


def prepare(setup: Setup, grabcut: bool = True) -> Work:
    """Ellipses, GrabCut masks and shape clusters, one lesion after the other; ellipses stay as pictures.

    Raises:
        UserError: the data are not images with masks.
    """
    prepared = Prepared.load(setup.prepared)
    setup.drawn.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    pairs = find_pairs(setup.data, [prepared.lesions[row] for row in setup.rows(prepared)])
    ellipses = []
    for pair in pairs:
        image, mask = cv2.imread(str(pair.image)), cv2.imread(str(pair.mask), cv2.IMREAD_GRAYSCALE)
        drawn = draw_ellipse(_fit(mask), mask.shape, setup.drawn / f"{pair.image.stem}.png")
        ellipses.append(_fit(shrink_mask(mask)))
        if grabcut:
            cut = grabcut_mask(resize_image(image), shrink_mask(drawn == 255))
            cv2.imwrite(str(setup.drawn / f"{pair.image.stem}_grabcut.png"), cut)
    clusters = min(prepared.content["clusters"], len(pairs))
    KMeans(n_clusters=clusters, n_init=10, random_state=0).fit(np.array(ellipses))
    return Work(time.monotonic() - start, len(pairs))


def prepare_without_grabcut(setup: Setup) -> Work:
    """The same, ellipses only."""
    return prepare(setup, grabcut=False)


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
        image = resize_image(cv2.imread(str(self.pairs[row].image)))
        mask = resize_mask(cv2.imread(str(self.masks[row]), cv2.IMREAD_GRAYSCALE) > 127)
        image = image.astype(np.float32)
        if image.max() > 1:
            image /= 255
        image = (self._pad(image) - _MEAN) / _STD
        return np.ascontiguousarray(image.transpose(2, 0, 1)), self._pad(mask)[None].astype(np.float32), self.clusters[row]

    def _pad(self, patch: np.ndarray) -> np.ndarray:
        row, column = patch_offset(self.canvas)
        after = self.canvas[0] - PATCH - row, self.canvas[1] - PATCH - column
        return cv2.copyMakeBorder(patch, row, after[0], column, after[1], cv2.BORDER_REFLECT_101)


def loader(setup: Setup, count: int | None = None, truth: bool = False) -> "DataLoader[LesionFiles]":
    """The first lesions in batches, each sample read by the one worker there is.

    Args:
        setup: whose lesions; they must have been prepared in the published way.
        count: how many samples, over and over again if there are fewer lesions; None means each once.
        truth: masks are those of the data, not the ellipses.
    """
    from torch.utils.data import DataLoader

    prepared = Prepared.load(setup.prepared)
    rows = setup.rows(prepared)
    rows = rows if count is None else np.arange(count) % len(rows)
    pairs = find_pairs(setup.data, [prepared.lesions[row] for row in rows])
    masks = [pair.mask if truth else setup.drawn / f"{pair.image.stem}.png" for pair in pairs]
    files = LesionFiles(pairs, masks, prepared.clusters()[rows], setup.canvas)
    return DataLoader(files, batch_size=setup.scripts.recipe.batch_size, num_workers=0)  # type: ignore[arg-type]


def load(setup: Setup) -> Work:
    """Batches on the device, ready for the network."""
    from common.device import pick_device

    device = pick_device(setup.device)
    batches = loader(setup)
    start = clock(device)
    served = 0
    for batch in batches:
        served += len([part.to(device) for part in batch][0])
    return Work(clock(device) - start, served)


def network(setup: Setup, device: "torch.device") -> "nn.Module":
    """The method's network with the same random weights as the project's."""
    import torch

    from common.model import build_network

    run = setup.run()
    assert run.clusters
    torch.manual_seed(run.seed)
    return build_network(run.recipe.method, setup.encoder, run.clusters).to(device)


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


def train(setup: Setup) -> Work:
    """Training steps with the loading of their batches."""
    import torch

    from common.device import pick_device

    device, recipe = pick_device(setup.device), setup.scripts.recipe
    model = network(setup, device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, foreach=False, fused=False)
    warm = warm_steps(device)
    start = 0.0
    for step, batch in enumerate(loader(setup, (warm + setup.steps) * recipe.batch_size)):
        if step == warm:
            start = clock(device)
        train_step(model, optimizer, [part.to(device) for part in batch], recipe.loss_weights)
    seconds = clock(device) - start
    return Work(seconds, setup.steps * recipe.batch_size, 0.0, device_memory(device))


def evaluate(setup: Setup) -> Work:
    """Predict everything, then score it."""
    from common.device import pick_device

    device, size = pick_device(setup.device), setup.scripts.recipe.batch_size
    model = find_dark(network(setup, device)).eval()
    count = min(setup.steps * size, len(setup.rows(Prepared.load(setup.prepared))))
    for number in (size, count):  # the first is for warming up
        start = clock(device)
        evaluate_lesions(model, device, loader(setup, number, truth=True))
    return Work(clock(device) - start, count, 0.0, device_memory(device))


def evaluate_lesions(
    model: "nn.Module", device: "torch.device", batches: "DataLoader[LesionFiles]"
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
    edges = [canny(mask.astype(np.uint8), sigma=1, low_threshold=1, high_threshold=1).sum() for mask in (truth, prediction)]
    result = {
        "iou": both / (both + missed + extra),
        "dice": 2 * both / total,
        "vs": 1 - abs(int(missed) - int(extra)) / total,
        "perimeter_error": abs(int(edges[0]) - int(edges[1])) / 2,
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


def score(setup: Setup) -> Work:
    """All figures of ellipses against the truth, on one core."""
    cv2.setNumThreads(1)
    prepared = Prepared.load(setup.prepared)
    rows = setup.rows(prepared)[:LESIONS_SCORED]
    truth, ellipse = prepared.array("truth")[rows], prepared.array("ellipse")[rows]
    figures(truth[0], ellipse[0])
    start = time.monotonic()
    for one, other in zip(truth, ellipse, strict=True):
        figures(one, other)
    return Work(time.monotonic() - start, len(rows))
