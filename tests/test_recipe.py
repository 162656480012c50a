"""The published recipes, as in FACTS.md section 2."""

import pytest

import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
from common.recipe import METHODS


@pytest.mark.parametrize(
    ("recipe", "label", "weights", "lr", "batch_size", "patience", "watch", "checkpoint", "kept", "multiple"),
    [
        (HAM_A1_train.RECIPE, "A1", {"mask": 100}, 1e-3, 10, 5, "mask", "ham_a1.pt", "best", 1),
        (
            HAM_A1class_train.RECIPE,
            "A1+L",
            {"mask": 50, "cluster": 1},
            1e-3,
            10,
            5,
            "mask",
            "ham_a1class.pt",
            "last",
            1,
        ),
        (HAM_Acoseg_train.RECIPE, "ACoseg", {"mask": 1}, 1e-5, 8, 5, "mask", "ham_coseg.pt", "best", 8),
    ],
)
def test_ham_recipes(recipe, label, weights, lr, batch_size, patience, watch, checkpoint, kept, multiple):
    assert recipe.method.label == label
    assert recipe.loss_weights == weights
    assert (recipe.lr, recipe.batch_size, recipe.epochs, recipe.patience) == (lr, batch_size, 50, patience)
    assert (recipe.watch, recipe.checkpoint, recipe.out_of_patience) == (watch, checkpoint, kept)
    assert recipe.scored_multiple == multiple
    assert recipe.dataset.clusters == 45


def test_what_parts_the_methods():
    assert METHODS["A1class"].cluster_head
    assert METHODS["Acoseg"].paired
    assert METHODS["Acoseg"].clip_norm == 0.05
    assert [name for name, method in METHODS.items() if method.accumulates] == ["Acoseg"]
