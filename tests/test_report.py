"""The paper's table: ± and per cent by hand, published rows, and what is never averaged together."""

import json

import pytest

import deeplesion_A1_train
import deeplesion_A1class_train
import deeplesion_A1coseg_train
import HAM_A1_train
import HAM_A1class_train
import HAM_Acoseg_train
import lits_A1_train
import lits_A1class_train
import lits_Acoseg_train
from common import report
from common.errors import UserError
from common.files import read_csv, write_csv
from common.metrics import FIGURES


def result(label="A1", dice=0.8, seed=0, **changes) -> dict:
    settings = {"encoder": "resnet18", "canvas": [128, 128], "protocol": "released", "precision": "fp32"}
    settings |= {"target": "ellipse", "limit": None, "seed": seed} | changes.pop("settings", {})
    figures = dict.fromkeys(FIGURES, 0.5) | {"dice": dice, "avd": 10.0}
    base = {"dataset": "HAM10000", "label": label, "lesions": 40, "split": "test", "truth": "truth"}
    return base | figures | {"settings": settings} | changes


def write(folder, *results):
    for number, content in enumerate(results):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return folder


def test_spread_and_change_by_hand():
    rows = report.group(
        [result(dice=0.80), result(dice=0.82, seed=1), result("A1+L", 0.90), result("A1+L", 0.92, seed=1)]
    )
    lines = report.table(rows)
    # Mean of 80 and 82 is 81; sample standard deviation sqrt(2); 91 is 12.3 % more than 81.
    assert [line[:3] for line in lines] == [["HAM10000", "A1", "2"], ["HAM10000", "A1+L", "2"]]
    assert lines[0][4] == "81.00±1.41"
    assert lines[1][4] == "**91.00±1.41** (+12.3)"
    assert lines[1][8] == "10.00±0.00 (+0.0)"


def test_one_run_has_no_spread_and_a_lower_error_is_better():
    rows = report.group([result(avd=9.0), result("ACoseg", avd=10.0)])
    lines = report.table(rows)
    assert lines[0][8] == "**9.00**"
    assert lines[1][8] == "10.00 (+11.1)"


@pytest.mark.parametrize(
    "other",
    [{"lesions": 39}, {"truth": "ellipse"}, {"split": "val"}, {"settings": {"canvas": [384, 480]}},
     {"settings": {"encoder": "resnet50"}}, {"settings": {"protocol": "corrected"}}, {"settings": {"limit": 5}},
     {"settings": {"target": "truth"}}, {"dataset": "LiTS"}],
)  # fmt: skip
def test_other_settings_are_other_rows_that_say_so(other):
    rows = report.group([result(), result(seed=1), result(**other)])
    assert sorted(len(row.runs) for row in rows) == [1, 2]
    assert len({(row.dataset, row.settings, row.lesions) for row in rows}) == 2


def test_the_published_numbers_are_the_papers():
    recipes = [
        deeplesion_A1_train, deeplesion_A1coseg_train, deeplesion_A1class_train, lits_A1_train, lits_Acoseg_train,
        lits_A1class_train, HAM_A1_train, HAM_Acoseg_train, HAM_A1class_train,
    ]  # fmt: skip
    paper = """
        63.02±1.47 75.36±1.25 80.65±1.60 3.19±0.06 9.21±0.64 7.37±0.24
        62.75±0.42 74.38±0.77 80.58±0.49 5.56±1.19 8.43±0.30 11.84±2.24
        65.53±0.71 77.43±0.57 83.31±0.70 3.09±0.02 7.79±0.38 6.92±0.19
        71.44±0.68 82.68±0.51 89.07±0.64 2.00±0.03 9.58±0.24 9.25±0.17
        71.86±0.34 82.92±0.26 88.81±0.22 1.90±0.06 8.99±0.16 8.90±0.07
        72.76±0.14 83.62±0.09 89.94±0.16 1.96±0.09 8.27±0.05 9.05±0.20
        82.65±0.12 90.01±0.09 91.84±0.03 2.57±0.09 9.20±0.26 10.23±0.17
        83.19±0.86 90.42±0.51 92.10±0.77 2.42±0.03 9.77±0.59 9.61±0.31
        83.51±0.26 90.54±0.22 92.82±0.34 2.52±0.09 8.87±0.40 9.73±0.14"""
    for module, line in zip(recipes, paper.split("\n")[1:], strict=True):
        row = report.Row("", "", "", "", [{"published": dict(zip(FIGURES, module.RECIPE.published, strict=True))}])
        assert report.published_cells(row) == line.split()


def test_files_are_written_and_published_rows_stand_beneath(tmp_path, capsys):
    published = dict(zip(FIGURES, HAM_A1_train.RECIPE.published, strict=True))
    report.main([str(write(tmp_path, result(published=published), result("A1+L")))])
    shown = capsys.readouterr().out
    assert "| HAM10000 | A1 (paper) |  | 82.65±0.12 | 90.01±0.09 |" in shown
    assert [row["model"] for row in read_csv(tmp_path / "table.csv")] == ["A1", "A1 (paper)", "A1+L"]
    assert r"\textbf" in (tmp_path / "table.tex").read_text()
    assert (tmp_path / "table.md").read_text() in shown


def test_a_damaged_file_is_named_and_the_rest_goes_on(tmp_path, capsys):
    write(tmp_path, result())
    (tmp_path / "bad.json").write_text("{")
    report.main([str(tmp_path)])
    assert "bad.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("prepare", [lambda folder: folder / "nowhere", lambda folder: folder])
def test_no_results_at_all(tmp_path, prepare):
    with pytest.raises(UserError, match="run an eval script first"):
        report.main([str(prepare(tmp_path))])


def test_coseg_is_compared_with_a1_though_it_scores_a_few_lesions_less():
    rows = report.group([result(dice=0.80, lesions=1002), result("ACoseg", dice=0.88, lesions=1000)])
    lines = report.table(rows)
    assert lines[1][4] == "**88.00** (+10.0)"
    assert lines[1][-1].endswith("test: 1000 lesions")


def test_paired_differences_stand_under_the_table(tmp_path, capsys):
    write(tmp_path, result(), result("A1+L"), result(seed=1), result("A1+L", seed=1))
    for number, shift in ((0, 0.0), (1, 0.05), (2, 0.0), (3, 0.05)):
        rows = [{"lesion": name, "dice": 0.5 + shift, "iou": 0.4 + shift} for name in "abcdefgh"]
        write_csv(tmp_path / f"{number}.csv", rows, ["lesion", "dice", "iou"])
    report.main([str(tmp_path)])
    shown = capsys.readouterr().out
    for seeds in ("seed 0", "seed 1", "2 seeds"):
        assert f"Dice of A1+L minus A1, {seeds}, 8 lesions: +5.00 points (95 % of resamples +5.00 to +5.00" in shown
    assert "Wilcoxon p 0.00781" in shown  # 2 of the 256 ways to give eight signs


def test_an_undefined_figure_is_never_the_best():
    rows = report.group([result(avd=None), result("A1+L", avd=50.0)])
    lines = report.table(rows)
    assert lines[0][8] == "nan"
    assert lines[1][8].startswith("**50.00**")
