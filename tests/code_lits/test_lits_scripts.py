"""The LiTS recipes are those of FACTS.md section 2; the fault tests run every script."""

import importlib

import pytest

from common.recipe import METHODS
from helpers import train_and_score


def recipe(method):
    return importlib.import_module(f"lits_{method}_train").RECIPE


@pytest.mark.parametrize(
    ("method", "checkpoint", "losses", "lr", "batch", "patience"),
    [
        ("A1", "LITS_A1.pt", {"mask": 1.0}, 1e-3, 10, 5),
        ("A1class", "LiTS_A1class_40.pt", {"mask": 50.0, "cluster": 1.0}, 1e-3, 10, 5),
        ("Acoseg", "LITS_Acoseg.pt", {"mask": 1.0}, 1e-5, 8, 4),
    ],
)
def test_recipes(method, checkpoint, losses, lr, batch, patience):
    script = recipe(method)
    assert (script.method, script.checkpoint, script.loss_weights) == (METHODS[method], checkpoint, losses)
    assert (script.lr, script.batch_size, script.patience) == (lr, batch, patience)
    assert (script.epochs, script.watch, script.out_of_patience, script.scored_multiple) == (50, "dice", "best", 8)
    assert (script.dataset.name, script.dataset.clusters, script.dataset.truth) == ("LiTS", 40, "truth")


def test_training_and_scoring(phantom_lits, tmp_path):
    summary = train_and_score(recipe("A1"), phantom_lits, tmp_path)
    assert (summary["dataset"], summary["truth"], summary["lesions"]) == ("LiTS", "truth", 8)
    assert 0 <= summary["dice"] <= 1
