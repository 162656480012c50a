"""The paper's table: ± and per cent by hand, published rows, and text that can do no harm."""

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
from common.metrics import METRICS
from common.recipe import A1RECIST
from common.report import tables
from common.report.runs import RunGroup, group_runs
from common.utils.errors import UserError
from common.utils.files import read_csv, write_csv
from example_results import baseline, result, scored

RUNS, LESIONS, DICE, AVD = 2, 3, 5, 9
"""Columns of the table."""


def write(folder, *contents):
    for number, content in enumerate(contents):
        (folder / f"{number}.json").write_text(json.dumps(content))
    return folder


def cells(*evaluations):
    """The table's cells as Markdown."""
    return tables.format_rows(tables.results_table(group_runs(evaluations)), "**{}**", tables.escape_markdown)


def test_spread_and_change_by_hand():
    table = cells(result(dice=0.80), result(dice=0.82, seed=1), result("A1+L", 0.90), result("A1+L", 0.92, seed=1))
    # Mean of 80 and 82 is 81; sample standard deviation sqrt(2); 91 is 12.3 % more than 81.
    assert [row[:4] for row in table] == [["HAM10000", "A1", "2", "40"], ["HAM10000", "A1+L", "2", "40"]]
    assert table[0][DICE] == "81.00±1.41"
    assert table[1][DICE] == "**91.00±1.41** (+12.3)"
    assert table[1][AVD] == "10.00±0.00 (+0.0)"


def test_one_run_has_no_spread_and_a_lower_error_is_better():
    table = cells(result(avd=9.0), result("ACoseg", avd=10.0))
    assert table[0][AVD] == "**9.00**"
    assert table[1][AVD] == "10.00 (+11.1)"


def test_baselines_and_upper_bound_are_compared_but_never_the_best():
    upper_bound = result(dice=0.96, settings={"target": "truth"})
    table = cells(result(dice=0.80), result("A1+L", 0.84), baseline(dice=0.92), upper_bound)
    assert [line[1] for line in table] == ["A1", "A1+L", "ellipse itself", "A1 trained on truth"]
    # 84, 92 and 96 are 5, 15 and 20 % more than 80.
    assert [line[DICE] for line in table] == ["80.00", "**84.00** (+5.0)", "92.00 (+15.0)", "96.00 (+20.0)"]


