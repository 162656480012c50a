"""The published way, as `bench` measures it: each function does the work of its namesake in `bench_ours`."""

import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sklearn.cluster import KMeans

from common.benchmark.ours import LESIONS_SCORED, clock, device_memory, warm_steps
from common.benchmark.published import LesionFiles, draw_ellipse, evaluate_lesions, figures, find_pairs, fit, train_step
from common.benchmark.runner import BenchmarkConfig, Measurement, find_dark
from common.data.dataset import LesionDataset
from common.data.images import read_image
from common.patches import resize_image, shrink_mask
from common.weak_masks import grabcut_mask

if TYPE_CHECKING:  # as in `bench_ours`
    import torch
    from torch import nn
    from torch.utils.data import DataLoader


def prepare(setup: BenchmarkConfig, grabcut: bool = True) -> Measurement:
    """Ellipses, GrabCut masks and shape clusters, one lesion after the other; ellipses stay as pictures.

    Raises:
        UserError: the data are not images with masks.
    """
    prepared = LesionDataset.open(setup.prepared)
    setup.drawn.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    pairs = find_pairs(setup.data, [prepared.lesions[row] for row in setup.rows(prepared)])
    ellipses = []
    for pair in pairs:
        image, mask = read_image(pair.image), read_image(pair.mask, cv2.IMREAD_GRAYSCALE)
        drawn = draw_ellipse(fit(mask), mask.shape, setup.drawn / f"{pair.image.stem}.png")
        ellipses.append(fit(shrink_mask(mask)))
        if grabcut:
            cut = grabcut_mask(resize_image(image), shrink_mask(drawn == 255))
            cv2.imwrite(str(setup.drawn / f"{pair.image.stem}_grabcut.png"), cut)
    clusters = min(prepared.metadata["clusters"], len(pairs))
    KMeans(n_clusters=clusters, n_init=10, random_state=0).fit(np.array(ellipses))
    return Measurement(time.monotonic() - start, len(pairs))


def prepare_without_grabcut(setup: BenchmarkConfig) -> Measurement:
    """The same, ellipses only."""
    return prepare(setup, grabcut=False)


def loader(setup: BenchmarkConfig, count: int | None = None, truth: bool = False) -> "DataLoader[LesionFiles]":
    """The first lesions in batches, each sample read by the one worker there is.

    Args:
        setup: whose lesions; they must have been prepared in the published way.
        count: how many samples, over and over again if there are fewer lesions; None means each once.
        truth: masks are those of the data, not the ellipses.
    """
    from torch.utils.data import DataLoader

    prepared = LesionDataset.open(setup.prepared)
    rows = setup.rows(prepared)
    rows = rows if count is None else np.arange(count) % len(rows)
    pairs = find_pairs(setup.data, [prepared.lesions[row] for row in rows])
    masks = [pair.mask if truth else setup.drawn / f"{pair.image.stem}.png" for pair in pairs]
    files = LesionFiles(pairs, masks, prepared.clusters()[rows], setup.canvas)
    return DataLoader(files, batch_size=setup.scripts.recipe.batch_size, num_workers=0)  # type: ignore[arg-type]


def load(setup: BenchmarkConfig) -> Measurement:
    """Batches on the device, ready for the network."""
    from common.training.device import pick_device

    device = pick_device(setup.device)
    batches = loader(setup)
    start = clock(device)
    served = 0
    for images, masks, clusters in batches:
        for part in (images, masks, clusters):
            part.to(device)
        served += len(images)
    return Measurement(clock(device) - start, served)


def network(setup: BenchmarkConfig, device: "torch.device") -> "nn.Module":
    """The method's network with the same random weights as the project's."""
    import torch

    from common.model import build_network

    run = setup.run()
    assert run.clusters
    torch.manual_seed(run.seed)
    return build_network(run.recipe.method, setup.encoder, run.clusters).to(device)


def train(setup: BenchmarkConfig) -> Measurement:
    """Training steps with the loading of their batches."""
    import torch

    from common.training.device import pick_device

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
    return Measurement(seconds, setup.steps * recipe.batch_size, 0.0, device_memory(device))


def evaluate(setup: BenchmarkConfig) -> Measurement:
    """Predict everything, then score it."""
    from common.training.device import pick_device

    device, size = pick_device(setup.device), setup.scripts.recipe.batch_size
    model = find_dark(network(setup, device)).eval()
    count = min(setup.steps * size, len(setup.rows(LesionDataset.open(setup.prepared))))
    for number in (size, count):  # the first is for warming up
        start = clock(device)
        evaluate_lesions(model, device, loader(setup, number, truth=True))
    return Measurement(clock(device) - start, count, 0.0, device_memory(device))


def score(setup: BenchmarkConfig) -> Measurement:
    """All figures of ellipses against the truth, on one core."""
    cv2.setNumThreads(1)
    prepared = LesionDataset.open(setup.prepared)
    rows = setup.rows(prepared)[:LESIONS_SCORED]
    truth, ellipse = prepared.array("truth")[rows], prepared.array("ellipse")[rows]
    figures(truth[0], ellipse[0])
    start = time.monotonic()
    for one, other in zip(truth, ellipse, strict=True):
        figures(one, other)
    return Measurement(time.monotonic() - start, len(rows))
