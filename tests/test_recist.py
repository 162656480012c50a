"""Ellipses and clusters, by hand and against the published code's."""

import cv2
import numpy as np
import pytest
import torch

from common.recist import fit_ellipse, mask_hull, quarter_radius, shape_clusters
from common.utils.errors import UserError


def test_hull_of_a_ring_is_that_of_all_its_pixels():
    mask = np.zeros((50, 60), np.uint8)
    cv2.ellipse(mask, (30, 25), (20, 9), 30, 0, 360, 1, 2)
    rows, columns = np.nonzero(mask)
    hull = cv2.convexHull(np.stack([columns, rows], 1).astype(np.int32))
    assert {tuple(point) for point in mask_hull(mask)[:, 0]} == {tuple(point) for point in hull[:, 0]}


def test_an_ellipse_is_recovered_from_its_mask():
    mask = np.zeros((200, 200), np.uint8)
    cv2.ellipse(mask, (90, 110), (60, 30), 25, 0, 360, 1, -1)
    ellipse = fit_ellipse(mask)
    assert ellipse[:2] == pytest.approx((90, 110), abs=0.5)
    assert sorted(ellipse[2:4]) == pytest.approx([60, 120], abs=1.5)
    assert ellipse.angle == pytest.approx(25 + 90, abs=1)


@pytest.mark.parametrize("shape", ["empty", "pixel", "rectangle"])
def test_a_hull_of_under_five_points_has_no_ellipse(shape):
    mask = np.zeros((30, 30), np.uint8)
    if shape == "pixel":
        mask[4, 5] = 1
    if shape == "rectangle":
        mask[4:9, 5:20] = 1
    assert fit_ellipse(mask) is None


def test_clusters_separate_small_from_large_lesions():
    rng = np.random.default_rng(0)
    small, large = rng.normal(10, 0.1, (20, 5)), rng.normal(90, 0.1, (20, 5))
    labels = shape_clusters(np.concatenate([small, large]), 2)
    assert len(set(labels[:20])) == len(set(labels[20:])) == 1
    assert labels[0] != labels[-1]


def test_clusters_fitted_on_some_lesions_label_the_rest():
    points = np.repeat(np.array([[0.0], [10.0], [100.0]]), 5, axis=1)
    labels = shape_clusters(points, 2, fit_on=np.array([True, False, True]))
    assert labels[1] == labels[0] != labels[2]


def test_fewer_lesions_than_clusters_is_an_error():
    with pytest.raises(UserError, match="45 shape clusters can't be fitted on 3 lesions"):
        shape_clusters(np.zeros((3, 5)), 45)


def test_inertia_is_that_of_the_published_labels(shared):
    def inertia(points: np.ndarray, labels: np.ndarray) -> float:
        groups = [points[labels == label] for label in np.unique(labels)]
        return sum(float(((group - group.mean(0)) ** 2).sum()) for group in groups)

    with np.load(shared / "golden" / "ham10000.npz") as golden:
        points, published = golden["recist"], golden["labels_k20"]
    assert inertia(points, shape_clusters(points, 20)) <= 1.03 * inertia(points, published)


CROSS = np.array([[2, 10], [14, 10], [10, 4], [10, 12]], float)  # reaches 8 left, 4 right, 6 up, 2 down of (10, 10)


def test_quarters_pass_through_the_ends_of_the_diameters():
    radius = quarter_radius(CROSS, np.arange(20), np.arange(20))
    assert radius[10, 10] == 0
    assert radius[[10, 10, 4, 12], [2, 14, 10, 10]] == pytest.approx([1, 1, 1, 1])
    assert radius[7, 6] == pytest.approx(np.hypot(4 / 8, 3 / 6))  # left and up: the quarter with half axes 8 and 6
    assert radius[11, 13] == pytest.approx(np.hypot(3 / 4, 1 / 2))  # right and down: 4 and 2


def test_quarters_of_a_sheared_mark_are_sheared():
    x, y = np.arange(60), np.arange(60)
    shear = np.array([[1, 0], [0.5, 1]])  # (x, y) -> (x + y / 2, y)
    sheared = quarter_radius(CROSS @ shear, x, y)
    for row, column in ((10, 2), (7, 6), (11, 13), (3, 12)):
        straight = quarter_radius(CROSS, np.array([column]), np.array([row]))[0, 0]
        assert quarter_radius(CROSS @ shear, np.array([column + row / 2]), np.array([row]))[0, 0] == pytest.approx(
            straight
        )
    assert sheared.shape == (60, 60)


def test_quarters_of_diameters_that_only_touch_lie_on_one_side():
    touching = np.array([[2, 10], [14, 10], [10, 10], [10, 16]], float)
    radius = quarter_radius(touching, np.arange(20), np.arange(20))
    assert radius[12, 10] == pytest.approx(1 / 3)
    assert radius[9, 10] > 100


def test_quarters_of_tensors_are_those_of_arrays():
    ends = np.stack([CROSS, CROSS[:, ::-1] + 3])
    pixels = np.arange(20)
    tensors = quarter_radius(torch.from_numpy(ends), torch.arange(20.0), torch.arange(20.0))
    assert tensors.numpy() == pytest.approx(np.stack([quarter_radius(mark, pixels, pixels) for mark in ends]), rel=1e-6)