def test_mixed_settings_are_never_averaged():
    table = cells(result(dice=0.8), result(dice=0.9, seed=1, settings={"canvas": [384, 480]}))
    assert [(line[1], line[RUNS], line[DICE]) for line in table] == [
        ("A1, 128x128", "1", "80.00"), ("A1, 384x480", "1", "90.00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("other", "name"),
    [({"settings": {"window": [50, 400]}}, "A1, window 50,400"),
     ({"prepared": "b" * 32}, "A1, data bbbbbbbb, trained with data aaaaaaaa"),
     ({"scored": "c" * 16}, "A1, lesion set cccccccc"), ({"seen_in_training": 3}, "A1, 3 lesions seen in training"),
     ({"training": {"prepared": "b" * 32}}, "A1, trained with data bbbbbbbb"),
     ({"training": {"limit": 24}}, "A1, trained with limit 24")],
)  # fmt: skip
def test_other_lesions_are_never_averaged_nor_called_the_same(other, name):
    known = {"prepared": "a" * 32, "scored": "a" * 16, "seen_in_training": 0}
    training = {"training": {"limit": None, "prepared": "a" * 32}}
    here, there = result(dice=0.8, **known, **training), result(dice=0.9, seed=1, **(known | training | other))
    by_name = {row[1]: row for row in cells(here, there)}
    assert len(by_name) == 2 and [row[RUNS] for row in by_name.values()] == ["1", "1"]
    assert by_name[name][DICE].strip("*") == "90.00"


def test_the_papers_row_stands_beneath_the_papers_method_alone():
    published = {"published": {metric: [0.5, 0.1] for metric in METRICS}}
    table = cells(
        result(**published), result(training={"prompt": "recist"}, **published), result("A1+R", published=None)
    )
    assert [row[1] for row in table if "(paper)" in row[1]] == ["A1 (paper)"]
    assert len(table) == 4


def test_methods_that_scored_other_lesions_say_so():
    a1, ours, coseg = result(scored="a" * 16), result("A1+L", scored="b" * 16), result("ACoseg", lesions=36, scored="c")
    assert [row[1] for row in cells(a1, ours)] == ["A1, lesion set aaaaaaaa", "A1+L, lesion set bbbbbbbb"]
    assert [row[1] for row in cells(a1, coseg)] == ["A1", "ACoseg"]  # the number of lesions says it


def test_lesions_seen_in_training_are_told_under_the_table(tmp_path, capsys):
    tables.main([str(write(tmp_path, *(result(label, seen_in_training=3) for label in ("A1", "A1+L"))))])
    assert "test split, 3 lesions seen in training." in capsys.readouterr().out.replace("\n", " ")
    tables.main(
        [str(write(tmp_path, *(result(label, split="val", seen_in_training=40) for label in ("A1", "ACoseg"))))]
    )
    assert "seen in training" not in capsys.readouterr().out  # of any but the test split that goes without saying


def test_a_baseline_of_other_lesions_is_not_set_beside_networks():
    known = {"prepared": "a" * 32}
    settings = {"settings": {"protocol": "released", "limit": 5}}
    table = cells(result(dice=0.8, **known), baseline(**known), baseline(prepared="b" * 32),
                  baseline(**known, **settings), baseline("GrabCut itself", truth="grabcut", **known))  # fmt: skip
    # 90 is 12.5 % more than 80; what was scored otherwise is not compared, and says why.
    changes = {row[1]: row[DICE] for row in table}
    assert changes == {
        "A1, against truth, data aaaaaaaa": "80.00",
        "ellipse itself, against truth, data aaaaaaaa": "90.00 (+12.5)",
        "ellipse itself, against truth, data bbbbbbbb": "90.00",
        "ellipse itself, limit 5, against truth, data aaaaaaaa": "90.00",
        "GrabCut itself, against grabcut, data aaaaaaaa": "90.00",
    }


def test_two_checkpoints_of_one_seed_are_refused(tmp_path):
    write(tmp_path, *(result(checkpoint={"file": "a.pt", "sha256": digest}) for digest in ("ab", "cd")))
    with pytest.raises(
        UserError, match=r"0\.json and .*1\.json are evaluations of different checkpoints .*; remove one"
    ):
        tables.main([str(tmp_path)])
    assert not (tmp_path / "table.md").exists()


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
        published = {"published": dict(zip(METRICS, module.RECIPE.published, strict=True))}
        assert tables.published_texts(RunGroup("", "", "ellipse", 0, {}, [published])) == line.split()
        assert tables.published_texts(RunGroup("", "", "truth", 0, {}, [published])) is None


def test_files_are_written_and_published_rows_stand_beneath(tmp_path, capsys):
    published = dict(zip(METRICS, HAM_A1_train.RECIPE.published, strict=True))
    tables.main([str(write(tmp_path, result(published=published), result("A1+L", published=None)))])
    printed = capsys.readouterr().out
    assert "| HAM10000 | A1 (paper) |  |  | 82.65±0.12 | 90.01±0.09 |" in printed
    assert "HAM10000: resnet18, encoder weights imagenet, 128x128, epochs 50, released, fp32, against truth" in printed
    assert [row["model"] for row in read_csv(tmp_path / "table.csv")] == ["A1", "A1 (paper)", "A1+L"]
    assert r"\textbf{80.00}" in (tmp_path / "table.tex").read_text()
    assert r"82.65$\pm$0.12" in (tmp_path / "table.tex").read_text()
    assert (tmp_path / "table.md").read_text() in printed


def test_text_from_files_is_harmless_in_every_format(tmp_path, capsys):
    evil = "=1+1|a_b & 50% *x* <script>\nH"
    tables.main([str(write(tmp_path, result(dataset=evil), result("A1+L", dataset=evil)))])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.replace(r"\|", "").count("|") for line in table] == [11] * 4
    assert table[2].startswith(r"| =1+1\|a\_b & 50% \*x\* \<script\> H | A1 |")
    tex = (tmp_path / "table.tex").read_text()
    assert r"=1+1|a\_b \& 50\% *x* <script> H & A1 &" in tex
    assert all(
        line.count(" & ") == 9 for line in tex.replace(r"\&", "").splitlines() if "1+1" in line and "% =" not in line
    )
    assert (tmp_path / "table.csv").read_text().count(f'\n"\'{evil}",A1') == 2  # no spreadsheet's formula
    assert [row["data"] for row in read_csv(tmp_path / "table.csv")] == [evil] * 2


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a\\b", r"a\textbackslash{}b"), ("~^", r"\textasciitilde{}\textasciicircum{}"), ("{$#}", r"\{\$\#\}")],
)
def test_latex_special_characters(text, escaped):
    assert tables.escape_latex(text) == escaped


