"""The DeepLesion recipes are those of FACTS.md section 2, and an evaluation always says what it scores against."""

import importlib

import cv2
import numpy as np
import pytest

from common.recipe import A1, A1CLASS, ACOSEG
from common.utils.files import read_csv
from helpers import train_and_score

# FACTS.md section 2, column DeepLesion
RECIPES = {
    "deeplesion_A1": (A1, "checkpoint.pt", {"mask": 100.0}, 1e-3, 10, 1),
    "deeplesion_A1class": (A1CLASS, "checkpoint_190.pt", {"mask": 50.0, "cluster": 1.0}, 1e-3, 10, 1),
    "deeplesion_A1coseg": (ACOSEG, "checkpoint_coseg_190.pt", {"mask": 1.0}, 1e-5, 8, 8),
}


@pytest.mark.parametrize("script", RECIPES)
def test_published_recipes(script):
    recipe = importlib.import_module(f"{script}_train").RECIPE
    fields = (recipe.method, recipe.checkpoint, recipe.loss_weights, recipe.lr, recipe.batch_size)
    assert (*fields, recipe.scored_multiple) == RECIPES[script]
    assert (recipe.epochs, recipe.patience, recipe.watch, recipe.out_of_patience) == (50, 5, "mask", "best")
    assert (recipe.dataset.name, recipe.dataset.clusters, recipe.dataset.truth) == ("DeepLesion", 190, "grabcut")


def test_training_and_scoring_against_grabcut(phantom_deeplesion, tmp_path, capsys):
    summary = train_and_score(importlib.import_module("deeplesion_A1_train").RECIPE, phantom_deeplesion, tmp_path)
    assert (summary["dataset"], summary["truth"], summary["lesions"]) == ("DeepLesion", "grabcut", 8)
    assert "scored against grabcut, not against human masks" in capsys.readouterr().out


def test_scoring_against_a_folder_of_human_masks(phantom_deeplesion, tmp_path, capsys):
    lesions = [row for row in read_csv(phantom_deeplesion / "prepared" / "lesions.csv") if row["split"] == "val"]
    masks = tmp_path / "masks"
    masks.mkdir()
    for lesion in lesions[:3]:
        mask = np.zeros((512, 512), np.uint8)
        top, left = int(lesion["top"]), int(lesion["left"])
        mask[top + 50 : top + 70, left + 50 : left + 70] = 255
        cv2.imwrite(str(masks / lesion["source"]), mask)
    recipe = importlib.import_module("deeplesion_A1_train").RECIPE
    summary = train_and_score(recipe, phantom_deeplesion, tmp_path, "--truth", str(masks))
    assert (summary["truth"], summary["lesions"]) == ("folder", 3)
    assert f"scored against {masks}" in capsys.readouterr().out
