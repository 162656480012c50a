"""Every picture's command: what is drawn, how networks are told apart, and what is said of bad input."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from test_canvas_sizes import experiment

from common.data.dataset import LesionDataset
from common.model import build_network
from common.recipe import A1, A1CLASS, ACOSEG
from common.report.figures import cli as figures
from common.report.figures.galleries import predict
from common.report.figures.page import DPI, WIDTH
from common.training.checkpoint import save_checkpoint
from common.utils.errors import UserError
from common.utils.files import ROOT, write_csv

SETTINGS = {"encoder": "resnet18", "canvas": [128, 128], "loss_weights": {"mask": 50.0, "cluster": 1.0}}


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """A folder with a checkpoint of each method, and A1 trained on the truth."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    for name, method, target in (("A1", A1, "ellipse"), ("Acoseg", ACOSEG, "ellipse"), ("full", A1, "truth"),
                                 ("A1class", A1CLASS, "ellipse")):  # fmt: skip
        network = build_network(method, "resnet18", 4)
        save_checkpoint(folder / f"{name}.pt", network, {**SETTINGS, "method": method.name, "target": target})
    return folder


def draw(out: Path, *arguments: object) -> np.ndarray:
    figures.main([*map(str, arguments), "--out", str(out)])
    picture = cv2.imread(str(out))
    assert picture.shape[1] == WIDTH * DPI
    assert picture.std() > 15
    return picture


def test_results_of_two_folders(phantom_ham, folder, networks, tmp_path, capsys):
    skin = phantom_ham / "prepared"
    block = ["--rows", 2, skin, networks / "A1.pt", networks / "Acoseg.pt"]
    one = draw(tmp_path / "a.png", "results", *block)
    two = draw(tmp_path / "a.png", "results", *block, folder, networks / "A1.pt")
    assert two.shape[0] > 1.8 * one.shape[0]
    assert "a.png written: 4 lesions" in capsys.readouterr().out


def test_networks_of_one_method_are_told_apart(phantom_ham, networks):
    files = [networks / f"{name}.pt" for name in ("A1", "full", "Acoseg", "A1")]
    predicted = predict(LesionDataset.open(phantom_ham / "prepared"), files, "test", 2)
    assert list(predicted.masks) == ["A1", "A1\ntrained on truth", "ACoseg", f"A1\n{networks.name}/A1"]
    assert all(masks.shape == (2, 120, 120) for masks in predicted.masks.values())


def test_lesions_seen_in_training_are_told(phantom_ham, tmp_path, capsys):
    dataset = LesionDataset.open(phantom_ham / "prepared")
    groups = {"train": dataset.groups(dataset.rows("test")), "val": []}
    save_checkpoint(tmp_path / "a.pt", build_network(A1CLASS, "resnet18", 4), {**SETTINGS, "groups": groups})
    predict(dataset, [tmp_path / "a.pt"], "test", 2)
    assert "warning: 2 of these 2 lesions were seen in the training of" in capsys.readouterr().err


def test_networks_of_other_preprocessing_are_refused(phantom_ham, networks, tmp_path):
    prepared, settings = phantom_ham / "prepared", {"preprocessing": {"channels": "bgr", "window": [50, 400]}}
    save_checkpoint(tmp_path / "a.pt", build_network(A1CLASS, "resnet18", 4), {**SETTINGS, **settings})
    for picture in ("results", "overview"):
        with pytest.raises(UserError, match=r"a\.pt was trained with window \[50, 400\], but .* was made with None"):
            draw(tmp_path / "a.png", picture, prepared, tmp_path / "a.pt")


def test_networks_of_another_dataset_are_refused(phantom_ham, tmp_path):
    save_checkpoint(tmp_path / "a.pt", build_network(A1CLASS, "resnet18", 4), {**SETTINGS, "dataset": "LiTS"})
    with pytest.raises(UserError, match=r"a\.pt was trained on LiTS, not on HAM10000; use it for LiTS"):
        draw(tmp_path / "a.png", "results", phantom_ham / "prepared", tmp_path / "a.pt")


def test_the_other_pictures(phantom_ham, folder, networks, tmp_path, capsys):
    prepared = phantom_ham / "prepared"
    draw(tmp_path / "a.png", "overview", prepared, networks / "A1class.pt")
    draw(tmp_path / "a.png", "clusters", prepared, folder, "--rows", 2, "--members", 2)
    row = {"epoch": 1, "best": 1, "train_total": 2, "val_mask": 0.5, "val_dice": 0.7}
    write_csv(tmp_path / "x.history.csv", [row], list(row))
    draw(tmp_path / "a.png", "curves", tmp_path / "x.history.csv")
    draw(tmp_path / "a.png", "canvas", experiment(tmp_path / "small", 128, 128, 0.8))
    assert "| 128x128 | 2 | 4 | 80.50±0.71 |" in capsys.readouterr().out


def test_bad_input(phantom_ham, networks, tmp_path):
    prepared, out = str(phantom_ham / "prepared"), ["--out", str(tmp_path / "a.png")]
    with pytest.raises(UserError, match="missing or unfinished"):
        figures.main(["results", str(tmp_path), "a.pt", *out])
    with pytest.raises(UserError, match="does not exist"):
        figures.main(["results", prepared, str(tmp_path / "a.pt"), *out])
    with pytest.raises(UserError, match=r"A1\.pt is no prepared folder"):
        figures.main(["results", str(networks / "A1.pt"), prepared, *out])
    with pytest.raises(UserError, match="--rows: '0' is not a whole number above 0"):
        figures.main(["results", prepared, "a.pt", *out, "--rows", "0"])
    with pytest.raises(UserError, match="--members: '0' is not"):
        figures.main(["clusters", prepared, *out, "--members", "0"])
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("picture", ["overview", "clusters", "results", "curves", "canvas"])
def test_help_from_anywhere_without_slow_imports(picture, tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT / "common"), "figures", picture, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "--out FILE.png" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "common.data.dataset" in imported
    assert not imported & {"torch", "sklearn", "matplotlib"}
