"""The six metrics, by hand and against the published code's."""

import json

import cv2
import numpy as np
import pytest
import scipy.stats
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from skimage.feature import canny

from common.metrics import (
    EXTRA_METRICS,
    METRICS,
    _border,
    _edge_pixels,
    bootstrap_interval,
    dice,
    fill_undefined,
    lesion_metrics,
)
from common.recist import Ellipse
from common.weak_masks import ellipse_mask
from helpers import golden_masks


def _square(top: int, left: int, size: int) -> np.ndarray:
    mask = np.zeros((120, 120), np.uint8)
    mask[top : top + size, left : left + size] = 1
    return mask


def test_metrics_by_hand():
    # Two 10x10 squares, 3 px apart sideways: 70 pixels shared, 30 missed, 30 too many.
    metrics = lesion_metrics(_square(20, 20, 10), _square(20, 23, 10))
    assert metrics["iou"] == pytest.approx(70 / 130)
    assert metrics["dice"] == pytest.approx(0.7)
    assert metrics["vs"] == 1
    assert metrics["centre_error"] == 3
    assert metrics["perimeter_error"] == 0
    assert metrics["avd"] == 3
    # Of 36 border pixels each, columns 20 and 32 lie 3, 21 and 31 2 (rows 20 and 29), 22 and 30 1 px off; those on the
    # other's vertical border's near side (8 pixels inside) lie 1 to 3 px off as well.
    assert 0 < metrics["average_hausdorff"] < metrics["hausdorff95"] <= 3


def test_hausdorff_distances_count_both_directions():
    first, second = _square(20, 20, 10), _square(22, 23, 4)
    borders = [np.argwhere(mask & ~binary_erosion(mask)) for mask in (first > 0, second > 0)]
    distances = cdist(*borders)
    there, back = distances.min(axis=1), distances.min(axis=0)
    metrics = lesion_metrics(first, second)
    assert metrics["average_hausdorff"] == pytest.approx((there.mean() + back.mean()) / 2)
    assert metrics["hausdorff95"] == pytest.approx(np.percentile([*there, *back], 95))
    assert metrics["hausdorff95"] < metrics["avd"]


def test_a_perfect_prediction():
    metrics = lesion_metrics(_square(5, 5, 30), _square(5, 5, 30))
    assert metrics == {"iou": 1, "dice": 1, "vs": 1, "centre_error": 0, "perimeter_error": 0, "avd": 0,
                       "average_hausdorff": 0, "hausdorff95": 0}  # fmt: skip


def test_an_empty_prediction_has_overlaps_but_no_distances():
    metrics = lesion_metrics(_square(5, 5, 30), np.zeros((120, 120), np.uint8))
    assert (metrics["iou"], metrics["dice"], metrics["vs"]) == (0, 0, 0)
    assert all(np.isnan(metrics[name]) for name in ("centre_error", "avd", *EXTRA_METRICS))


def test_two_empty_masks_are_undefined():
    empty = np.zeros((120, 120), np.uint8)
    assert all(np.isnan(lesion_metrics(empty, empty)[name]) for name in ("iou", "dice", "vs", "avd"))


def test_borders_are_4_connected_and_the_image_edge_counts():
    # A mask that fills the image has its border at the image's edge.
    metrics = lesion_metrics(np.ones((120, 120), np.uint8), _square(60, 60, 1))
    assert metrics["avd"] == pytest.approx(np.hypot(60, 60))
    mask = np.pad(np.ones((9, 9), np.uint8), 5)
    mask[5, 5] = 0
    assert _border(mask)[6, 5] and not _border(mask)[6, 6]  # which touches the missing corner by its own alone


def test_edges_are_those_of_the_whole_image():
    rng = np.random.default_rng(0)
    for _ in range(30):
        centre, radii = rng.uniform(-10, 130, 2), rng.uniform(1, 50, 2)
        mask = ellipse_mask(Ellipse(*centre, *radii, rng.uniform(0, 180)), (120, 120))
        mask &= rng.random((120, 120)) < 0.95
        edges = canny(mask, sigma=1, low_threshold=1, high_threshold=1)
        assert _edge_pixels(mask) == np.count_nonzero(edges)


LEFT, MIDDLE, EMPTY = ([[1, 1, 0, 0]] * 2, [[0, 1, 1, 1]] * 2, [[0, 0, 0, 0]] * 2)


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_dice_of_arrays_by_hand(dtype):
    # 2 of 4 and 6 pixels are shared; then all of them, none, and none of none.
    predictions, truths = (
        np.array(masks, dtype) for masks in ([LEFT, MIDDLE, LEFT, EMPTY], [MIDDLE, MIDDLE, EMPTY, EMPTY])
    )
    values = dice(predictions, truths)
    assert isinstance(values, np.ndarray)
    np.testing.assert_array_equal(values, [0.4, 1, 0, np.nan])
    assert dice(predictions[0], truths[0]) == 0.4
    np.testing.assert_array_equal(dice(predictions[:, None], truths[:, None]), values[:, None])


def test_dice_of_tensors_is_that_of_arrays():
    predictions, truths = (
        torch.tensor(masks) > 0 for masks in ([LEFT, MIDDLE, LEFT, EMPTY], [MIDDLE, MIDDLE, EMPTY, EMPTY])
    )
    values = dice(predictions, truths)
    torch.testing.assert_close(values, torch.tensor([0.4, 1, 0, torch.nan]), equal_nan=True)
    assert dice(predictions.byte()[0], truths.byte()[0]).item() == pytest.approx(0.4)


def test_large_masks_do_not_overflow():
    full = np.ones((120, 120), np.uint8)
    assert dice(full, full) == dice(torch.from_numpy(full), torch.from_numpy(full)) == 1


