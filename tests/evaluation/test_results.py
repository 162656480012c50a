"""What an evaluation leaves on disk and on screen, and how it is read again."""

import gzip
import json

import numpy as np
import pytest

from common.evaluation.results import (
    UNDEFINED_NOTE,
    print_metrics,
    read_evaluation,
    read_groups,
    read_lesion_metrics,
    read_results,
    result_stem,
    write_results,
)
from common.metrics import EXTRA_METRICS, METRICS
from common.report.runs import METHOD_SETTINGS, group_runs
from common.utils.errors import UserError
from common.utils.files import read_csv, read_json
from example_results import result

FULL = dict.fromkeys((*METRICS, *EXTRA_METRICS), 0.5)
EMPTY = FULL | {"dice": 0.0, "iou": 0.0} | dict.fromkeys(("avd", "centre_error", *EXTRA_METRICS), np.nan)
LESIONS = [{"lesion": name, "group": name, "split": "test"} for name in ("a", "=b")]
ABOUT = {"dataset": "Toy", "label": "A1", "split": "test", "truth": "truth", "settings": {"protocol": "released"}}


@pytest.mark.parametrize(("protocol", "avd"), [("released", 0.5), ("corrected", (0.5 + 120 * 2**0.5) / 2)])
def test_what_is_undefined_is_filled_in_the_mean_and_stays_empty_in_the_csv(protocol, avd, tmp_path):
    summary = write_results(tmp_path, "a", LESIONS, [FULL, EMPTY], protocol, ABOUT)
    assert summary["avd"] == pytest.approx(avd)
    assert (summary["dice"], summary["lesions"]) == (0.25, 2)
    assert summary["dice_interval"] == [0, 1]  # two lesions say nothing of others
    rows = read_csv(tmp_path / "a.csv")
    assert [row["lesion"] for row in rows] == ["a", "=b"]
    assert [(row["dice"], row["avd"]) for row in rows] == [("0.5", "0.5"), ("0", "")]
    written = read_json(tmp_path / "a.json")
    assert written.items() >= ABOUT.items()
    assert {name: written[name] for name in METRICS} == {name: summary[name] for name in METRICS}


def test_what_sets_a_result_apart_is_in_its_files_names():
    assert result_stem("a") == result_stem("a", "test", noise=0, seed=3) == "a"
    assert result_stem("a", "val", tta=True) == "a.val.tta"
    assert result_stem("a", noise=2.5) == "a.noise2.5"
    everything = {"limit": 20, "truth": "masks", "noise": 10, "seed": 1, "tta": True}
    assert result_stem("a", "val", **everything) == "a.val.limit20.against_masks.noise10s1.tta"


def test_what_was_written_is_read_again(tmp_path):
    write_results(tmp_path, "a", LESIONS, [FULL | {"dice": 2 / 3}, EMPTY], "released", ABOUT)
    (evaluation,) = read_results([tmp_path])
    assert evaluation["versions"].keys() >= {"python", "torch", "numpy"}
    assert read_lesion_metrics(evaluation, "dice").to_dict() == {"a": 0.666667, "=b": 0.0}
    assert read_lesion_metrics(evaluation, "avd").to_dict() == {"a": 0.5}


def test_the_lesions_of_a_patient_are_drawn_together(tmp_path):
    lesions = [{"lesion": name, "group": group, "split": "test"} for name, group in ("aP", "bP", "cQ", "dR")]
    scores = [FULL | {"dice": value} for value in (0.50, 0.54, 0.50, 0.54)]
    summary = write_results(tmp_path, "a", lesions, scores, "released", ABOUT)
    # A lesion's mean is 0.52; the patients' sums miss it by 0, -0.02 and 0.02. Student's t has 2 degrees of freedom.
    half = 4.3027 * np.sqrt(3 / 2 * (0.02**2 + 0.02**2)) / 4
    assert summary["dice_interval"] == pytest.approx([0.52 - half, 0.52 + half], abs=1e-5)


def test_the_rows_may_be_compressed(tmp_path):
    lesions = [row | {"group": "patient"} for row in LESIONS]
    write_results(tmp_path, "a.noise5", lesions, [FULL, EMPTY], "released", ABOUT)
    (evaluation,) = read_results([tmp_path])
    table = tmp_path / "a.noise5.csv"
    compressed = gzip.compress(table.read_bytes())
    table.unlink()
    (tmp_path / "a.noise5.csv.gz").write_bytes(compressed)
    assert read_lesion_metrics(evaluation, "dice").to_dict() == {"a": 0.5, "=b": 0.0}
    assert read_groups(evaluation) == {"a": "patient", "=b": "patient"}


