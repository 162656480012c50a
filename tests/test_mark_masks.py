"""Masks from end points, compared: a disc's marks give the disc, whichever way it is drawn."""

import numpy as np
import pytest

import mark_masks
from common.data.dataset import LesionDataset
from common.recist import Ellipse
from common.weak_masks import ellipse_mask

SIDE = 14.2
DISC = ellipse_mask(Ellipse(60, 50, 2 * 2**0.5 * SIDE, 2 * 2**0.5 * SIDE, 0), mark_masks.SHAPE)
ENDS = np.array([(60 - SIDE, 50 - SIDE), (60 + SIDE, 50 + SIDE), (60 - SIDE, 50 + SIDE), (60 + SIDE, 50 - SIDE)])


@pytest.mark.parametrize("name", ["ellipse about the crossing point", "ellipse in the box", "quarters, whole"])
def test_a_disc(name):
    assert (mark_masks.MASKS[name](ENDS) == DISC).all()


def test_only_the_box_and_the_quarters_reach_the_ends_of_diameters_that_cross_aside():
    """The long diameter from 20 to 100, the short one, 30 px long, across its first quarter."""
    ends = np.array([(20, 60), (100, 60), (40, 45), (40, 75)], float)
    reach = {name: np.flatnonzero(draw(ends).any(axis=0))[[0, -1]].tolist() for name, draw in mark_masks.MASKS.items()}
    assert reach["ellipse about the crossing point"] == [0, 80]  # 80 px about x = 40
    assert reach["ellipse in the box"] == reach["quarters, whole"] == [20, 100]


def test_moved_marks_are_worse(phantom_ham):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    for draw in mark_masks.MASKS.values():
        exact, moved = (mark_masks.mean_dice(dataset, draw, noise) for noise in (0, 20))
        assert 0.6 < moved < exact < 1
