"""The published recipes, as in FACTS.md section 2, and what a run records of its own."""

import json
from pathlib import Path

import pytest

import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
from common.recipe import METHODS, history_path, state_path
from common.run.cli import parse_train

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


def test_a_trainings_files_lie_beside_its_checkpoint():
    checkpoint = Path("folder/a.b.pt")
    assert history_path(checkpoint) == Path("folder/a.b.history.csv")
    assert state_path(checkpoint) == Path("folder/a.b.state")


def test_a_training_describes_all_that_changes_its_result():
    flags = "--encoder resnet18 --encoder-weights weights.pth --canvas 128x144 --clusters 4 --limit 9 --lr 0.5"
    settings = parse_train(HAM_A1class_train.RECIPE, None, flags.split()).describe()
    assert settings == {
        "dataset": "HAM10000", "method": "A1class", "clusters": 4, "encoder": "resnet18", "encoder_weights": "file",
        "canvas": [128, 144], "protocol": "released", "target": "ellipse", "loss_weights": CLASS_WEIGHTS, "lr": 0.5,
        "batch_size": 10, "epochs": 50, "patience": 5, "watch": "mask", "seed": 0, "limit": 9,
    }  # fmt: skip
    assert json.loads(json.dumps(settings)) == settings
