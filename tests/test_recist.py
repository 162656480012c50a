"""Diameters, ellipses and clusters, by hand and against the published code's."""

import cv2
import numpy as np
import pytest
import torch

from common.recist import (
    Ellipse,
    diameters,
    diameters_cross,
    ellipse_from_diameters,
    fit_ellipse,
    long_first,
    mark_noise,
    mask_hull,
    move_ends,
    quarter_radius,
    shape_clusters,
)
from common.utils.errors import UserError
from common.weak_masks import ellipse_mask


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
    with pytest.raises(UserError, match="no lesion is in the training split, on which the corrected protocol fits"):
        shape_clusters(np.zeros((3, 5)), 1, fit_on=np.zeros(3, bool))


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


def mask_of(*rows):
    return np.array([[character == "#" for character in row] for row in rows], np.uint8)


@pytest.mark.parametrize(
    ("mask", "long", "short"),
    [
        (mask_of("..", ".."), 0, 0),
        (mask_of("#"), 1, 1),
        (mask_of("#####"), 5, 1),
        (mask_of("#", "#", "#"), 3, 1),
        # From the left edge of one corner pixel to the right edge of the opposite one: 3 px by 2; across it, 2 by 3.
        (mask_of("###", "###", "###"), 13**0.5, 13**0.5),
        # Diagonal neighbours are one part: from (-0.5, 0) to (1.5, 1), and across it from (0, 0.5) to (1/3, -1/6).
        (mask_of("#.", ".#"), 5**0.5, 5**0.5 / 3),
        # The larger part is measured, the other one is not.
        (mask_of("###....", "......#"), 3, 1),
        # A hole does not cut the short diameter.
        (mask_of("###", "#.#", "###"), 13**0.5, 13**0.5),
        # Nor does one whose border is longer than the outer one.
        (mask_of("#######", "#.#.#.#", "#.#.#.#", "#.#.#.#", "#.#.#.#", "#.....#", "#######"), 85**0.5, 85**0.5),
        # A cross: the long diameter along its bar, the short one along its beam.
        (mask_of("...#...", "...#...", "#######", "...#...", "...#..."), 7, 5),
        # A hook: through its stem 2.5 px, at its tip 2; the 4 px with the gap in between don't count.
        (mask_of("###########", ".#.........", "..####.....", "....#......"), 11, 2.5),
    ],
)
def test_diameters_by_hand(mask, long, short):
    measured = diameters(mask)
    assert (measured.long, measured.short) == pytest.approx((long, short))


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
def test_an_ellipse_has_its_axes_as_diameters(angle):
    measured = diameters(ellipse_mask(Ellipse(100, 90, 120, 60, angle), (200, 220)))
    assert measured.long == pytest.approx(120, abs=1)
    assert measured.short == pytest.approx(60, abs=1)
    assert measured.ends[:2].mean(axis=0) == pytest.approx([100, 90], abs=0.6)


def test_the_diameters_of_any_mask_span_an_area():
    for number in range(1, 1 << 12, 3):  # the masks of 3x4 px
        mask = (number >> np.arange(12) & 1).reshape(3, 4)
        assert ellipse_from_diameters(diameters(mask).ends), mask


def test_the_longer_diameter_comes_first():
    assert long_first(CROSS) is CROSS  # 12 px, then 8
    assert long_first(CROSS[[2, 3, 0, 1]]).tolist() == CROSS.tolist()


def test_the_ends_are_where_the_diameters_are():
    mask = np.zeros((50, 60), np.uint8)
    mask[20:24, 10:41] = 1
    measured = diameters(mask)
    first, last, start, end = measured.ends
    assert np.hypot(*(last - first)) == pytest.approx(measured.long)
    assert np.hypot(*(end - start)) == pytest.approx(measured.short)
    assert (last - first) @ (end - start) == pytest.approx(0, abs=1e-9)
    assert np.sort(measured.ends[:2, 0]).tolist() == [
        9.5,
        40.5,
    ]  # the long one, from the left edge to the right one
    assert ((measured.ends > [9.499, 19.499]) & (measured.ends < [40.501, 23.501])).all()