@pytest.mark.parametrize("prepare", [lambda folder: folder / "nowhere", lambda folder: folder])
def test_no_results_at_all(tmp_path, prepare):
    with pytest.raises(UserError, match="run an eval script first"):
        tables.main([str(prepare(tmp_path))])


def test_coseg_is_compared_with_a1_though_it_scores_a_few_lesions_less():
    table = cells(result(dice=0.80, lesions=1002), result("ACoseg", dice=0.88, lesions=1000))
    assert table[1][DICE] == "**88.00** (+10.0)"
    assert [line[LESIONS] for line in table] == ["1002", "1000"]


def test_paired_differences_stand_under_the_table(tmp_path, capsys):
    kinds = (("A1", 0.0), ("A1+L", 0.05))
    runs = [(label, seed, shift) for seed in (0, 1) for label, shift in kinds]
    write(tmp_path, *(result(label, 0.5 + shift, seed, lesions=8, iou=0.4 + shift) for label, seed, shift in runs))
    for number, (*_, shift) in enumerate(runs):
        rows = [{"lesion": name, "dice": 0.5 + shift, "iou": 0.4 + shift} for name in "abcdefgh"]
        write_csv(tmp_path / f"{number}.csv", rows, ["lesion", "dice", "iou"])
    tables.main([str(tmp_path)])
    printed = capsys.readouterr().out
    for seeds in ("lesions, seed 0", "lesions, seed 1", "lesions, mean of 2 seeds"):
        # p: 2 of the 256 ways to give eight signs.
        assert f"A1+L minus A1 | Dice | {seeds} | 8 | +5.00 | +5.00 to +5.00 | 0.0078 |" in printed
    assert "A1+L minus A1 | Dice | 2 seeds | 8 | +5.00 | +5.00 to +5.00 |" in printed


def test_ours_is_compared_with_every_group_of_its_block(tmp_path):
    """Methods also by seed; baseline and upper bound over seeds only, the baseline's one run with each seed."""
    upper_bound = {"settings": {"target": "truth"}}
    groups = group_runs(
        [
            scored(tmp_path, "ours0", (0.5, 0.6, 0.7, 0.8), result("A1+L")),
            scored(tmp_path, "ours1", (0.7, 0.8, 0.9, 1.0), result("A1+L", seed=1)),
            scored(tmp_path, "a1", (0.4, 0.5, 0.6, 0.7), result(seed=1)),
            scored(tmp_path, "baseline", (0.6, 0.7, 0.8, 0.9), baseline()),
            scored(tmp_path, "top0", (0.9, 0.9, 0.9, 0.9), result(**upper_bound)),
            scored(tmp_path, "top1", (1.0, 1.0, 1.0, 1.0), result(seed=1, **upper_bound)),
            scored(tmp_path, "other", (0.1, 0.1, 0.1, 0.1), result(dataset="LiTS")),
        ]
    )
    rows = tables.difference_table(groups)
    assert [(names, over, float(points)) for _, names, metric, over, _, points, *_ in rows if metric == "Dice"] == [
        ("A1+L minus A1", "lesions, seed 1", 30),
        ("A1+L minus ellipse itself", "lesions, mean of 2 seeds", 0),
        ("A1+L minus ellipse itself", "2 seeds", 0),
        ("A1+L minus A1 trained on truth", "lesions, mean of 2 seeds", -20),
        ("A1+L minus A1 trained on truth", "2 seeds", -20),
    ]


