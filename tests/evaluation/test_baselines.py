"""The weak masks scored like predictions."""

import json

import numpy as np
import pytest

from common.data.dataset import LesionDataset
from common.data.preprocess import preprocess
from common.evaluation import baselines
from common.metrics import METRICS
from common.report import tables
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json
from toy import make_config, make_lesions, split_in_thirds


def test_the_baselines_of_real_lesions_are_the_published_codes(shared, ham_prepared, tmp_path):
    baselines.main([str(ham_prepared.folder), "--results", str(tmp_path), "--split", "all"])
    rows = read_csv(tmp_path / "baseline_ellipse.all.csv")
    golden = json.loads((shared / "golden" / "metrics.json").read_text())["ellipse"]["per_lesion"]
    # The golden values are those of the release's drawn ellipse, ours of the analytic one: IoU 0.999 with each other.
    for metric, near in (("dice", 0.005), ("iou", 0.008), ("vs", 0.01)):
        ours = np.array([float(row[metric]) for row in rows[:60]])
        assert np.abs(ours - [lesion[metric] for lesion in golden]).max() < near
    grabcut = read_json(tmp_path / "baseline_grabcut.all.json")
    assert (grabcut["label"], grabcut["lesions"], grabcut["truth"]) == ("GrabCut itself", 400, "truth")


def test_a_perfect_mask_scores_perfectly_and_joins_the_table(tmp_path, capsys):
    # In the toy dataset ellipse and truth are the same; half of them are empty, the first of each kind is not.
    preprocess(make_config(), tmp_path / "prepared", [1, 7, 11, 13, 17, 19], make_lesions, split_in_thirds, workers=1)
    baselines.main([str(tmp_path / "prepared"), "--results", str(tmp_path / "results")])
    summary = read_json(tmp_path / "results" / "baseline_ellipse.json")
    assert [summary[metric] for metric in METRICS] == [1, 1, 1, 0, 0, 0]
    tables.main([str(tmp_path / "results")])
    assert "| Toy | ellipse itself | 1 | 2 | 100.00 |" in capsys.readouterr().out
    assert not (tmp_path / "results" / "baseline_grabcut.json").exists()


def test_a_baseline_says_which_lesions_it_is_of(folder, tmp_path):
    scored = []
    for name, limit in (("all", []), ("two", ["--limit", "2"])):
        baselines.main([str(folder), "--results", str(tmp_path / name), *limit])
        scored.append(read_json(tmp_path / name / "baseline_ellipse.json"))
    everything, two = scored
    assert (everything["lesions"], two["lesions"]) == (4, 2)
    assert everything["scored"] != two["scored"]
    assert everything["prepared"] == two["prepared"] == LesionDataset.open(folder).identity
    assert [run["settings"] for run in scored] == [
        {"protocol": "released", "limit": limit, "window": None} for limit in (None, 2)
    ]


def test_without_human_masks_there_is_no_baseline(phantom_deeplesion, tmp_path):
    with pytest.raises(UserError, match="has no human masks"):
        baselines.main([str(phantom_deeplesion / "prepared"), "--results", str(tmp_path)])


def test_the_published_truth_of_deeplesion_is_the_ellipse(phantom_deeplesion, tmp_path):
    """GrabCut sees 0s and 1s and gives back the ellipse (FACTS.md 4.3): the baseline shows it."""
    baselines.main([str(phantom_deeplesion / "prepared"), "--results", str(tmp_path), "--truth", "grabcut"])
    summary = read_json(tmp_path / "baseline_ellipse.json")
    assert (summary["truth"], summary["dice"]) == ("grabcut", 1)
    assert not (tmp_path / "baseline_grabcut.json").exists()
