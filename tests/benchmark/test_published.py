"""The published way computes what the project computes."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import HAM_A1class_train
import HAM_phantom
from common.benchmark import ours, published
from common.benchmark.published import draw_ellipse, find_pairs, make_loader, train_step
from common.benchmark.runner import BenchmarkConfig, make_config
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.inference.predictor import Predictor
from common.io.images import read_image
from common.metrics import METRICS, lesion_metrics
from common.patches import CANVAS, resize_mask, shrink_mask
from common.recist import Ellipse, fit_ellipse
from common.utils.errors import UserError
from common.weak_masks import ellipse_mask
from helpers import golden_masks, iou

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(phantom_ham) -> LesionDataset:
    return LesionDataset.open(phantom_ham / "prepared")


@pytest.fixture(scope="module")
def config(dataset, phantom_ham, tmp_path_factory) -> BenchmarkConfig:
    """The phantom prepared in the published way, ellipses and GrabCut masks of 12 lesions."""
    config = make_config(
        HAM_A1class_train.RECIPE, dataset, data=phantom_ham, scratch=tmp_path_factory.mktemp("published"),
        encoder="resnet18", canvas=(128, 128), steps=1, lesions=12, device="cpu", precision="fp32",
    )  # fmt: skip
    assert published.prepare(config).items == 12
    return config


def _drawn(config: BenchmarkConfig, dataset: LesionDataset, suffix: str) -> np.ndarray:
    paths = [config.scratch / "drawn" / f"{row['lesion']}{suffix}.png" for row in dataset.lesions[:12]]
    return np.stack([read_image(path, cv2.IMREAD_GRAYSCALE) for path in paths])


def test_preparing_without_grabcut_leaves_a_picture_of_each_ellipse(config, tmp_path):
    config = replace(config, scratch=tmp_path)
    assert published.prepare_without_grabcut(config).items == 12
    assert len(list((tmp_path / "drawn").iterdir())) == 12


@pytest.mark.parametrize(("name", "items"), [("load", 12), ("train", 2), ("evaluate", 2), ("score", 12)])
def test_both_ways_do_as_much(config, name, items):
    config = replace(config, recipe=replace(config.recipe, batch_size=2))  # batches of two are enough
    for module in (published, ours):
        measurement = getattr(module, name)(config)
        assert measurement.items == items
        assert measurement.seconds > 0


def test_ellipses_are_the_projects(config, dataset):
    drawn = np.stack([resize_mask(picture > 127, centred=False) for picture in _drawn(config, dataset, "")])
    alike = iou(drawn, dataset.array("ellipse")[:12])
    assert alike.min() >= 0.985 and alike.mean() >= 0.995


def test_grabcut_masks_are_the_projects(config, dataset):
    alike = iou(_drawn(config, dataset, "_grabcut"), dataset.array("grabcut")[:12])
    assert alike.min() >= 0.93 and alike.mean() >= 0.98


def test_ellipses_are_those_of_the_release(shared, tmp_path):
    golden = golden_masks(shared, "ham10000", "ellipse")
    names = np.load(shared / "golden" / "ham10000.npz")["names"][:20]
    drawn = []
    for name in names:
        ((_, mask_path),) = find_pairs(shared / "data" / "ham10000", [{"source": f"{name}.jpg"}])
        mask = read_image(mask_path, cv2.IMREAD_GRAYSCALE)
        picture = draw_ellipse(published.fit_ellipse(mask), mask.shape, tmp_path / "ellipse.png")
        drawn.append(resize_mask(picture > 127, centred=False))
    alike = iou(np.stack(drawn), golden[:20])
    assert alike.min() >= 0.985 and alike.mean() >= 0.998


def test_an_ellipse_is_drawn_where_it_is(tmp_path):
    ellipse = Ellipse(70.3, 41.8, 30, 90, 25)
    picture = draw_ellipse(ellipse, (120, 150), tmp_path / "ellipse.png")
    exact = ellipse_mask(ellipse, (120, 150))
    assert np.count_nonzero((picture > 127) != exact) < 0.01 * exact.sum()
    # 255 are the pixels that it covers completely, the margin=0.5 of the exact one.
    covered = ellipse_mask(ellipse, (120, 150), margin=0.5)
    assert np.count_nonzero((picture == 255) != covered) < 0.02 * covered.sum()
    assert shrink_mask(picture == 255).shape == (120, 120)


def test_the_fit_is_the_projects(dataset):
    for mask in dataset.array("truth")[:5]:
        assert published.fit_ellipse(np.ascontiguousarray(mask)) == pytest.approx(fit_ellipse(mask), abs=1e-3)


def test_a_lesion_without_its_files_is_an_error(config, tmp_path):
    with pytest.raises(UserError, match=r"has no image x\.jpg with a mask named after it"):
        find_pairs(config.data, [{"source": "x.jpg"}])
    shutil.copy(config.data / HAM_phantom.IMAGE_FOLDERS[0] / "ISIC_9000000.jpg", tmp_path)
    with pytest.raises(UserError, match="ISIC_9000000"):
        find_pairs(tmp_path, [{"source": "ISIC_9000000.jpg"}])


@pytest.mark.parametrize("canvas", [CANVAS, (128, 128)])
def test_batches_are_the_projects(config, dataset, canvas):
    config = replace(config, canvas=canvas, lesions=4)
    ((images, masks, clusters),) = make_loader(config)
    (batch,) = LesionLoader(dataset, np.arange(4), "ellipse", canvas, CPU).batches(4)
    assert torch.allclose(images, batch.images, atol=1e-4)
    assert (masks != batch.masks).float().mean() < 0.005
    assert torch.equal(clusters, batch.clusters)
    ((_, truths, _),) = make_loader(config, truth=True)
    (batch,) = LesionLoader(dataset, np.arange(4), "truth", canvas, CPU).batches(4)
    assert torch.equal(truths, batch.masks)


def test_samples_are_repeated(config):
    shapes = [len(images) for images, _, _ in make_loader(config, 25)]
    assert shapes == [10, 10, 5]
    samples = make_loader(config, 25).dataset
    assert samples[0] == samples[12] == samples[24] != samples[1]


def test_the_first_step_and_the_second_have_the_projects_losses(config):
    trainer = ours.make_trainer(config)
    network = ours.untrained_model(config).network.train()
    for module in (*trainer.network.modules(), *network.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0  # its numbers depend on the layout in memory
    weights = trainer.recipe.loss_weights
    optimizer = torch.optim.Adam(network.parameters(), lr=trainer.recipe.lr, foreach=False)
    for batch, tolerance in zip(ours.make_loader(config).batches(6), (1e-5, 1e-2), strict=True):
        losses = train_step(network, optimizer, (batch.images.contiguous(), batch.masks, batch.clusters), weights)
        our_losses = trainer.step((batch,))
        assert losses == pytest.approx({name: float(our_losses[name]) for name in losses}, rel=tolerance)
        assert set(losses) == {"mask", "cluster"}


def test_evaluation_gives_the_projects_metrics(config, dataset):
    config = replace(config, lesions=4)
    network = ours.segment_dark(ours.untrained_model(config).network).eval()
    metrics = published.predict_and_score(network, make_loader(config, 4, truth=True))
    model = ours.untrained_model(config)
    ours.segment_dark(model.network)
    predictor = Predictor(model, CPU, "fp32")
    ((rows, masks),) = predictor.masks(ours.make_loader(config), 4)
    truth = dataset.array("truth")
    assert np.mean([values["dice"] for values in metrics]) > 0.3  # the masks are not empty
    for row, mask, values in zip(rows, masks, metrics, strict=True):
        our_values = lesion_metrics(truth[row], mask)
        # A pixel or two lie within rounding of the border.
        assert [values[name] for name in ("iou", "dice", "vs")] == pytest.approx(
            [our_values[name] for name in ("iou", "dice", "vs")], abs=2e-3
        )


def test_metrics_are_the_projects(dataset):
    for truth, mask in zip(dataset.array("truth")[:12], dataset.array("grabcut")[3:15], strict=True):
        our_values = lesion_metrics(truth, mask)
        assert published.lesion_metrics(truth, mask) == pytest.approx(
            {name: our_values[name] for name in METRICS}, rel=1e-6
        )
    values = published.lesion_metrics(truth, np.zeros((120, 120), np.uint8))
    assert np.isnan(values["avd"]) and values["dice"] == 0