def test_which_lesions_were_scored_travels_with_the_result(tmp_path):
    others = [*LESIONS[:1], {"lesion": "c", "group": "c", "split": "test"}]
    digests = [
        write_results(tmp_path, "a", rows, [FULL] * 2, "released", ABOUT)["scored"] for rows in (LESIONS, others)
    ]
    assert digests[0] == write_results(tmp_path, "b", LESIONS, [EMPTY] * 2, "corrected", ABOUT)["scored"] != digests[1]


def test_all_predictions_empty_is_null_and_explained(tmp_path, capsys):
    summary = write_results(tmp_path, "a", LESIONS, [EMPTY, EMPTY], "released", ABOUT)
    assert np.isnan(summary["avd"])
    assert read_json(tmp_path / "a.json")["avd"] is None
    print_metrics(summary, "truth")
    printed = capsys.readouterr().out
    assert "avd                 nan px" in printed and printed.endswith(f"  {UNDEFINED_NOTE}\n")
    print_metrics(summary | dict.fromkeys(METRICS, 0.5), "truth")
    assert "nan" not in capsys.readouterr().out


def test_on_screen(tmp_path, capsys):
    summary = write_results(tmp_path, "a", LESIONS, [FULL, EMPTY], "released", ABOUT)
    print_metrics(summary | {"published": dict.fromkeys(METRICS, (12.3, 0.4))}, "truth")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "Toy A1, 2 test lesions, released"
    assert lines[1] == "  dice              25.00 %   paper 12.30     (95 % interval: 0.00 to 100.00)"
    assert lines[5] == "  avd                0.50 px  paper 12.30"
    print_metrics(summary | {"truth": "grabcut"}, "grabcut")
    assert "released, scored against grabcut, not against human masks" in capsys.readouterr().out
    print_metrics(summary | {"seen_in_training": 1}, "truth")
    assert "1 of these lesions were seen in training: not a held-out score" in capsys.readouterr().out
    print_metrics(summary | {"truth": "folder"}, "masks")
    assert capsys.readouterr().out.splitlines()[0].endswith("released, scored against masks")


@pytest.mark.parametrize(
    "content",
    ['{"a": 1}', json.dumps(result() | {"settings": "x"}), json.dumps(result() | {"dice": "0.9"}),
     json.dumps({k: v for k, v in result().items() if k != "avd"}), json.dumps(result() | {"lesions": None})],
)  # fmt: skip
def test_what_is_no_evaluation_is_passed_over(content, tmp_path):
    (tmp_path / "a.json").write_text(content)
    assert read_evaluation(tmp_path / "a.json") is None
    with pytest.raises(UserError, match="run an eval script first"):
        read_results([tmp_path])


@pytest.mark.parametrize(
    "content",
    [
        '{"dataset"',
        *(json.dumps(result() | {part: "x"}) for part in ("training", "published", "checkpoint", "versions")),
        json.dumps(result(published={"dice": [80, 1]})),
        json.dumps(result(published=dict.fromkeys(METRICS, (80, "x")))),
        json.dumps(result(checkpoint={"file": "a.pt", "sha256": 5})),
        json.dumps(result(seed=[1])),
        json.dumps(result(prepared=5)),
        json.dumps(result(scored=["a"])),
        json.dumps(result(settings={"target": {}})),
        json.dumps(result(settings={"prompt_noise": "ten"})),
        json.dumps(result(settings={"noise_seed": None})),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_goes_on(content, tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(result()))
    (tmp_path / "bad.json").write_text(content)
    (evaluation,) = read_results([tmp_path])
    assert evaluation["path"] == tmp_path / "a.json"
    assert "bad.json is damaged" in capsys.readouterr().err
    assert group_runs([evaluation])


def test_optional_parts_may_be_null(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(result() | {"training": None, "published": None, "checkpoint": None}))
    (group,) = group_runs(read_results([tmp_path]))
    assert not group.settings.keys() & METHOD_SETTINGS.keys()


def test_no_evaluation_at_all(tmp_path):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        read_results([tmp_path / "nowhere"])


def test_a_damaged_csv_is_named(tmp_path):
    evaluation = {"path": tmp_path / "a.json", "lesions": 2}
    assert read_lesion_metrics(evaluation, "dice").empty
    (tmp_path / "a.csv").write_text("lesion,dice\na,0.5\nb,\n")
    assert read_lesion_metrics(evaluation, "dice").to_dict() == {"a": 0.5}  # what is undefined is left out
    for content in ("a,nine\nb,1\n", "a,1\n", "a,1\nb\n", "a,1\na,1\n", "a,1\nb,1\nc,1\n", ""):
        (tmp_path / "a.csv").write_text(f"lesion,dice\n{content}")
        with pytest.raises(UserError, match=r"a\.csv is damaged"):
            read_lesion_metrics(evaluation, "dice")
    with pytest.raises(UserError, match=r"a\.csv is damaged"):
        read_lesion_metrics(evaluation, "iou")