def test_one_seed_is_compared_with_baselines_too(tmp_path):
    ours = scored(tmp_path, "ours", (0.5, 0.6, 0.7), result("A1+L"))
    groups = group_runs([ours, scored(tmp_path, "baseline", (0.6, 0.7, 0.8), baseline())])
    assert [row[3] for row in tables.difference_table(groups)] == ["lesions, seed 0"] * 2


def test_the_marked_network_is_compared_with_what_its_marks_give_alone(tmp_path):
    target = {"target": A1RECIST.flags["target"]}
    groups = group_runs(
        [
            scored(tmp_path, "marked", (0.7, 0.8, 0.9), result("A1+R", settings=target, training=A1RECIST.flags)),
            scored(tmp_path, "ours", (0.5, 0.6, 0.7), result("A1+L")),
            scored(tmp_path, "quarters", (0.6, 0.7, 0.8), baseline("quarters themselves")),
        ]
    )
    rows = tables.difference_table(groups)
    assert {(names, float(points)) for _, names, metric, _, _, points, *_ in rows if metric == "Dice"} == {
        ("A1+L minus quarters themselves", -10),
        ("A1+L minus A1+R", -20),
        ("A1+R minus quarters themselves", 10),
    }


def test_two_trainings_of_one_method_are_compared_once(tmp_path):
    settings, training = {"target": "quarters"}, {**A1RECIST.flags}
    few = training | {"outlines": 9}
    groups = group_runs(
        [
            scored(tmp_path, "a", (0.7, 0.8, 0.9), result("A1+R", settings=settings, training=training)),
            scored(tmp_path, "b", (0.6, 0.7, 0.8), result("A1+R", settings=settings, training=few)),
        ]
    )
    rows = [row for row in tables.difference_table(groups) if row[2] == "Dice"]
    assert [(names, float(points)) for _, names, _, _, _, points, *_ in rows] == [("A1+R minus A1+R, 9 outlines", 10)]


def test_an_undefined_metric_is_never_the_best():
    table = cells(result(avd=None), result(seed=1), result("A1+L", avd=50.0))
    assert table[0][AVD] == "nan"
    assert table[1][AVD] == "**50.00**"
    assert [row[AVD] for row in cells(result(avd=None), result("A1+L", avd=None))] == ["nan", "nan"]


def test_nan_is_explained_only_where_it_stands(tmp_path):
    for avd, count in ((None, 1), (5.0, 0)):
        tables.main([str(write(tmp_path, result(avd=avd)))])
        for name in ("table.md", "table.tex"):
            assert (tmp_path / name).read_text().count(tables.UNDEFINED_NOTE) == count


def test_a_file_in_place_of_a_folder(tmp_path):
    file = write(tmp_path, result()) / "0.json"
    with pytest.raises(UserError, match=rf"0\.json is not a folder of results; name its folder, {tmp_path}$"):
        tables.main([str(file)])
    assert list(tmp_path.iterdir()) == [file]


def test_identical_methods_have_no_p(tmp_path):
    runs = [scored(tmp_path, label, (0.5, 0.6, 0.7), result(label)) for label in ("A1", "A1+L")]
    rows = tables.difference_table(group_runs(runs))
    assert [row[5:] for row in rows] == [["+0.00", "+0.00 to +0.00", "identical"]] * 2