def test_mm_follow_the_spacing_of_each_axis():
    mask = np.ones((10, 8), np.uint8)
    # 10 rows of 0.5 mm, 8 columns of 2 mm: the long diameter turns to the columns.
    measured = diameters(mask, (0.5, 2.0))
    assert measured.long == pytest.approx(np.hypot(16, 4.5))
    assert abs(measured.ends[1, 0] - measured.ends[0, 0]) == 8
    doubled = diameters(mask, (2.0, 2.0))
    assert doubled.long == pytest.approx(2 * diameters(mask).long)
    assert doubled.short == pytest.approx(2 * diameters(mask).short)


def test_the_short_diameter_is_the_longest_of_all_chords():
    """Against chords drawn one by one over random blobs, at a twentieth of a pixel."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        centres = rng.uniform(15, 45, (4, 2))
        rows, columns = np.mgrid[:60, :60]
        mask = np.zeros((60, 60), np.uint8)
        for y, x in centres:
            mask |= ((rows - y) ** 2 + (columns - x) ** 2 < rng.uniform(6, 12) ** 2).astype(np.uint8)
        if cv2.connectedComponents(mask)[0] > 2:
            continue
        measured = diameters(mask)
        along = (measured.ends[1] - measured.ends[0]) / measured.long
        across = np.array([-along[1], along[0]])
        steps = np.arange(-60, 60, 0.05)
        best = 0.0
        for place in np.arange(0, measured.long, 0.25):
            x, y = (measured.ends[0] + place * along + steps[:, None] * across).T
            column, row = np.rint(x).astype(int), np.rint(y).astype(int)
            on_mask = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < 60)
            inside = np.zeros(len(steps), bool)
            inside[on_mask] = mask[row[on_mask], column[on_mask]] > 0
            edges = np.flatnonzero(np.diff(inside.astype(int)))
            best = max([best, *((edges[1::2] - edges[::2]) * 0.05)])
        assert measured.short == pytest.approx(best, abs=1.1)  # px squares reach up to half a px further at each end


@pytest.mark.parametrize(
    ("short", "cross"),
    [
        ((5, -3, 5, 3), True),
        ((0, -3, 0, 3), True),  # at the end of the long one
        ((-2, -3, -2, 3), True),  # a fifth beyond it
        ((-3, -3, -3, 3), False),
        ((5, 1, 5, 6), True),  # a fifth beyond its own
        ((5, 2, 5, 6), False),
    ],
)
def test_diameters_cross_or_nearly(short, cross):
    ends = np.array([0, 0, 10, 0, *short], float).reshape(4, 2)
    assert diameters_cross(ends) == diameters_cross(ends[[2, 3, 0, 1]]) == cross


def test_marks_of_evaluation_are_moved_by_a_fraction_of_the_long_diameter():
    ends = np.repeat(np.array([[[0, 0], [30, 40], [15, 15], [20, 30]]], np.float32), 5000, axis=0)  # 50 px long
    moved = move_ends(ends, 0.2, mark_noise([1, row] for row in range(5000)))
    distances = np.linalg.norm(moved - ends, axis=-1)
    assert np.sqrt((distances**2).mean()) == pytest.approx(10, rel=0.02)
    np.testing.assert_array_equal(move_ends(ends[:3], 0, mark_noise([1, row] for row in range(3))), ends[:3])
    np.testing.assert_array_equal(move_ends(ends[:1], 0.2, mark_noise([[1, 4999]])), moved[-1:])


def test_the_noise_of_a_seed_is_its_own():
    first, second = mark_noise([[1, 2], [1, 3]])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(mark_noise([[1, 3]])[0], second)
    assert mark_noise([[1, row] for row in range(4000)]).std() == pytest.approx(np.sqrt(0.5), rel=0.02)
