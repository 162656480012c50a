"""Histories are read with what their checkpoints say; only trainings that differ in the seed are averaged."""

import pytest
import torch
from matplotlib.figure import Figure

from common.metrics import METRICS
from common.report.figures.curves import _draw_group, draw_histories, group_histories, read_history
from common.training.checkpoint import save_tensors
from common.training.config import HISTORY
from common.utils.errors import UserError
from common.utils.files import write_csv, write_json

A1 = {"dataset": "Toy", "method": "A1", "canvas": [128, 128], "seed": 0, "epoch": 3, "versions": {"torch": "2"}}


def write_history(folder, stem: str, settings: dict | None = None, dice=(0.5, 0.8, 0.7)):
    rows = [
        {"epoch": epoch, "train_total": 9 / epoch, "val_mask": 1 / epoch, "val_dice": value, "best": int(epoch < 3)}
        for epoch, value in enumerate(dice, 1)
    ]
    if settings is not None:
        weights = {"encoder.conv1.weight": torch.zeros(1)}
        save_tensors(folder / f"{stem}.pt", {"model_dict": weights, "recipe": settings})
    path = folder / f"{stem}{HISTORY}"
    write_csv(path, rows, list(rows[0]))
    return path


def test_a_history_alone_and_with_its_checkpoint(tmp_path):
    alone = read_history(write_history(tmp_path, "mine"))
    assert (alone.dataset, alone.method, alone.settings, alone.best) == ("", "mine", {}, 1)
    assert alone.columns["val_dice"].tolist() == [0.5, 0.8, 0.7]
    trained = read_history(write_history(tmp_path, "a", A1 | {"method": "A1class"}))
    assert (trained.dataset, trained.method, trained.settings) == ("Toy", "A1+L", {"canvas": [128, 128]})


def test_without_its_checkpoint_an_evaluation_says_what_was_trained(tmp_path):
    settings = A1 | {"method": "A1class"}
    evaluation = dict.fromkeys(("dataset", "label", "split", "truth"), "Toy")
    evaluation |= {"lesions": 3, "settings": {}, "training": settings} | dict.fromkeys(METRICS, 0.5)
    path = write_history(tmp_path / "checkpoints", "a")
    write_json(tmp_path / "results" / "a.json", evaluation)
    history = read_history(path)
    assert (history.dataset, history.method, history.settings) == ("Toy", "A1+L", {"canvas": [128, 128]})
    write_json(tmp_path / "checkpoints" / "a.json", evaluation | {"training": A1})  # beside it comes first
    assert read_history(path).method == "A1"


def test_seeds_are_one_label_and_other_settings_are_not(tmp_path):
    settings = [
        A1,
        A1 | {"seed": 1, "epoch": 9},
        A1 | {"canvas": [384, 480]},
        A1 | {"method": "Acoseg", "canvas": [1, 1]},
    ]
    histories = [read_history(write_history(tmp_path, f"r{n}", kind)) for n, kind in enumerate(settings)]
    groups = group_histories([*histories, read_history(write_history(tmp_path, "mine"))])
    assert {dataset: {label: len(group) for label, group in labels.items()} for dataset, labels in groups.items()} == {
        "Toy": {"A1, canvas 128x128": 2, "A1, canvas 384x480": 1, "ACoseg": 1},
        "": {"mine": 1},
    }


def test_trainings_on_other_lesions_are_other_labels(tmp_path):
    other = {"prepared": "b" * 32, "preprocessing": {"channels": "bgr"}, "groups": {"train": ["n1"] * 99}}
    kinds = [A1 | {"prepared": "a" * 32}, A1 | {"seed": 1, **other}]
    groups = group_histories([read_history(write_history(tmp_path, f"r{n}", kind)) for n, kind in enumerate(kinds)])
    assert list(groups["Toy"]) == ["A1, prepared aaaaaaaa", "A1, prepared bbbbbbbb, preprocessing bgr channels"]


def test_the_mean_ends_where_the_shortest_training_does(tmp_path):
    first = read_history(write_history(tmp_path, "a", A1))
    second = read_history(write_history(tmp_path, "b", A1, dice=(0.7, 0.6)))
    axis = Figure().subplots()
    mean = _draw_group(axis, [first, second], "val_dice", 0)
    assert mean.get_xdata().tolist() == [1, 2]
    assert mean.get_ydata() == pytest.approx([60, 70])
    rings = [(*line.get_xdata(), *line.get_ydata()) for line in axis.lines if line.get_marker() == "o"]
    assert rings == [(2, 80), (2, 60)]
    assert len(axis.lines) == 5  # two thin lines, two rings, the mean


def test_the_same_histories_give_the_same_bytes(tmp_path):
    histories = [read_history(write_history(tmp_path, f"s{seed}", A1 | {"seed": seed})) for seed in range(2)]
    for name in ("a.png", "b.png"):
        draw_histories(tmp_path / name, histories)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_bad_input(tmp_path):
    for content in ("", "epoch,best\n1,1\n", "epoch,best,train_total,val_mask,val_dice\n1,1,x,1,1\n"):
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(UserError, match=r"a\.csv is not the history of a training"):
            read_history(tmp_path / "a.csv")
