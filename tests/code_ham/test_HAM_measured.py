"""The results that are kept beside the README: its tables are what the tools make of them."""

from common.evaluation.results import read_results
from common.recipe import A1
from common.report.figures.outlines import HEADER, outline_table, read_outlines
from common.report.runs import RunGroup, group_runs
from common.report.significance import compare_groups, interval_text
from common.report.tables import markdown_table
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
