"""Training: early stopping, what is kept, and what is said of bad input."""

import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch

import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
import HAM_data
from common.run.cli import parse_train
from common.training.checkpoint import load_checkpoint
from common.training.train import EarlyStopping, train
from common.training.trainer import Trainer
from common.utils.errors import UserError
from common.utils.files import read_csv


def test_early_stopping_counts_epochs_without_improvement():
    watcher = EarlyStopping(patience=2, higher_is_better=False)
    assert [watcher.improved(value) for value in (3.0, 2.0, 2.0)] == [True, True, False]
    assert not watcher.out_of_patience
    assert not watcher.improved(math.nan)
    assert watcher.out_of_patience
    assert watcher.best == 2.0


def test_early_stopping_on_dice_wants_more():
    watcher = EarlyStopping(patience=1, higher_is_better=True)
    assert [watcher.improved(value) for value in (0.5, 0.6, 0.6)] == [True, True, False]
    assert watcher.out_of_patience


def _train(phantom_ham: Path, recipe, checkpoint: Path, *flags: str) -> list[dict[str, str]]:
    """A short training of a small network; the rows of its history."""
    small = [
        "--encoder",
        "resnet18",
        "--encoder-weights",
        "none",
        "--canvas",
        "128x128",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--lr",
        "1e-3",
    ]
    arguments = ["--data", str(phantom_ham), "--checkpoint", str(checkpoint), "--clusters", "4", *small, *flags]
    train(parse_train(recipe, None, arguments))
    return read_csv(checkpoint.with_suffix(".history.csv"))


def test_loss_falls_and_the_best_weights_are_kept(phantom_ham, tmp_path):
    history = _train(phantom_ham, HAM_A1class_train.RECIPE, tmp_path / "c.pt", "--epochs", "3")
    losses = [float(row["train_total"]) for row in history]
    assert losses[-1] < losses[0]
    best = min(history, key=lambda row: float(row["val_mask"]))
    assert load_checkpoint(tmp_path / "c.pt").recipe["epoch"] == int(best["epoch"])


@pytest.mark.parametrize(("protocol", "keeps"), [("released", "last"), ("corrected", "best")])
def test_out_of_patience_keeps_the_last_weights_only_as_released(phantom_ham, tmp_path, protocol, keeps, monkeypatch):
    # Scripted validation: the first epoch is the best, then patience runs out in the second.
    figures = iter([{"mask": 1.0, "dice": 0.5}, {"mask": 2.0, "dice": 0.4}])
    monkeypatch.setattr(Trainer, "validate", lambda *_: next(figures))
    prepared = phantom_ham / "prepared"
    if protocol == "corrected":
        prepared = tmp_path / "prepared"
        HAM_data.main(
            [
                "--data",
                str(phantom_ham),
                "--prepared",
                str(prepared),
                "--clusters",
                "4",
                "--protocol",
                "corrected",
                "--no-grabcut",
            ]
        )
    _train(
        phantom_ham,
        HAM_A1class_train.RECIPE,
        tmp_path / "c.pt",
        "--epochs",
        "9",
        "--patience",
        "1",
        "--limit",
        "8",
        "--protocol",
        protocol,
        "--prepared",
        str(prepared),
    )
    assert load_checkpoint(tmp_path / "c.pt").recipe["epoch"] == (2 if keeps == "last" else 1)


def test_the_same_seed_gives_the_same_weights(phantom_ham, tmp_path):
    for name in ("a.pt", "b.pt"):
        _train(phantom_ham, HAM_A1class_train.RECIPE, tmp_path / name, "--limit", "9", "--seed", "5")
    first, second = (load_checkpoint(tmp_path / name).state for name in ("a.pt", "b.pt"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_compiled_network_trains_the_same_weights(phantom_ham, tmp_path, monkeypatch):
    # Traced as --compile does, but run as it stands: generating code takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for name, flags in (("a.pt", []), ("b.pt", ["--compile"])):
        _train(phantom_ham, HAM_A1class_train.RECIPE, tmp_path / name, "--limit", "8", "--precision", "fp32", *flags)
    first, second = (load_checkpoint(tmp_path / name).state for name in ("a.pt", "b.pt"))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "flags", "sentence"),
    [
        (HAM_A1_train.RECIPE, ["--batch-size", "1"], "--batch-size 1 is too small"),
        (HAM_Acoseg_train.RECIPE, ["--batch-size", "7"], "in two halves"),
        (HAM_Acoseg_train.RECIPE, ["--limit", "5"], "at least 8 lesions"),
        (HAM_A1class_train.RECIPE, ["--clusters", "5"], "was made with clusters 4, but 5"),
        (HAM_A1_train.RECIPE, ["--protocol", "corrected"], "--protocol corrected"),
        (HAM_A1_train.RECIPE, ["--prepared", "nowhere"], "run python code_ham/HAM_data.py --prepared nowhere first"),
        (HAM_A1_train.RECIPE, ["--encoder", "resnet17"], "not an encoder"),
        (HAM_A1_train.RECIPE, ["--encoder-weights", "nowhere.pth"], "does not exist"),
        (HAM_A1_train.RECIPE, ["--lr", "1e30"], "diverged"),
    ],
)  # fmt: skip
def test_bad_input_ends_in_one_sentence(phantom_ham, tmp_path, recipe, flags, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        _train(phantom_ham, recipe, tmp_path / "c.pt", *flags)
    assert not (tmp_path / "c.pt").exists()


def test_a_checkpoint_folder_that_cannot_be_written_is_told_before_the_first_epoch(phantom_ham, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't be written to"):
        _train(phantom_ham, HAM_A1_train.RECIPE, tmp_path / "file" / "c.pt")
