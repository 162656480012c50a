"""What an evaluation leaves on disk and on screen."""

import numpy as np
import pytest

from common.evaluation.results import print_metrics, write_scores
from common.metrics import EXTRA_METRICS, METRICS
from common.utils.files import read_csv, read_json

FULL = dict.fromkeys((*METRICS, *EXTRA_METRICS), 0.5)
EMPTY = FULL | {"dice": 0.0, "iou": 0.0} | dict.fromkeys(("avd", "centre_error", *EXTRA_METRICS), np.nan)
LESIONS = [{"lesion": "a", "split": "test"}, {"lesion": "=b", "split": "test"}]
ABOUT = {"dataset": "Toy", "label": "A1", "split": "test", "truth": "truth", "settings": {"protocol": "released"}}


@pytest.mark.parametrize(("protocol", "avd"), [("released", 0.5), ("corrected", (0.5 + 120 * 2**0.5) / 2)])
def test_what_is_undefined_is_filled_in_the_mean_and_stays_empty_in_the_csv(protocol, avd, tmp_path):
    summary = write_scores(tmp_path, "a", LESIONS, [FULL, EMPTY], protocol, ABOUT)
    assert summary["avd"] == pytest.approx(avd)
    assert (summary["dice"], summary["lesions"]) == (0.25, 2)
    assert summary["dice_interval"] == [0, 0.5]  # resamples of two lesions reach both ends
    rows = read_csv(tmp_path / "a.csv")
    assert [row["lesion"] for row in rows] == ["a", "=b"]
    assert [(row["dice"], row["avd"]) for row in rows] == [("0.5", "0.5"), ("0.0", "")]
    written = read_json(tmp_path / "a.json")
    assert written.items() >= ABOUT.items()
    assert {name: written[name] for name in METRICS} == {name: summary[name] for name in METRICS}


def test_all_predictions_empty_is_null(tmp_path):
    assert np.isnan(write_scores(tmp_path, "a", LESIONS, [EMPTY, EMPTY], "released", ABOUT)["avd"])
    assert read_json(tmp_path / "a.json")["avd"] is None


def test_on_screen(tmp_path, capsys):
    summary = write_scores(tmp_path, "a", LESIONS, [FULL, EMPTY], "released", ABOUT)
    print_metrics(summary | {"published": dict.fromkeys(METRICS, (12.3, 0.4))}, "truth")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "Toy A1, 2 test lesions, released"
    assert lines[1] == "  dice              25.00 %   paper 12.30     (95 % of resamples: 0.00 to 50.00)"
    assert lines[5] == "  avd                0.50 px  paper 12.30"
    print_metrics(summary | {"truth": "grabcut"}, "grabcut")
    assert "released, scored against grabcut, not against human masks" in capsys.readouterr().out
