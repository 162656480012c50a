"""The results that are kept beside the README: its tables are what the tools make of them."""

from common.report.figures.outlines import HEADER, outline_table, read_outlines
from common.report.tables import markdown_table
from helpers import ROOT


def test_the_tables_of_a1_r_are_made_of_the_results_beside_them():
    runs = read_outlines([ROOT / "code_ham" / "measured" / "outlines"])
    assert markdown_table(HEADER, outline_table(runs)) in (ROOT / "code_ham" / "README.md").read_text(encoding="utf-8")
    main = (ROOT / "README.md").read_text(encoding="utf-8")
    for outlines, title in ((0, "no outlines"), (150, "150 of them with outlines")):
        cells = [run.group.text("dice") for run in runs if run.outlines == outlines]
        assert f"{title} | {' | '.join(cells)} |" in main
    quarters = [f"{run.quarters.mean('dice'):.2f}" for run in runs if run.outlines == 0]
    assert f"| quarters, no network | {' | '.join(quarters)} |" in main
