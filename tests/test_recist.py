"""Ellipses and clusters, by hand and against the published code's."""

import cv2
import numpy as np
import pytest

from common.recist import fit_ellipse, mask_hull, shape_clusters
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
