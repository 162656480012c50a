"""The published recipes, as in FACTS.md section 2."""

import pytest

import deeplesion_A1_train
import deeplesion_A1class_train
import deeplesion_A1coseg_train
import deeplesion_A1recist_train
import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
import HAM_Acoseg_train
import lits_A1class_train
import lits_A1recist_train
from common.recipe import METHODS, PLAIN

CLASS_WEIGHTS = {"mask": 50, "cluster": 1}


@pytest.mark.parametrize(
    ("recipe", "label", "weights", "lr", "batch_size", "patience", "watch", "checkpoint", "kept", "multiple"),
    [
        (HAM_A1_train.RECIPE, "A1", {"mask": 100}, 1e-3, 10, 5, "mask", "ham_a1.pt", "best", 1),
        (HAM_A1class_train.RECIPE, "A1+L", CLASS_WEIGHTS, 1e-3, 10, 5, "mask", "ham_a1class.pt", "last", 1),
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


def test_what_distinguishes_the_methods():
    assert METHODS["A1class"].cluster_head
    assert METHODS["Acoseg"].paired
    assert METHODS["Acoseg"].clip_norm == 0.05
    assert [name for name, method in METHODS.items() if method.accumulates] == ["Acoseg"]
    assert [name for name, method in METHODS.items() if method.flags] == ["A1recist"]
    assert METHODS["A1recist"].flags.keys() <= {*PLAIN, "target"}


@pytest.mark.parametrize(
    ("script", "checkpoint"),
    [
        (HAM_A1recist_train, "ham_a1recist.pt"),
        (lits_A1recist_train, "lits_a1recist.pt"),
        (deeplesion_A1recist_train, "deeplesion_a1recist.pt"),
    ],
)
def test_the_recipe_of_a1_r_is_the_same_on_all_datasets(script, checkpoint):
    recipe = script.RECIPE
    assert (recipe.method.label, recipe.checkpoint) == ("A1+R", checkpoint)
    assert recipe.loss_weights == {"mask": 1, "overlap": 1}
    assert (recipe.lr, recipe.batch_size, recipe.epochs, recipe.patience) == (3e-4, 10, 2, 2)
    assert (recipe.watch, recipe.out_of_patience, recipe.scored_multiple) == ("mask", "best", 1)
    assert (recipe.published, recipe.released) == ((), None)


@pytest.mark.parametrize(("steps", "epochs"), [(701, 2), (400, 2), (399, 3), (20, 40), (1, 800)])
def test_few_lesions_are_seen_in_more_epochs_by_a1_r(steps, epochs):
    """800 steps at least."""
    assert HAM_A1recist_train.RECIPE.epochs_of(steps) == epochs
    assert HAM_A1recist_train.RECIPE.epochs_of(steps, outlines=True) == epochs + 1
    assert HAM_A1_train.RECIPE.epochs_of(steps) == HAM_A1_train.RECIPE.epochs_of(steps, outlines=True) == 50


@pytest.mark.parametrize(
    ("script", "clusters", "name"),
    [
        (deeplesion_A1class_train, 190, "checkpoint_190.pt"),
        (deeplesion_A1class_train, 3, "checkpoint_3.pt"),
        (lits_A1class_train, 3, "LiTS_A1class_3.pt"),
        (lits_A1class_train, 40, "LiTS_A1class_40.pt"),
        (HAM_A1class_train, 3, "ham_a1class_3.pt"),
        (HAM_A1class_train, 45, "ham_a1class.pt"),
        (deeplesion_A1_train, 3, "checkpoint.pt"),
        (deeplesion_A1coseg_train, 3, "checkpoint_coseg_190.pt"),  # without a cluster head K is no matter
    ],
)
def test_a_checkpoints_name_tells_a_k_of_ones_own(script, clusters, name):
    assert script.RECIPE.checkpoint_name(clusters) == name
