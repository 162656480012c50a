"""Evaluation: what is scored, against what, and what is written."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import HAM_A1_train
import HAM_Acoseg_train
import HAM_data
from common.data.dataset import LesionDataset
from common.data.loader import LesionLoader
from common.evaluation import evaluate as module
from common.evaluation.evaluate import evaluate
from common.metrics import EXTRA_METRICS, METRICS
from common.model import build_network
from common.recipe import A1, ACOSEG
from common.run.cli import parse_eval
from common.training.checkpoint import open_trained, save_checkpoint
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json
from common.utils.provenance import sha256


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """Untrained networks: what is scored does not matter here, only how."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(3)
    for method in (A1, ACOSEG):
        recipe = {"encoder": "resnet18", "canvas": [128, 128], "seed": 3, "target": "ellipse"}
        save_checkpoint(folder / f"{method.name}.pt", build_network(method, "resnet18", 4), recipe)
    return folder


def _evaluate(recipe, checkpoint: Path, data: Path, results: Path, *flags: str) -> dict:
    arguments = ["--checkpoint", str(checkpoint), "--data", str(data), "--results", str(results), *flags]
    run = parse_eval(recipe, None, [*arguments, "--precision", "fp32"])
    evaluate(run)
    return run


def test_what_is_written(checkpoints, phantom_ham, tmp_path, capsys):
    _evaluate(HAM_A1_train.RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path)
    summary, rows = read_json(tmp_path / "A1.json"), read_csv(tmp_path / "A1.csv")
    assert {
        *METRICS,
        *EXTRA_METRICS,
        "lesions",
        "dice_interval",
        "iou_interval",
        "settings",
        "versions",
    } <= summary.keys()
    assert summary["lesions"] == len(rows) == 4
    assert list(rows[0]) == ["lesion", "split", *METRICS, *EXTRA_METRICS]
    assert summary["dice"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]))
    assert 0 <= summary["dice_interval"][0] <= summary["dice"] <= summary["dice_interval"][1] <= 1
    assert summary["checkpoint"]["sha256"] == sha256(checkpoints / "A1.pt")
    assert summary["settings"]["canvas"] == [128, 128]
    assert (summary["settings"]["seed"], summary["truth"], summary["settings"]["protocol"]) == (3, "truth", "released")
    shown = capsys.readouterr().out
    assert re.search(rf"dice +{summary['dice'] * 100:.2f} %", shown)
    assert re.search(rf"avd +{summary['avd']:.2f} px", shown)


def test_a_perfect_network_scores_perfectly(checkpoints, phantom_ham, tmp_path, monkeypatch):
    class Oracle(torch.nn.Module):
        """Answers with the masks of the rows in turn."""

        def __init__(self, masks):
            super().__init__()
            self.masks = iter(masks)

        def forward(self, images):
            masks = [torch.nn.functional.pad(torch.from_numpy(next(self.masks)).float(), (4, 4, 4, 4)) for _ in images]
            return {"mask": torch.stack(masks)[:, None] - 0.5}

    prepared = LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")
    masks = prepared.array("truth")[prepared.rows("test")].copy()
    load = module.load_trained

    def perfect(run):
        trained = load(run)
        object.__setattr__(trained, "network", Oracle(masks))
        return trained

    monkeypatch.setattr(module, "load_trained", perfect)
    _evaluate(HAM_A1_train.RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--batch-size", "3")
    summary = read_json(tmp_path / "A1.json")
    assert (summary["iou"], summary["dice"], summary["vs"]) == (1, 1, 1)
    assert (summary["avd"], summary["centre_error"], summary["perimeter_error"]) == (0, 0, 0)


def test_released_coseg_scores_a_multiple_of_8_and_corrected_all(checkpoints, phantom_ham, tmp_path, capsys):
    _evaluate(HAM_Acoseg_train.RECIPE, checkpoints / "Acoseg.pt", phantom_ham, tmp_path, "--split", "train")
    assert read_json(tmp_path / "Acoseg.train.json")["lesions"] == 24
    assert "leaves out the last 4 of 28" in capsys.readouterr().out
    with pytest.raises(UserError, match="scores lesions by the 8, and the split test has 4"):
        _evaluate(HAM_Acoseg_train.RECIPE, checkpoints / "Acoseg.pt", phantom_ham, tmp_path)

    corrected = tmp_path / "prepared"
    arguments = ["--data", str(phantom_ham), "--prepared", str(corrected), "--clusters", "4", "--no-grabcut"]
    HAM_data.main([*arguments, "--protocol", "corrected"])
    flags = ["--prepared", str(corrected), "--protocol", "corrected", "--split", "train"]
    _evaluate(HAM_Acoseg_train.RECIPE, checkpoints / "Acoseg.pt", phantom_ham, tmp_path, *flags)
    assert read_json(tmp_path / "Acoseg.train.json")["lesions"] % 8 != 0


@pytest.mark.parametrize("name", ["ellipse", "grabcut"])
def test_other_truths_are_named(checkpoints, phantom_ham, tmp_path, capsys, name):
    _evaluate(HAM_A1_train.RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--truth", name, "--limit", "2")
    assert read_json(tmp_path / "A1.json")["truth"] == name
    assert f"scored against {name}, not against human masks" in capsys.readouterr().out


def test_a_truth_that_is_none_is_refused(checkpoints, phantom_ham, tmp_path):
    with pytest.raises(UserError, match="--truth nowhere is neither"):
        _evaluate(HAM_A1_train.RECIPE, checkpoints / "A1.pt", phantom_ham, tmp_path, "--truth", "nowhere")
    assert not list(tmp_path.iterdir())


def test_only_figures_are_kept_and_processes_give_the_same(checkpoints, phantom_ham, monkeypatch):
    run = parse_eval(
        HAM_A1_train.RECIPE, None, ["--checkpoint", str(checkpoints / "A1.pt"), "--data", str(phantom_ham)]
    )
    trained = module.load_trained(run)
    prepared = LesionDataset.open_for(run.prepared, HAM_data.DATASET, "released")
    lesions = LesionLoader(prepared, prepared.rows("test"), "ellipse", (128, 128), torch.device("cpu"))
    trained.network.eval()
    scores = module.score(trained, lesions, prepared.array("truth"), 3, "fp32")
    assert [row for row, _ in scores] == list(lesions.rows)
    assert len(json.dumps(scores[0])) < 400
    monkeypatch.setattr(module, "_scorers", lambda device: 2)
    shared_out = module.score(trained, lesions, prepared.array("truth"), 3, "fp32")
    assert json.dumps(shared_out) == json.dumps(scores)  # NaN is not equal to itself


def test_a_batch_is_handed_out_once_the_next_is_under_way(checkpoints, phantom_ham):
    prepared = LesionDataset.open_for(phantom_ham / "prepared", HAM_data.DATASET, "released")
    trained = open_trained(checkpoints / "A1.pt")
    lesions = LesionLoader(prepared, prepared.rows("val"), "ellipse", (128, 128), torch.device("cpu"))
    asked = []
    trained.network.eval().register_forward_hook(lambda *_: asked.append(1))
    begun, rows = [], []
    for of_batch, masks in module.predictions(trained, lesions, 3, "fp32"):
        begun.append(len(asked))
        rows += of_batch.tolist()
        assert masks.shape == (len(of_batch), 120, 120)
    assert begun == [2, 3, 3]
    assert rows == lesions.rows.tolist()
