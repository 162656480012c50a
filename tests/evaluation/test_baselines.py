"""The weak masks scored like predictions."""

import json

import numpy as np
import pytest
from toy import make, request, thirds

from common.data.preprocess import prepare
from common.evaluation import baselines as floors
from common.metrics import METRICS
from common.report import tables as report
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json


def test_the_floors_of_real_lesions_are_the_published_codes(shared, ham_prepared, tmp_path):
    floors.main([str(ham_prepared.folder), "--results", str(tmp_path), "--split", "all"])
    rows = read_csv(tmp_path / "floor_ellipse.all.csv")
    golden = json.loads((shared / "golden" / "metrics.json").read_text())["ellipse"]["per_lesion"]
    # The golden figures are those of the release's drawn ellipse, ours of the analytic one: IoU 0.999 with each other.
    for figure, near in (("dice", 0.005), ("iou", 0.008), ("vs", 0.01)):
        ours = np.array([float(row[figure]) for row in rows[:60]])
        assert np.abs(ours - [lesion[figure] for lesion in golden]).max() < near
    grabcut = read_json(tmp_path / "floor_grabcut.all.json")
    assert (grabcut["label"], grabcut["lesions"], grabcut["truth"]) == ("GrabCut itself", 400, "truth")


def test_a_perfect_mask_scores_perfectly_and_joins_the_table(tmp_path, capsys):
    # In the toy dataset ellipse and truth are the same; half of them are empty, the first of each kind is not.
    prepare(request(), tmp_path / "prepared", [1, 7, 11, 13, 17, 19], make, thirds, workers=1)
    floors.main([str(tmp_path / "prepared"), "--results", str(tmp_path / "results")])
    summary = read_json(tmp_path / "results" / "floor_ellipse.json")
    assert [summary[figure] for figure in METRICS] == [1, 1, 1, 0, 0, 0]
    report.main([str(tmp_path / "results")])
    assert "| Toy | ellipse itself | 1 | 2 | 100.00 |" in capsys.readouterr().out
    assert not (tmp_path / "results" / "floor_grabcut.json").exists()


def test_without_human_masks_there_is_no_floor(phantom_deeplesion, tmp_path):
    with pytest.raises(UserError, match="has no human masks"):
        floors.main([str(phantom_deeplesion / "prepared"), "--results", str(tmp_path)])


def test_the_published_truth_of_deeplesion_is_the_ellipse(phantom_deeplesion, tmp_path):
    """GrabCut sees 0s and 1s and gives back the ellipse (FACTS.md 4.3): the floor shows it."""
    floors.main([str(phantom_deeplesion / "prepared"), "--results", str(tmp_path), "--truth", "grabcut"])
    summary = read_json(tmp_path / "floor_ellipse.json")
    assert (summary["truth"], summary["dice"]) == ("grabcut", 1)
    assert not (tmp_path / "floor_grabcut.json").exists()