def test_fill_undefined_by_protocol():
    columns = {name: np.array([1.0, np.nan, 7.0]) for name in ("centre_error", "avd", *EXTRA_METRICS)}
    assert fill_undefined(columns, "released")["avd"].tolist() == [1, 7, 7]
    assert fill_undefined(columns, "corrected")["avd"].tolist() == pytest.approx([1, np.hypot(120, 120), 7])
    assert np.isnan(columns["avd"][1])
    nothing = {name: np.array([np.nan]) for name in columns}
    assert np.isnan(fill_undefined(nothing, "released")["avd"][0])


def test_bootstrap_interval_holds_the_mean_and_narrows_with_lesions():
    rng = np.random.default_rng(0)
    few, many = (bootstrap_interval(rng.normal(0.8, 0.1, count)) for count in (20, 2000))
    for mean, low, high in (few, many):
        assert low < mean < high
    assert many[2] - many[1] == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(2000), rel=0.1)
    assert many[2] - many[1] < few[2] - few[1]
    mean, *interval = bootstrap_interval(np.array([0.5]))
    assert mean == 0.5 and np.isnan(interval).all()  # one lesion says nothing of others


@pytest.mark.parametrize("lesions", [30, 60, 1002])
def test_bootstrap_interval_is_scipys(lesions):
    values = np.random.default_rng(lesions).beta(8, 2, lesions)
    options = {"batch": 1, "method": "percentile", "n_resamples": 2000, "rng": np.random.default_rng(0)}
    interval = scipy.stats.bootstrap((values,), np.mean, **options).confidence_interval
    assert bootstrap_interval(values) == pytest.approx((values.mean(), *interval), rel=1e-12)


def test_lesions_of_a_group_are_drawn_together():
    rng = np.random.default_rng(0)
    levels = rng.normal(0.8, 0.1, 40)
    groups, values = np.repeat(np.arange(40), 25).astype(str), np.repeat(levels, 25)
    mean, low, high = bootstrap_interval(values, groups)
    assert high - low == pytest.approx(2 * 1.96 * levels.std() / np.sqrt(40), rel=0.1)  # as of 40 lesions, not 1,000
    assert bootstrap_interval(levels)[1:] == pytest.approx((low, high), rel=0.01)
    mean, low, high = bootstrap_interval(values, ["a"] * len(values))
    assert mean == values.mean() and np.isnan([low, high]).all()


def test_the_interval_of_few_patients_is_students():
    values = np.random.default_rng(0).normal(0.8, 0.1, 13)
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert bootstrap_interval(values) == pytest.approx((values.mean(), *interval), rel=1e-12)
    # 2 lesions of the one, 1 of the other: sums that miss 0.4 a lesion by 0.4, so that the error is sqrt(2 * 0.32) / 3
    half = 12.7062 * 0.8 / 3  # t with one degree of freedom
    grouped = bootstrap_interval(np.array([0.1, 0.3, 0.8]), ["a", "a", "b"])
    assert grouped == pytest.approx((0.4, 0.4 - half, 0.4 + half), rel=1e-5)


@pytest.mark.parametrize("patients", [3, 8, 20])
def test_95_per_cent_of_intervals_hold_the_true_mean(patients):
    rng = np.random.default_rng(patients)
    held = 0
    for _ in range(200):
        sizes = rng.integers(3, 12, patients)
        values = np.repeat(rng.normal(0.8, 0.1, patients), sizes) + rng.normal(0, 0.05, sizes.sum())
        _, low, high = bootstrap_interval(values, np.repeat(np.arange(patients), sizes).astype(str))
        held += low < 0.8 < high
    assert 0.9 <= held / 200 <= 0.99


@pytest.mark.filterwarnings("error")
def test_an_undefined_value_makes_the_interval_undefined():
    assert np.isnan(bootstrap_interval(np.array([0.5, np.nan, 0.7]))).all()


@pytest.fixture(scope="module")
def predictions(shared) -> dict[str, np.ndarray]:
    ellipse = golden_masks(shared, "ham10000", "ellipse")[:60]
    shifted = np.roll(ellipse, (4, -7), (1, 2))
    some_empty = shifted.copy()
    some_empty[[3, 10, 11]] = 0
    return {
        "ellipse": ellipse,
        "grabcut": golden_masks(shared, "ham10000", "grabcut")[:60],
        "eroded": np.stack([cv2.erode(mask, np.ones((5, 5), np.uint8)) for mask in ellipse]),
        "shifted": shifted,
        "some_empty": some_empty,
    }


@pytest.mark.parametrize("name", ["ellipse", "grabcut", "eroded", "shifted", "some_empty"])
def test_metrics_are_the_published_codes(name, predictions, shared):
    golden = json.loads((shared / "golden" / "metrics.json").read_text())[name]
    truth = golden_masks(shared, "ham10000", "truth")
    lesions = [lesion_metrics(mask, prediction) for mask, prediction in zip(truth, predictions[name], strict=False)]
    for values, published in zip(lesions, golden["per_lesion"], strict=True):
        if published is not None:
            expected = [published[metric] for metric in METRICS]
            assert [values[metric] for metric in METRICS] == pytest.approx(expected, rel=1e-6)
    columns = {metric: np.array([values[metric] for values in lesions]) for metric in (*METRICS, *EXTRA_METRICS)}
    means = {metric: values.mean() for metric, values in fill_undefined(columns, "released").items()}
    expected = [golden["mean"][metric] for metric in METRICS]
    assert [means[metric] for metric in METRICS] == pytest.approx(expected, rel=1e-6)
