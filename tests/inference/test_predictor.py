"""Checkpoints of any method predict patches; their own recipe decides how."""

import numpy as np
import pytest
import torch

from common.inference.predictor import Predictor
from common.model import build_network
from common.recipe import A1, A1CLASS, ACOSEG, DatasetInfo
from common.training.checkpoint import save_checkpoint, save_tensors
from common.utils.errors import UserError

DEFAULTS = {"encoder": None, "canvas": None, "protocol": None, "device": "cpu", "precision": "fp32"}
OWN = {"encoder": "resnet18", "canvas": [128, 144], "protocol": "corrected", "dataset": "Toy"}


@pytest.fixture
def toy(tmp_path):
    return DatasetInfo("Toy", tmp_path, "data", "toy_data.py", 4, "truth")


@pytest.mark.parametrize("method", [A1, A1CLASS, ACOSEG], ids=str)
def test_settings_come_from_the_checkpoint(method, toy, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "a.pt", build_network(method, "resnet18", 7), OWN)
    predictor = Predictor.open(tmp_path / "a.pt", toy, **DEFAULTS)
    trained = predictor.trained
    assert (trained.method, trained.encoder, trained.canvas, trained.protocol) == (
        method, "resnet18", (128, 144), "corrected")  # fmt: skip
    patches = [np.random.default_rng(i).integers(0, 256, (120, 120, 3)).astype(np.uint8) for i in range(9)]
    found = predictor.probabilities(patches)
    assert (found.shape, found.dtype) == ((9, 120, 120), np.float32)
    assert 0 < found.min() < found.max() < 1
    # A patch's answer does not depend on its neighbours in the batch: the ninth goes alone.
    np.testing.assert_allclose(predictor.probabilities(patches[8:])[0], found[8], atol=1e-5)


def test_a_released_checkpoint_takes_flags(toy, tmp_path):
    save_tensors(tmp_path / "a.pt", {"model_dict": build_network(A1, "resnet18", 1).state_dict()})
    flags = DEFAULTS | {"encoder": "resnet18", "canvas": (128, 128), "protocol": "corrected"}
    trained = Predictor.open(tmp_path / "a.pt", toy, **flags).trained
    assert (trained.encoder, trained.canvas, trained.protocol) == ("resnet18", (128, 128), "corrected")
    with pytest.raises(UserError, match="pass --encoder"):
        Predictor.open(tmp_path / "a.pt", toy, **DEFAULTS)  # the published resnet101


def test_a_checkpoint_of_another_dataset_is_refused(toy, tmp_path):
    save_checkpoint(tmp_path / "a.pt", build_network(A1, "resnet18", 1), OWN | {"dataset": "Other"})
    with pytest.raises(UserError, match="was trained on Other, not on Toy"):
        Predictor.open(tmp_path / "a.pt", toy, **DEFAULTS)
