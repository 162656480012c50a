"""The published way computes what the project computes."""

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from helpers import golden_masks, iou

import HAM_data
from common.benchmark import bench_published
from common.benchmark import ours as bench_ours
from common.benchmark.published import LesionFiles, draw_ellipse, evaluate_lesions, figures, find_pairs, fit, train_step
from common.benchmark.runner import BenchmarkConfig, find_dark
from common.data.dataset import LesionDataset
from common.data.images import read_image
from common.data.loader import LesionLoader
from common.inference.predictor import predictions
from common.metrics import METRICS, lesion_metrics
from common.patches import CANVAS, resize_mask, shrink_mask
from common.recist import Ellipse, fit_ellipse
from common.utils.errors import UserError
from common.weak_masks import ellipse_mask

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setup(phantom_ham, tmp_path_factory) -> BenchmarkConfig:
    """The phantom prepared in the published way, ellipses and GrabCut masks of 12 lesions."""
    scratch = tmp_path_factory.mktemp("published")
    setup = BenchmarkConfig(
        HAM_data.DATASET.folder, "A1class", phantom_ham, phantom_ham / "prepared", scratch, "resnet18", (128, 128),
        steps=1, lesions=12, precision="fp32",
    )  # fmt: skip
    assert bench_published.prepare(setup).items == 12
    return setup


@pytest.fixture(scope="module")
def prepared(setup) -> LesionDataset:
    return LesionDataset.open(setup.prepared)


def _drawn(setup: BenchmarkConfig, prepared: LesionDataset, ending: str) -> np.ndarray:
    names = [row["lesion"] for row in prepared.lesions[:12]]
    return np.stack([read_image(setup.drawn / f"{name}{ending}.png", cv2.IMREAD_GRAYSCALE) for name in names])


def test_ellipses_are_the_projects(setup, prepared):
    drawn = np.stack([resize_mask(picture > 127) for picture in _drawn(setup, prepared, "")])
    alike = iou(drawn, prepared.array("ellipse")[:12])
    assert alike.min() >= 0.985 and alike.mean() >= 0.995


def test_grabcut_masks_are_the_projects(setup, prepared):
    alike = iou(_drawn(setup, prepared, "_grabcut"), prepared.array("grabcut")[:12])
    assert alike.min() >= 0.93 and alike.mean() >= 0.98


def test_ellipses_are_those_of_the_release(shared, tmp_path):
    golden = golden_masks(shared, "ham10000", "ellipse")
    names = np.load(shared / "golden" / "ham10000.npz")["names"][:20]
    drawn = []
    for name in names:
        pair = find_pairs(shared / "data" / "ham10000", [{"source": f"{name}.jpg"}])[0]
        mask = read_image(pair.mask, cv2.IMREAD_GRAYSCALE)
        drawn.append(resize_mask(draw_ellipse(fit(mask), mask.shape, tmp_path / "ellipse.png") > 127))
    alike = iou(np.stack(drawn), golden[:20])
    assert alike.min() >= 0.985 and alike.mean() >= 0.998


def test_an_ellipse_is_drawn_where_it_is(tmp_path):
    ellipse = Ellipse(70.3, 41.8, 30, 90, 25)
    picture = draw_ellipse(ellipse, (120, 150), tmp_path / "ellipse.png")
    exact = ellipse_mask(ellipse, (120, 150))
    assert np.count_nonzero((picture > 127) != exact) < 0.01 * exact.sum()
    # 255 is what it covers wholly, the whole=0.5 of the exact one.
    whole = ellipse_mask(ellipse, (120, 150), whole=0.5)
    assert np.count_nonzero((picture == 255) != whole) < 0.02 * whole.sum()
    assert shrink_mask(picture == 255).shape == (120, 120)


def test_the_fit_is_the_projects(prepared):
    for mask in prepared.array("truth")[:5]:
        assert fit(np.ascontiguousarray(mask)) == pytest.approx(fit_ellipse(mask), abs=1e-3)


