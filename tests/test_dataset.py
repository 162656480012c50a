"""Batches: the published network input, and every lesion where it belongs."""

import numpy as np
import pytest
import torch

import HAM_data
from common.dataset import Batch, LesionBatches, ToCanvas, centre
from common.prepared import Prepared

CPU = torch.device("cpu")


def test_the_network_input_is_the_published_codes(shared, ham_prepared):
    with np.load(shared / "golden" / "ham10000.npz") as golden:
        lesions = LesionBatches(ham_prepared, np.arange(4), "ellipse", (384, 480), CPU)
        images = next(lesions.batches(4)).images
        np.testing.assert_allclose(images[:, :, ::8, ::8], golden["canvas_stride8"], atol=1e-4)
        np.testing.assert_allclose(images[:, :, 132:252:6, 180:300:6], golden["centre_stride6"][:4], atol=1e-4)
        every = LesionBatches(ham_prepared, np.arange(400), "ellipse", (128, 128), CPU)
        for batch in every.batches(50):
            ours = centre(batch.images)[:, :, ::6, ::6]
            np.testing.assert_allclose(ours, golden["centre_stride6"][batch.rows], atol=1e-4)


def test_images_are_divided_by_255_only_where_their_maximum_exceeds_1():
    patches = torch.zeros(2, 120, 120, 3)
    patches[0] = 1.0
    patches[1] = 255.0
    images = ToCanvas((128, 128), CPU).images(patches)
    torch.testing.assert_close(images[0], images[1])
    assert images[0, 0, 0, 0].item() == pytest.approx((1 - 0.485) / 0.229)


def test_masks_are_mirrored_like_images():
    patches = torch.randint(0, 2, (1, 120, 120), dtype=torch.uint8)
    to_canvas = ToCanvas((384, 480), CPU)
    masks = to_canvas.masks(patches)
    assert masks.shape == (1, 1, 384, 480)
    torch.testing.assert_close(centre(masks)[0, 0], patches[0].float())
    assert masks[0, 0, 131, 200] == masks[0, 0, 133, 200]


@pytest.mark.parametrize(
    ("size", "remainder", "sizes"),
    [(10, "serve", [10, 10, 8]), (9, "serve", [9, 9, 9, 1]), (9, "join", [9, 9, 10]), (10, "join", [10, 10, 8]),
     (8, "drop", [8, 8, 8]), (28, "join", [28]), (40, "serve", [28]), (40, "drop", [])],
)  # fmt: skip
def test_batches_serve_every_lesion_once(phantom_ham, size, remainder, sizes):
    prepared = Prepared.open(phantom_ham / "prepared", HAM_data.DATASET, "released")
    lesions = LesionBatches(prepared, prepared.rows("train"), "ellipse", (128, 128), CPU)
    order = np.random.default_rng(0).permutation(28)
    batches = list(lesions.batches(size, order, remainder))
    assert [len(batch.rows) for batch in batches] == sizes
    served = [row for batch in batches for row in batch.rows]
    assert served == list(lesions.rows[order])[: sum(sizes)]
    for batch in batches[:1]:
        masks = prepared.array("ellipse")[batch.rows]
        np.testing.assert_array_equal(centre(batch.masks)[:, 0], masks)
        np.testing.assert_array_equal(batch.clusters, prepared.clusters()[batch.rows])


def test_halves_part_a_batch_in_order():
    batch = Batch(torch.arange(8), torch.arange(8), torch.arange(8), np.arange(8))
    first, second = batch.halves()
    assert (first.rows.tolist(), second.images.tolist()) == ([0, 1, 2, 3], [4, 5, 6, 7])
