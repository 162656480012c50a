"""The results that are kept beside the README: its tables are what the tools make of them."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.evaluation.results import read_lesion_metrics, read_results
from common.patches import PATCH
from common.recipe import A1, A1CLASS, ACOSEG
from common.report.figures.outlines import HEADER, outline_table, read_outlines
from common.report.runs import RunGroup, group_runs
from common.report.significance import (
    compare_groups,
    interval_text,
    lesion_table,
    mean_by_lesion,
    paired_difference,
    seed_difference,
)
from common.report.tables import (
    COLUMNS,
    DIFFERENCE_COLUMNS,
    difference_table,
    format_rows,
    markdown_table,
    results_table,
)
from helpers import ROOT

MEASURED = ROOT / "code_ham" / "measured"
README = (ROOT / "code_ham" / "README.md").read_text(encoding="utf-8")


def test_the_tables_of_a1_r_are_made_of_the_results_beside_them():
    for folder in ("outlines", "tta", "all_marks"):
        assert markdown_table(HEADER, outline_table(read_outlines([MEASURED / folder]))) in README
    runs = read_outlines([MEASURED / "outlines"])
    main = (ROOT / "README.md").read_text(encoding="utf-8")
    for outlines, title in ((0, "no outlines"), (150, "150 of them with outlines")):
        cells = [run.group.text("dice") for run in runs if run.outlines == outlines]
        assert f"{title} | {' | '.join(cells)} |" in main
    quarters = [f"{run.quarters.mean('dice'):.2f}" for run in runs if run.outlines == 0]
    assert f"| quarters, no network | {' | '.join(quarters)} |" in main


def test_what_the_target_costs_a1_is_made_of_the_results_beside_it():
    names = {"fitted": "ellipse fitted to the true mask's hull (`released`)", "quarters": "quarters (`corrected`)",
             "crossing": "ellipse about the crossing point"}  # fmt: skip
    networks: dict[str, RunGroup] = {}
    rows = []
    for folder, title in names.items():
        groups = group_runs(read_results([MEASURED / "targets" / folder]))
        (mask,) = (group for group in groups if group.target is None)
        (networks[folder],) = (group for group in groups if group.label == A1.label)
        cells = [title, mask.text("dice"), networks[folder].text("dice")]
        if folder == "fitted":
            rows.append([*cells, "", "", ""])
            continue
        _, lesions, seeds = compare_groups(networks[folder], networks["fitted"], "dice")
        difference = networks[folder].mean("dice") - networks["fitted"].mean("dice")
        rows.append([*cells, f"{difference:+.2f}", interval_text(lesions), interval_text(seeds)])
    header = ["A1 is trained on", "Dice % of that mask", "Dice % of A1", "difference", "95 % over lesions"]
    table = markdown_table([*header, "95 % over seeds"], rows)
    print(table)
    assert table in README


def test_the_papers_methods_are_made_of_the_results_beside_them():
    groups = group_runs(read_results([MEASURED / "methods" / "results"]))
    table = markdown_table(COLUMNS[1:], [row[1:] for row in format_rows(results_table(groups), "**{}**")])
    shown = [f"{A1CLASS.label} minus {other}" for other in (A1.label, ACOSEG.label, "ellipse itself")]
    rows = [row[1:] for row in difference_table(groups) if row[1] in shown and row[2] == "Dice"]
    differences = markdown_table(DIFFERENCE_COLUMNS[1:], rows)
    print(table, differences)
    assert table in README
    assert differences in README
    main = (ROOT / "README.md").read_text(encoding="utf-8")
    for group in groups:
        if group.target != "truth":
            cells = [group.text(metric) for metric in ("iou", "dice", "vs", "centre_error", "perimeter_error", "avd")]
            assert f"| {group.name} | {' | '.join(cells)} |" in main


def test_where_the_cluster_head_helps_is_made_of_the_results_beside_it(shared: Path):
    groups = {group.name: group for group in group_runs(read_results([MEASURED / "methods" / "results"]))}
    plain, headed = (
        lesion_table({run["settings"]["seed"]: run for run in groups[name].runs}, "dice")
        for name in (A1.label, A1CLASS.label)
    )
    package = shared / "data" / "ham10000_full120"
    with np.load(package / "ham10000_full120.npz") as packed, np.load(package / "masks.npz") as masks:
        truth = np.unpackbits(masks["truth"]).reshape(-1, PATCH * PATCH)
        sizes = pd.Series(100 * truth.mean(axis=1), packed["names"].astype(str))[plain.index]
    fit = 100 * pd.Series(read_lesion_metrics(groups["ellipse itself"].runs[0], "dice"))
    cuts = {"area, % of the patch": sizes, "Dice % of its ellipse": fit}
    rows = []
    for what, values in cuts.items():
        for quarter, lesions in values.groupby(pd.qcut(values, 4), observed=True).groups.items():
            first, second = headed.loc[lesions], plain.loc[lesions]
            over_lesions = paired_difference(mean_by_lesion(first), mean_by_lesion(second))
            by_seed = [paired_difference(first[seed], second[seed]) for seed in plain]
            over_seeds = seed_difference([difference for difference in by_seed if difference])
            assert over_lesions
            rows.append([
                f"{what}: {quarter.left:.0f} to {quarter.right:.0f}", str(len(lesions)),
                f"{100 * second.to_numpy().mean():.2f}", f"{100 * first.to_numpy().mean():.2f}",
                f"{100 * over_lesions.mean:+.2f}", interval_text(over_lesions), interval_text(over_seeds),
            ])  # fmt: skip
    header = ["a quarter of the lesions", "lesions", "A1", "A1+L", "difference", "95 % over lesions"]
    table = markdown_table([*header, "95 % over seeds"], rows)
    print(table)
    assert table in README
