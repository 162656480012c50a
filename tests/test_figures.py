"""Pictures: every lesion and every checkpoint is drawn, in colours that are right."""

import cv2
import numpy as np
import pytest
import torch

from common import figures
from common.checkpoint import save_checkpoint
from common.errors import UserError
from common.model import build_network
from common.recipe import A1, ACOSEG


def test_images_are_shown_as_they_look():
    image = np.zeros((120, 120, 3), np.uint8)
    image[..., 0] = 200
    assert figures.display_image(image, "bgr")[0, 0].tolist() == [0, 0, 200]
    assert figures.display_image(image, "rgb")[0, 0].tolist() == [200, 0, 0]
    assert figures.display_image(image.astype(np.float32), "slices")[0, 0].tolist() == [0, 0, 0]


def test_an_outline_surrounds_its_mask_and_leaves_its_inside():
    mask = np.zeros((120, 120), np.uint8)
    mask[40:80, 40:80] = 1
    drawn = figures.outline(np.full((120, 120, 3), 9, np.uint8), mask, figures.BLUE)
    assert drawn.shape == (240, 240, 3)
    assert tuple(drawn[120, 80]) == figures.BLUE
    assert drawn[120, 120].tolist() == drawn[10, 10].tolist() == [9, 9, 9]


def test_dice_by_hand():
    assert figures.dice(np.array([1, 1, 0]), np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert np.isnan(figures.dice(np.zeros(3, int), np.zeros(3, int)))


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
