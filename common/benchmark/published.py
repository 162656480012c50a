"""The release's way of working, rewritten for the benchmark from FACTS.md sections 5 and 6: the counterpart of `ours`.

One process draws each ellipse through a plotting library; one worker decodes, resizes and pads every sample each time
it is needed; the network runs in float32 (on a GPU as PyTorch has it by default: convolutions in TF32, other products
not) and the host reads the losses at every step; evaluation keeps all predictions of the set; distances between borders
are taken between lists of points. The results are the project's own.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse as EllipsePatch
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from skimage.feature import canny
from sklearn.cluster import KMeans

from common.benchmark import ours
from common.benchmark.runner import BenchmarkConfig, Measurement, clock
from common.io.images import read_image
from common.patches import PATCH, patch_offset, resize_image, resize_mask, shrink_mask
from common.recist import Ellipse
from common.utils.errors import UserError
from common.weak_masks import grabcut_mask

if TYPE_CHECKING:  # preparing and scoring run without torch, whose memory would count as theirs
    import torch
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_STD = np.array((0.229, 0.224, 0.225), np.float32)
_DPI = 100


def find_pairs(data: Path, lesions: Sequence[Mapping[str, str]]) -> list[tuple[Path, Path]]:
    """Find the image NAME.jpg and the mask NAME_* of each row of `lesions.csv` anywhere below a data folder.

    Raises:
        UserError: a lesion lacks one of the two.
    """
    files = [Path(folder, name) for folder, _, names in os.walk(data, followlinks=True) for name in names]
    images = {path.name: path for path in files}
    masks = {path.stem.rpartition("_")[0]: path for path in files}
    names = [lesion["source"] for lesion in lesions]
    for name in names:
        if name not in images or Path(name).stem not in masks:
            raise UserError(
                f"{data} has no image {name} with a mask named after it; the benchmark needs data in such pairs"
            )
    return [(images[name], masks[Path(name).stem]) for name in names]


def prepare(config: BenchmarkConfig, grabcut: bool = True) -> Measurement:
    """Make ellipses, GrabCut masks and shape clusters, one lesion after the other; ellipses stay as pictures.

    Raises:
        UserError: the data are not images with masks.
    """
    dataset, rows = config.open_lesions()
    (config.scratch / "drawn").mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    pairs = find_pairs(config.data, [dataset.lesions[row] for row in rows])
    ellipses = []
    for image_path, mask_path in pairs:
        path = ellipse_path(config, image_path)
        image, mask = read_image(image_path), read_image(mask_path, cv2.IMREAD_GRAYSCALE)
        picture = draw_ellipse(fit_ellipse(mask), mask.shape, path)
        ellipses.append(fit_ellipse(shrink_mask(mask)))
        if grabcut:
            segmented = grabcut_mask(resize_image(image), shrink_mask(picture == 255))
            cv2.imwrite(str(path.with_name(f"{path.stem}_grabcut.png")), segmented)
    clusters = min(dataset.metadata["clusters"], len(pairs))
    KMeans(n_clusters=clusters, n_init=10, random_state=0).fit(np.array(ellipses))
    return Measurement(time.monotonic() - start, len(pairs))


def prepare_without_grabcut(config: BenchmarkConfig) -> Measurement:
    """`prepare`, ellipses only."""
    return prepare(config, grabcut=False)


def ellipse_path(config: BenchmarkConfig, image: Path) -> Path:
    """Where a lesion's drawn ellipse is kept."""
    return config.scratch / "drawn" / f"{image.stem}.png"


def fit_ellipse(mask: np.ndarray) -> Ellipse:
    """Fit an ellipse to the convex hull of all pixels above 0."""
    (cx, cy), (width, height), angle = cv2.fitEllipse(cv2.convexHull(cv2.findNonZero(mask)))
    return Ellipse(cx, cy, width, height, angle)


