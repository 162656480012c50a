"""Batches: the published network input, and every lesion where it belongs."""

import numpy as np
import pytest
import torch

import HAM_data
from common.data.dataset import LesionDataset
from common.data.loader import Batch, LesionLoader
from common.model import CanvasTransform, centre_crop
from common.training.distributed import World

CPU = torch.device("cpu")


def test_the_network_input_is_the_published_codes(shared, ham_prepared):
    with np.load(shared / "golden" / "ham10000.npz") as golden:
        lesions = LesionLoader(ham_prepared, np.arange(4), "ellipse", (384, 480), CPU)
        images = next(lesions.batches(4)).images
        np.testing.assert_allclose(images[:, :, ::8, ::8], golden["canvas_stride8"], atol=1e-4)
        np.testing.assert_allclose(images[:, :, 132:252:6, 180:300:6], golden["centre_stride6"][:4], atol=1e-4)
        every = LesionLoader(ham_prepared, np.arange(400), "ellipse", (128, 128), CPU)
        for batch in every.batches(50):
            ours = centre_crop(batch.images)[:, :, ::6, ::6]
            np.testing.assert_allclose(ours, golden["centre_stride6"][batch.rows], atol=1e-4)


def test_images_are_divided_by_255_only_where_their_maximum_exceeds_1():
    patches = torch.zeros(2, 120, 120, 3)
    patches[0] = 1.0
    patches[1] = 255.0
    images = CanvasTransform((128, 128), CPU).images(patches)
    torch.testing.assert_close(images[0], images[1])
    assert images[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)


def test_masks_are_mirrored_like_images():
    patches = torch.randint(0, 2, (1, 120, 120), dtype=torch.uint8)
    to_canvas = CanvasTransform((384, 480), CPU)
    masks = to_canvas.masks(patches)
    assert masks.shape == (1, 1, 384, 480)
    torch.testing.assert_close(centre_crop(masks)[0, 0], patches[0].float())
    assert masks[0, 0, 131, 200] == masks[0, 0, 133, 200]


@pytest.mark.parametrize(
    ("size", "remainder", "sizes"),
    [(10, "serve", [10, 10, 8]), (9, "serve", [9, 9, 9, 1]), (9, "join", [9, 9, 10]), (10, "join", [10, 10, 8]),
     (8, "drop", [8, 8, 8]), (28, "join", [28]), (40, "serve", [28]), (40, "drop", [])],
)  # fmt: skip
def test_batches_serve_every_lesion_once(phantom_ham, size, remainder, sizes):
    prepared = LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")
    lesions = LesionLoader(prepared, prepared.rows("train"), "ellipse", (128, 128), CPU)
    order = np.random.default_rng(0).permutation(28)
    batches = list(lesions.batches(size, order, remainder))
    assert [len(batch.rows) for batch in batches] == sizes
    served = [row for batch in batches for row in batch.rows]
    assert served == list(lesions.rows[order])[: sum(sizes)]
    for batch in batches[:1]:
        masks = prepared.array("ellipse")[batch.rows]
        np.testing.assert_array_equal(centre_crop(batch.masks)[:, 0], masks)
        np.testing.assert_array_equal(batch.clusters, prepared.clusters()[batch.rows])


def test_halves_part_a_batch_in_order():
    batch = Batch(torch.arange(8), torch.arange(8), torch.arange(8), np.arange(8))
    first, second = batch.halves()
    assert (first.rows.tolist(), second.images.tolist()) == ([0, 1, 2, 3], [4, 5, 6, 7])


@pytest.mark.parametrize("share", [World(), World(0, 2), World(1, 2)])
def test_rows_kept_on_the_device_are_those_read_from_the_map(phantom_ham, monkeypatch, share):
    prepared = LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")
    order = np.random.default_rng(1).permutation(28)
    lesions = LesionLoader(prepared, prepared.rows("train"), "grabcut", (128, 128), CPU, share)
    read = list(lesions.batches(8, order))
    predicted = list(lesions.images(8))
    monkeypatch.setattr(LesionLoader, "_fits", lambda *_: True)
    for ours, theirs in zip(lesions.batches(8, order), read, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)
    for (images, rows), (others, other_rows) in zip(lesions.images(8), predicted, strict=True):
        assert torch.equal(images, others)
        np.testing.assert_array_equal(rows, other_rows)


def test_prediction_sees_the_images_that_training_sees(phantom_ham):
    prepared = LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")
    lesions = LesionLoader(prepared, prepared.rows("val"), "ellipse", (144, 128), CPU)
    trained, predicted = next(lesions.batches(8)), next(lesions.images(8))
    assert torch.equal(trained.images, predicted[0])
    np.testing.assert_array_equal(trained.rows, predicted[1])


@pytest.mark.parametrize("halves", [False, True])
def test_processes_share_every_batch_out(phantom_ham, halves):
    prepared = LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")
    rows = prepared.rows("train")
    shared = [LesionLoader(prepared, rows, "ellipse", (128, 128), CPU, World(rank, 3), halves) for rank in range(3)]
    parts = [list(lesions.batches(10, None, "join")) for lesions in shared]
    for number, together in enumerate(zip(*parts, strict=True)):
        served = np.concatenate([part.rows for part in together])
        np.testing.assert_array_equal(np.sort(served), rows[10 * number : 10 * number + 10])
        # A mean over all lesions is the weighted mean of the processes' means.
        means = [part.weight * part.rows.mean() for part in together]
        assert np.mean(means) == pytest.approx(served.mean())
        if halves:
            first = np.concatenate([part.halves()[0].rows for part in together])
            np.testing.assert_array_equal(np.sort(first), rows[10 * number : 10 * number + len(served) // 2])
