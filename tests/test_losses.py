"""The multi-task loss, by hand."""

import math

import pytest
import torch

from common.losses import lesion_losses, overlap_loss, weighted_sum


def test_losses_by_hand():
    outputs = {"mask": torch.tensor([[[[0.0, math.log(3)]]]]), "cluster": torch.tensor([[0.0, math.log(3)]])}
    losses = lesion_losses(outputs, torch.tensor([[[[1.0, 1.0]]]]), torch.tensor([0]))
    # Probabilities 1/2 and 3/4 of the mask; 1/4 of cluster 0.
    assert losses["mask"].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert losses["cluster"].item() == pytest.approx(math.log(4))
    assert weighted_sum(losses, {"mask": 50, "cluster": 1}).item() == pytest.approx(
        25 * (math.log(2) + math.log(4 / 3)) + math.log(4)
    )


def test_the_overlap_by_hand():
    logits = torch.tensor([[[[0.0, math.log(3)]]], [[[-99.0, 99.0]]]])  # probabilities 1/2 and 3/4; 0 and 1
    mask = torch.tensor([[[[1.0, 1.0]]], [[[0.0, 1.0]]]])
    assert overlap_loss(logits, mask).item() == pytest.approx((1 - 3.5 / 4.25) / 2)
    losses = lesion_losses({"mask": logits}, mask, torch.tensor([0, 0]), overlap=True)
    assert losses.keys() == {"mask", "overlap"}
    assert losses["overlap"] == overlap_loss(logits, mask)
    assert overlap_loss(torch.full((1, 1, 2, 2), -99.0), torch.zeros(1, 1, 2, 2)) == 0  # nothing, and nothing found


def test_without_the_head_there_is_one_loss():
    losses = lesion_losses({"mask": torch.zeros(2, 1, 4, 4)}, torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))
    assert list(losses) == ["mask"]


def test_good_is_less_than_bad():
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:5, 2:5] = 1
    good, bad = (lesion_losses({"mask": sign * (target * 8 - 4)}, target, torch.tensor([0])) for sign in (1, -1))
    assert good["mask"] < bad["mask"]


def test_a_forgotten_weight_is_an_error():
    with pytest.raises(KeyError):
        weighted_sum({"mask": torch.zeros(()), "cluster": torch.zeros(())}, {"mask": 1.0})


def test_half_precision_outputs_give_float32_losses():
    losses = lesion_losses(
        {"mask": torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)}, torch.ones(1, 1, 4, 4), torch.zeros(1)
    )
    assert losses["mask"].dtype == torch.float32
