"""The weak masks scored like predictions."""

import json

import numpy as np
import pytest

import HAM_data
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
    quarters, ellipse = (read_json(tmp_path / f"baseline_{name}.all.json") for name in ("quarters", "ellipse"))
    assert quarters["label"] == "quarters themselves"
    # Four points of each lesion give what the ellipse fitted to all of its outline gives.
    assert quarters["dice"] == pytest.approx(ellipse["dice"], abs=0.002)


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
    for name, limit in (("baseline_ellipse", []), ("baseline_ellipse.limit2", ["--limit", "2"])):
        baselines.main([str(folder), "--results", str(tmp_path), *limit])
        scored.append(read_json(tmp_path / f"{name}.json"))
    everything, two = scored
    assert (everything["lesions"], two["lesions"]) == (2, 1)  # of 4 and 2, half of which have no outline
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
    summary = read_json(tmp_path / "baseline_ellipse.against_grabcut.json")
    assert (summary["truth"], summary["dice"]) == ("grabcut", 1)
    names = {path.name for path in tmp_path.glob("*.json")}
    assert names == {f"baseline_{name}.against_grabcut.json" for name in ("ellipse", "quarters")}


def test_moved_marks_cost_the_quarters_and_nothing_else_is_scored(phantom_ham, tmp_path):
    prepared, found = str(phantom_ham / "prepared"), {}
    for noise in ("0", "5", "20"):
        baselines.main([prepared, "--results", str(tmp_path / noise), "--split", "all", "--prompt-noise", noise])
        name = "baseline_quarters.all" + (f".noise{noise}" if noise != "0" else "")
        found[noise] = read_json(tmp_path / noise / f"{name}.json")
    assert found["0"]["dice"] > found["5"]["dice"] > found["20"]["dice"] > 0.5
    assert "prompt_noise" not in found["0"]["settings"]
    assert (found["5"]["settings"]["prompt_noise"], found["5"]["settings"]["noise_seed"]) == (5, 0)
    assert len(list((tmp_path / "0").glob("*.json"))) == 3
    assert len(list((tmp_path / "20").glob("*.json"))) == 1


def test_moved_marks_are_drawn_at_the_scale_of_the_prepared_quarters(phantom_ham, tmp_path):
    data = ["--data", str(phantom_ham), "--clusters", "4", "--no-grabcut", "--workers", "1"]
    HAM_data.main([*data, "--prepared", str(tmp_path / "prepared"), "--quarters-scale", "1.4"])
    flags = ["--results", str(tmp_path), "--split", "all"]
    baselines.main([str(tmp_path / "prepared"), *flags])
    baselines.main([str(tmp_path / "prepared"), *flags, "--prompt-noise", "0.001"])
    clean, moved = (read_csv(tmp_path / f"baseline_quarters.all{noise}.csv") for noise in ("", ".noise0.001"))
    for first, second in zip(clean, moved, strict=True):
        assert float(first["dice"]) == pytest.approx(float(second["dice"]), abs=1e-3)


def test_without_marks_there_are_none_to_move(folder, tmp_path):
    (folder / "ends.npy").unlink()
    with pytest.raises(UserError, match=r"ends\.npy does not exist: .*; prepare it again with --force"):
        baselines.main([str(folder), "--results", str(tmp_path), "--prompt-noise", "5"])