def test_a_lesion_without_its_files_is_told(setup, tmp_path):
    with pytest.raises(UserError, match=r"has no image x\.jpg with a mask named after it"):
        find_pairs(setup.data, [{"source": "x.jpg"}])
    shutil.copy(setup.data / HAM_data.IMAGE_FOLDERS[0] / "ISIC_9000000.jpg", tmp_path)
    with pytest.raises(UserError, match="ISIC_9000000"):
        find_pairs(tmp_path, [{"source": "ISIC_9000000.jpg"}])


@pytest.mark.parametrize("canvas", [CANVAS, (128, 128)])
def test_batches_are_the_projects(setup, prepared, canvas):
    setup = replace(setup, canvas=canvas, lesions=4)
    ((images, masks, clusters),) = bench_published.loader(setup)
    (ours,) = LesionLoader(prepared, np.arange(4), "ellipse", canvas, CPU).batches(4)
    assert torch.allclose(images, ours.images, atol=1e-4)
    assert (masks != ours.masks).float().mean() < 0.005
    assert torch.equal(clusters, ours.clusters)
    ((_, truths, _),) = bench_published.loader(setup, truth=True)
    (ours,) = LesionLoader(prepared, np.arange(4), "truth", canvas, CPU).batches(4)
    assert torch.equal(truths, ours.masks)


def test_samples_come_over_and_over_again(setup):
    shapes = [len(images) for images, _, _ in bench_published.loader(setup, 25)]
    assert shapes == [10, 10, 5]
    files = bench_published.loader(setup, 25).dataset
    assert isinstance(files, LesionFiles)
    assert files.pairs[0] == files.pairs[12] == files.pairs[24] != files.pairs[1]


def test_the_first_step_and_the_second_have_the_projects_losses(setup):
    trainer = bench_ours.make_trainer(setup)
    model = bench_published.network(setup, CPU).train()
    for module in (*trainer.network.modules(), *model.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0  # its numbers depend on the layout in memory
    weights = trainer.recipe.loss_weights
    optimizer = torch.optim.Adam(model.parameters(), lr=trainer.recipe.lr, foreach=False)
    for batch, near in zip(bench_ours.lesion_batches(setup).batches(6), (1e-5, 1e-2), strict=True):
        theirs = train_step(model, optimizer, (batch.images.contiguous(), batch.masks, batch.clusters), weights)
        ours = trainer.step((batch,))
        assert theirs == pytest.approx({name: float(ours[name]) for name in theirs}, rel=near)
        assert set(theirs) == {"mask", "cluster"}


def test_evaluation_gives_the_projects_figures(setup, prepared):
    setup = replace(setup, lesions=4)
    model = find_dark(bench_published.network(setup, CPU)).eval()
    theirs = evaluate_lesions(model, CPU, bench_published.loader(setup, 4, truth=True))
    lesions = bench_ours.lesion_batches(setup)
    trained = bench_ours.dark_network(setup, CPU)
    ((rows, masks),) = predictions(trained, lesions, 4, "fp32")
    truth = prepared.array("truth")
    assert np.mean([one["dice"] for one in theirs]) > 0.3  # something was found
    for row, mask, scored in zip(rows, masks, theirs, strict=True):
        ours = lesion_metrics(truth[row], mask)
        # A pixel or two lie within rounding of the border.
        assert [scored[name] for name in ("iou", "dice", "vs")] == pytest.approx(
            [ours[name] for name in ("iou", "dice", "vs")], abs=2e-3
        )


def test_figures_are_the_projects(prepared):
    for truth, mask in zip(prepared.array("truth")[:12], prepared.array("grabcut")[3:15], strict=True):
        ours = lesion_metrics(truth, mask)
        assert figures(truth, mask) == pytest.approx({name: ours[name] for name in METRICS}, rel=1e-6)
    empty = np.zeros((120, 120), np.uint8)
    assert np.isnan(figures(truth, empty)["avd"]) and figures(truth, empty)["dice"] == 0