def draw_ellipse(ellipse: Ellipse, shape: tuple[int, int], path: Path) -> np.ndarray:
    """Draw a filled ellipse as a PNG picture: ``shape`` uint8, 255 inside, 0 outside, between on the border."""
    rows, columns = shape
    figure = Figure(figsize=(columns / _DPI, rows / _DPI), dpi=_DPI, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.set_axis_off()
    axes.add_patch(EllipsePatch(ellipse[:2], ellipse.width, ellipse.height, angle=ellipse.angle, facecolor="white"))
    figure.savefig(path, facecolor="black")
    return read_image(path, cv2.IMREAD_GRAYSCALE)


def read_sample(
    image_path: Path, mask_path: Path, cluster: int, canvas: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, int]:
    """(3, H, W) float32 image, (1, H, W) float32 mask of 0/1, and shape cluster, read from a lesion's files."""
    top, left = patch_offset(canvas)
    margins = top, canvas[0] - PATCH - top, left, canvas[1] - PATCH - left
    image = resize_image(read_image(image_path)).astype(np.float32)
    mask = resize_mask((read_image(mask_path, cv2.IMREAD_GRAYSCALE) > 127).astype(np.uint8), centred=False)
    if image.max() > 1:
        image /= 255
    padded, target = (cv2.copyMakeBorder(patch, *margins, cv2.BORDER_REFLECT_101) for patch in (image, mask))
    normalised = np.ascontiguousarray(((padded - _MEAN) / _STD).transpose(2, 0, 1))
    return normalised, target[None].astype(np.float32), cluster


def make_loader(config: BenchmarkConfig, count: int | None = None, truth: bool = False) -> "DataLoader[Any]":
    """The configured lesions once, or ``count`` of them over and over, with drawn ellipses or the data's own masks."""
    from torch.utils.data import DataLoader, default_collate

    dataset, rows = config.open_lesions()
    rows = rows if count is None else np.arange(count) % len(rows)
    pairs = find_pairs(config.data, [dataset.lesions[row] for row in rows])
    samples = [
        (image, mask if truth else ellipse_path(config, image), cluster)
        for (image, mask), cluster in zip(pairs, dataset.clusters()[rows], strict=True)
    ]

    def read(batch: Sequence[tuple[Path, Path, int]]) -> "list[Tensor]":
        return default_collate([read_sample(*sample, config.canvas) for sample in batch])

    batch_size = config.recipe.batch_size
    return DataLoader(samples, batch_size=batch_size, num_workers=0, collate_fn=read)  # type: ignore[arg-type]


def load(config: BenchmarkConfig) -> Measurement:
    """Load every lesion once, in batches on the device, ready for the network."""
    loader, count = make_loader(config), 0
    start = clock(config.device)
    for batch in loader:
        images, _masks, _clusters = (part.to(config.device) for part in batch)
        count += len(images)
    return Measurement(clock(config.device) - start, count)


def train_step(
    network: "nn.Module", optimizer: "torch.optim.Optimizer", batch: "Sequence[Tensor]", weights: Mapping[str, float]
) -> dict[str, float]:
    """One step in float32 on images, masks and clusters; its losses are read from the device at once."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    images, masks, clusters = batch
    outputs = network(images)
    losses = {"mask": binary_cross_entropy_with_logits(outputs["mask"], masks)}
    if "cluster" in outputs:
        losses["cluster"] = cross_entropy(outputs["cluster"], clusters)
    optimizer.zero_grad()
    sum(weights[name] * loss for name, loss in losses.items()).backward()  # type: ignore[union-attr]
    optimizer.step()
    return {name: loss.item() for name, loss in losses.items()}


def build_network(config: BenchmarkConfig) -> "nn.Module":
    """The project's network, but with all taps of its atrous convolutions."""
    from torch import nn

    from common.model import AtrousConv2d

    network = ours.untrained_model(config).network
    for module in network.modules():
        if isinstance(module, AtrousConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    return network


def train(config: BenchmarkConfig) -> Measurement:
    """Training steps, with the loading of their batches."""
    from torch.optim import Adam

    network = build_network(config).to(config.device).train()
    optimizer = Adam(network.parameters(), lr=config.recipe.lr, foreach=False, fused=False)
    warm_up, batch_size, start = config.warm_up, config.recipe.batch_size, 0.0
    for step, batch in enumerate(make_loader(config, (warm_up + config.steps) * batch_size)):
        if step == warm_up:
            start = clock(config.device)
        train_step(network, optimizer, [part.to(config.device) for part in batch], config.recipe.loss_weights)
    return Measurement(clock(config.device) - start, config.steps * batch_size)


def predict_and_score(network: "nn.Module", batches: "Iterable[Sequence[Tensor]]") -> list[dict[str, float]]:
    """The metrics of each lesion, once all canvases have been predicted and joined."""
    import torch

    device = next(network.parameters()).device
    with torch.no_grad():
        predicted = [(network(images.to(device))["mask"].sigmoid().cpu(), masks) for images, masks, _ in batches]
    canvases, truths = (torch.cat(parts).numpy()[:, 0] for parts in zip(*predicted, strict=True))
    row, column = patch_offset(canvases.shape[1:])
    centre = np.s_[row : row + PATCH, column : column + PATCH]
    return [lesion_metrics(truth[centre], canvas[centre] > 0.5) for truth, canvas in zip(truths, canvases, strict=True)]


def evaluate(config: BenchmarkConfig) -> Measurement:
    """Predict everything, then score it."""
    network = ours.segment_dark(build_network(config)).to(config.device).eval()
    for count in (config.recipe.batch_size, config.scored_lesions):  # the first batch is the warm-up
        start = clock(config.device)
        predict_and_score(network, make_loader(config, count, truth=True))
    return Measurement(clock(config.device) - start, config.scored_lesions)


def score(config: BenchmarkConfig) -> Measurement:
    """Compute all metrics of ellipses against the truth."""
    return ours.score(config, lesion_metrics)


def lesion_metrics(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """The paper's six metrics of two (120, 120) masks; distances to an empty mask are NaN."""
    masks = truth, prediction = truth.astype(bool), prediction.astype(bool)
    both, missed, extra = (int(mask.sum()) for mask in (truth & prediction, truth & ~prediction, ~truth & prediction))
    edges = [canny(mask.astype(np.uint8), sigma=1, low_threshold=1, high_threshold=1).sum() for mask in masks]
    centre_error = avd = np.nan
    if truth.any() and prediction.any():
        corners = [(points.min(0), points.max(0)) for points in map(np.argwhere, masks)]
        centres = [(low + high) / 2 for low, high in corners]
        centre_error = np.hypot(*(centres[0] - centres[1]))
        distances = cdist(*(np.argwhere(mask & ~binary_erosion(mask)) for mask in masks))
        avd = max(distances.min(0).max(), distances.min(1).max())
    return {
        "iou": both / (both + missed + extra),
        "dice": 2 * both / (2 * both + missed + extra),
        "vs": 1 - abs(missed - extra) / (2 * both + missed + extra),
        "perimeter_error": abs(int(edges[0]) - int(edges[1])) / 2,
        "centre_error": float(centre_error),
        "avd": float(avd),
    }
