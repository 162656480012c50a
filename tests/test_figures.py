"""Pictures: every lesion and every checkpoint is drawn, in colours that are right."""

import cv2
import pytest
import torch

from common import figures
from common.checkpoint import save_checkpoint
from common.errors import UserError
from common.model import build_network
from common.recipe import A1, ACOSEG


def test_a_picture_of_two_checkpoints(phantom_ham, tmp_path):
    torch.manual_seed(0)
    for method in (A1, ACOSEG):
        recipe = {"encoder": "resnet18", "canvas": [128, 128]}
        save_checkpoint(tmp_path / f"{method.name}.pt", build_network(method, "resnet18", 4), recipe)
    files = [str(tmp_path / "A1.pt"), str(tmp_path / "Acoseg.pt")]
    figures.main([str(phantom_ham / "prepared"), *files, "--out", str(tmp_path / "a.png"), "--rows", "3"])
    picture = cv2.imread(str(tmp_path / "a.png"))
    height, width = picture.shape[:2]
    assert width / height == pytest.approx(5 * 1.7 / (3 * 1.75 + 0.3), rel=0.05)
    assert picture.std() > 20


def test_bad_input(phantom_ham, tmp_path):
    prepared = str(phantom_ham / "prepared")
    with pytest.raises(UserError, match="missing or unfinished"):
        figures.main([str(tmp_path), "a.pt", "--out", "a.png"])
    with pytest.raises(UserError, match="does not exist"):
        figures.main([prepared, str(tmp_path / "a.pt"), "--out", str(tmp_path / "a.png")])
    with pytest.raises(UserError, match="--rows 0"):
        figures.main([prepared, "a.pt", "--out", "a.png", "--rows", "0"])
