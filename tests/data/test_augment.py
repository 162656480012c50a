"""Lesions are varied as wholes, and always the same way."""

import numpy as np
import pytest
import torch

from common.data.augment import Augmentation, flip, flip_ends, unflip
from common.weak_masks import quarters_mask

SHAPE = (120, 120)
ENDS = torch.tensor([[[20.0, 30.0], [90.0, 50.0], [50.0, 20.0], [40.0, 70.0]]])  # x, y; oblique, off the centre
LAST = 119


def _vary(augmentation: Augmentation, places: list[int], ends: torch.Tensor | None = ENDS) -> list:
    """Copies of one lesion at some places of an epoch: an image of column and row numbers, the quarters, the ends."""
    row, column = np.indices(SHAPE, dtype=np.float32)
    image = torch.from_numpy(np.stack([column, row, np.zeros(SHAPE, np.float32)], -1))
    mask = torch.from_numpy(quarters_mask(ENDS[0].numpy(), SHAPE))
    count = len(places)
    marks = None if ends is None else ends.repeat(count, 1, 1)
    return list(augmentation(np.array(places), image.repeat(count, 1, 1, 1), mask.repeat(count, 1, 1), marks))


@pytest.fixture(scope="module")
def varied() -> list[torch.Tensor]:
    return _vary(Augmentation(seed=3, epoch=1, flips=True, jitter=0), list(range(64)))


def test_image_mask_and_marks_are_varied_alike(varied):
    """The mark's own mask, and the image's coordinates at the mark's ends, say what became of a lesion."""
    images, masks, ends = varied
    for image, mask, four in zip(images, masks, ends, strict=True):
        np.testing.assert_array_equal(mask, quarters_mask(four.numpy(), SHAPE))
        x, y = four.long().T
        np.testing.assert_array_equal(image[y, x, :2], ENDS[0])


def test_the_eight_symmetries_of_the_square_come_up_alike_often(varied):
    corners = [tuple(image[0, 0, :2].tolist()) + tuple(image[0, LAST, :2].tolist()) for image in varied[0]]
    assert len(set(corners)) == 8
    assert max(map(corners.count, corners)) < 64 / 8 * 2.5


@pytest.mark.parametrize(
    ("draws", "first"),
    [
        ((0, 0, 0), [20, 30]), ((1, 0, 0), [99, 30]), ((0, 1, 0), [20, 89]), ((0, 0, 1), [30, 20]),
        ((1, 0, 1), [30, 99]), ((0, 1, 1), [89, 20]), ((1, 1, 1), [89, 99]),
    ],
)  # fmt: skip
def test_flips_and_transposes_by_hand(draws, first, monkeypatch):
    """Mirrored left to right, up to down, then transposed: (x, y) becomes (119 - x, y), (x, 119 - y), (y, x)."""

    class Drawn:
        def integers(self, high: int, size: int) -> np.ndarray:
            assert (high, size) == (2, 3)
            return np.array(draws)

    monkeypatch.setattr(np.random, "default_rng", lambda _: Drawn())
    images, _, ends = _vary(Augmentation(0, 1, flips=True, jitter=0), [0])
    assert ends[0, 0].tolist() == first
    assert images[0, first[1], first[0], :2].tolist() == [20, 30]


def test_each_view_is_undone():
    """All eight views of one patch in a batch; the marks' ends go where the pixels go."""
    view = torch.cartesian_prod(*[torch.tensor([False, True])] * 3).T
    patches = torch.arange(120 * 120).reshape(1, 120, 120).repeat(8, 1, 1)
    flipped, ends = flip(patches, view), flip_ends(ENDS.repeat(8, 1, 1), view).long()
    assert len({tuple(patch[0, :2].tolist()) for patch in flipped}) == 8
    for patch, four in zip(flipped, ends, strict=True):
        assert patch[four[:, 1], four[:, 0]].tolist() == [30 * 120 + 20, 50 * 120 + 90, 20 * 120 + 50, 70 * 120 + 40]
    assert torch.equal(unflip(flipped, view), patches)
    images = patches[..., None].repeat(1, 1, 1, 3)
    assert torch.equal(flip(images, view), flipped[..., None].repeat(1, 1, 1, 3))


def test_a_place_in_an_epoch_decides_whatever_the_batch():
    augmentation = Augmentation(seed=3, epoch=2, flips=True, jitter=0.1)
    at_once, alone = _vary(augmentation, [7, 8, 9, 7]), _vary(augmentation, [9])
    for values, of_one in zip(at_once, alone, strict=True):
        assert torch.equal(values[2:3], of_one)
        assert torch.equal(values[0], values[3])
    for other in (Augmentation(4, 2, True, 0.1), Augmentation(3, 3, True, 0.1)):
        assert not torch.equal(_vary(other, [9])[2], alone[2])


def test_without_flips_only_the_marks_are_moved():
    images, masks, ends = _vary(Augmentation(0, 1, flips=False, jitter=0.05), list(range(2000)))
    plain = _vary(Augmentation(0, 1, flips=False, jitter=0), [0])
    assert torch.equal(images[:1], plain[0]) and torch.equal(masks[:1], plain[1]) and torch.equal(ENDS, plain[2])
    long = np.hypot(70, 20)
    moved = torch.linalg.vector_norm(ends - ENDS, dim=-1)
    assert moved.square().mean().sqrt() == pytest.approx(0.05 * long, rel=0.02)
    assert (ends - ENDS).mean(0).abs().max() < 0.05 * long * 0.1
    assert _vary(Augmentation(0, 1, flips=True, jitter=0.05), [0], ends=None)[2] is None
