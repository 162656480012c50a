import importlib

import pytest

from common.recipe import A1, A1CLASS, ACOSEG

# FACTS.md section 2, column DeepLesion
RECIPES = {
    "deeplesion_A1": (A1, "checkpoint.pt", {"mask": 100.0}, 1e-3, 10, 1),
    "deeplesion_A1class": (A1CLASS, "checkpoint_190.pt", {"mask": 50.0, "cluster": 1.0}, 1e-3, 10, 1),
    "deeplesion_A1coseg": (ACOSEG, "checkpoint_coseg_190.pt", {"mask": 1.0}, 1e-5, 8, 8),
}


@pytest.mark.parametrize("script", RECIPES)
def test_published_recipes(script):
    recipe = importlib.import_module(f"{script}_train").RECIPE
    found = (recipe.method, recipe.checkpoint, recipe.loss_weights, recipe.lr, recipe.batch_size)
    assert (*found, recipe.scored_multiple) == RECIPES[script]
    assert (recipe.epochs, recipe.patience, recipe.watch, recipe.out_of_patience) == (50, 5, "mask", "best")
    assert (recipe.dataset.name, recipe.dataset.clusters, recipe.dataset.truth) == ("DeepLesion", 190, "grabcut")


@pytest.mark.parametrize("script", RECIPES)
def test_evaluation_is_of_the_same_recipe(script):
    training = importlib.import_module(f"{script}_train")
    assert vars(importlib.import_module(f"{script}_eval"))[f"{script}_train"] is training
