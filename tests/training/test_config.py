"""What a training records of its settings, and the files beside its checkpoint."""

import json
from pathlib import Path

import pytest

import HAM_A1_train
import HAM_A1class_train
import HAM_A1recist_train
from common.run.cli import parse_train
from common.training.config import check_settings, finished_path, history_path, state_path
from common.utils.errors import UserError


def test_a_trainings_files_lie_beside_its_checkpoint():
    checkpoint = Path("folder/a.b.pt")
    assert history_path(checkpoint) == Path("folder/a.b.history.csv")
    assert state_path(checkpoint) == Path("folder/a.b.state")
    assert finished_path(checkpoint) == Path("folder/a.b.finished")


def test_a_training_describes_all_that_changes_its_result():
    flags = "--encoder resnet18 --encoder-weights weights.pth --canvas 128x144 --clusters 4 --limit 9 --lr 0.5"
    settings = parse_train(HAM_A1class_train.RECIPE, None, flags.split()).describe()
    assert settings == {
        "dataset": "HAM10000", "method": "A1class", "clusters": 4, "encoder": "resnet18", "encoder_weights": "file",
        "canvas": [128, 144], "protocol": "released", "target": "ellipse", "prompt": "none", "outlines": None,
        "flips": False, "jitter": 0.0, "average": 0.0, "falling": False, "loss_weights": {"mask": 50, "cluster": 1},
        "lr": 0.5, "batch_size": 10, "epochs": 50, "patience": 5, "watch": "mask", "seed": 0, "limit": 9,
    }  # fmt: skip
    assert json.loads(json.dumps(settings)) == settings


def test_encoder_weights_are_known_by_their_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (
        parse_train(HAM_A1_train.RECIPE, None, ["--encoder-weights", str(tmp_path / name)]).describe() for name in "abc"
    )
    assert a["encoder_weights"] == "file 6b86b273"  # sha256sum
    check_settings(tmp_path, a, b, "")
    with pytest.raises(UserError, match=r"was made with encoder_weights file 6b86b273, not file \w{8}; train anew$"):
        check_settings(tmp_path, a, c, "train anew")
    check_settings(tmp_path, {"encoder_weights": "file"}, c, "")  # of an earlier version
    check_settings(tmp_path, c, {"encoder_weights": "file"}, "")  # the file is gone
    with pytest.raises(UserError, match="encoder_weights file, not none"):
        check_settings(tmp_path, {"encoder_weights": "file"}, {"encoder_weights": "none"}, "")
    with pytest.raises(UserError, match="flips False, not True"):
        check_settings(tmp_path, {}, {"flips": True}, "")
    with pytest.raises(UserError, match="was made from other lesions or masks than those prepared now"):
        check_settings(tmp_path, {"prepared": "a"}, {"prepared": "b"}, "")


def test_epochs_that_follow_from_the_lesions_are_said_to():
    assert parse_train(HAM_A1recist_train.RECIPE, None, []).describe()["least_steps"] == 800
    assert "least_steps" not in parse_train(HAM_A1recist_train.RECIPE, None, ["--epochs", "2"]).describe()
