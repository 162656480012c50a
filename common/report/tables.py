"""The paper's table from evaluation results.

    python common report [RESULTS_DIR ...] [--out DIR]

Reads every evaluation JSON in the folders (default: the results of all datasets), averages over seeds, and writes
table.md, table.csv and table.tex. Runs with different settings are never averaged together.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.evaluation.results import UNDEFINED_NOTE, read_results
from common.metrics import FRACTIONS, METRICS
from common.recipe import A1CLASS, A1RECIST
from common.report.runs import RunGroup, a1_reference, common_settings, comparable_groups, full_name, group_runs
from common.report.significance import compare_groups, interval_text, p_text
from common.utils.arguments import Parser
from common.utils.files import ROOT, check_writable, write_csv, write_text

HEADINGS = dict(zip(METRICS, ("IoU", "Dice", "VS", "centre", "perimeter", "AVD"), strict=True))
COLUMNS = ["data", "model", "runs", "lesions", *HEADINGS.values()]
DIFFERENCE_COLUMNS = ["data", "difference", "metric", "over", "lesions", "points", "95 % interval", "p"]
TABLE_NOTE = (
    "IoU, Dice and VS in per cent; centre, perimeter and AVD in px; ± is the sample standard deviation over runs; in "
    "brackets the change against A1 in per cent; in bold the best of the methods compared, without baselines "
    "and full supervision; (paper) is the published row, of the full dataset."
)
DIFFERENCE_NOTE = (
    "Differences are in percentage points. Over lesions (paired): bootstrap interval (of fewer than 30 patients, t "
    "interval) and Wilcoxon's p, for the randomness of these lesions. Over seeds: t interval and t-test p of the "
    "seeds' mean differences, for the randomness of training. Methods differ where neither explains the difference. "
    "Lesions of one patient are not independent: they are resampled together, and their mean is tested; one patient "
    "has no interval."
)


class Cell(NamedTuple):
    """A cell of the results table."""

    text: str
    best: bool = False  # of the methods compared
    change: str = ""  # against A1, such as " (+12.3)"; empty where there is no A1 to compare with


class Row(NamedTuple):
    """A row of the results table."""

    cells: list[Cell]  # as `COLUMNS`
    published: bool  # the paper's values, not those of our runs


def results_table(groups: Sequence[RunGroup]) -> list[Row]:
    """A row for each group of runs, block by block, and beneath it the paper's where there is one.

    A metric that a run leaves undefined, because the network segmented no lesion at all, is nan.
    """
    rows = []
    for block in comparable_groups(groups):
        for group in block:
            head = (group.dataset, full_name(group, groups), str(len(group.runs)), str(group.lesions))
            cells, reference = list(map(Cell, head)), a1_reference(group, block)
            for metric in METRICS:
                is_best = group is best_group(block, metric)
                cells.append(Cell(group.text(metric), is_best, change_text(group, reference, metric)))
            rows.append(Row(cells, published=False))
            if published := published_texts(group):
                texts = (group.dataset, f"{group.label} (paper)", "", "", *published)
                rows.append(Row(list(map(Cell, texts)), published=True))
    return rows


def best_group(block: Sequence[RunGroup], metric: str) -> RunGroup | None:
    """The method with the best mean of a metric; None where a single one competes, or all are undefined."""
    competing = [group for group in block if group.competes]
    defined = [group for group in competing if not np.isnan(group.mean(metric))]
    if len(competing) < 2 or not defined:
        return None
    return (max if metric in FRACTIONS else min)(defined, key=lambda group: group.mean(metric))


def change_text(group: RunGroup, reference: RunGroup | None, metric: str) -> str:
    """By how many per cent a group's mean differs from the reference's, such as " (+12.3)"; empty if undefined."""
    base = reference.mean(metric) if reference else 0
    change = 100 * (group.mean(metric) - base) / base if base else np.nan
    return "" if np.isnan(change) else f" ({change:+.1f})"


def published_texts(group: RunGroup) -> list[str] | None:
    """The paper's values for the same dataset and method; None where it has none."""
    published = group.runs[0].get("published")
    if not published or group.name != group.label:
        return None
    return ["{:.2f}±{:.2f}".format(*published[metric]) for metric in METRICS]


_EXAMINED = (A1CLASS.label, A1RECIST.label)


def difference_table(groups: Sequence[RunGroup]) -> list[list[str]]:
    """A1+L, and A1+R, minus every group that is comparable with it, in Dice and IoU, each pair once.

    Rows of cells, as `DIFFERENCE_COLUMNS`.
    With several seeds, a baseline or an upper bound is compared over all of them only, a method also by seed.
    """
    rows = []
    pairs = [pair for block in comparable_groups(groups) for pair in combinations(block, 2)]
    for pair, metric in product(pairs, ("dice", "iou")):
        ours, theirs = sorted(pair, key=lambda group: [group.label != label for label in _EXAMINED])
        if ours.label not in _EXAMINED:
            continue
        by_seed, lesions, seeds = compare_groups(ours, theirs, metric)
        count = len(by_seed)
        overall = {f"lesions, mean of {count} seeds": lesions, f"{count} seeds": seeds} if count > 1 else {}
        single = {f"lesions, seed {seed}": by_seed[seed] for seed in by_seed if theirs.competes or count == 1}
        names = f"{full_name(ours, groups)} minus {full_name(theirs, groups)}"
        for over, difference in (*single.items(), *overall.items()):
            if difference:
                numbers = [f"{100 * difference.mean:+.2f}", interval_text(difference), p_text(difference)]
                rows.append([ours.dataset, names, HEADINGS[metric], over, str(difference.lesions), *numbers])
    return rows


def table_notes(groups: Sequence[RunGroup]) -> list[str]:
    """Sentences under the results table: the settings that all groups of a dataset share, then what the cells mean."""
    datasets = sorted({group.dataset for group in groups})
    shared = [common_settings([group for group in groups if group.dataset == dataset]) for dataset in datasets]
    sentences = [f"{name}: {', '.join(settings.values())}." for name, settings in zip(datasets, shared, strict=True)]
    has_nan = any(np.isnan(group.mean(metric)) for group in groups for metric in METRICS)
    return [*sentences, TABLE_NOTE, *([UNDEFINED_NOTE] if has_nan else [])]


def format_rows(rows: Iterable[Row], bold: str = "{}", escape: Callable[[str], str] = str) -> list[list[str]]:
    """Cells as text: ``bold``, such as "**{}**", sets the best apart, and ``escape`` makes text harmless."""
    return [
        [(bold if cell.best else "{}").format(escape(cell.text)) + cell.change for cell in row.cells] for row in rows
    ]


def escape_markdown(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))


_LATEX = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
)


def escape_latex(text: str) -> str:
    """Text on one line that LaTeX prints as it is."""
    return " ".join(text.split()).translate(_LATEX)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells."""
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, ["---"] * len(header), *rows])


def write_report(folders: Sequence[Path], out: Path) -> str:
    """Write table.md, table.csv and table.tex (for booktabs) into a folder; returns the text of table.md.

    Raises:
        UserError: there are no results, or an evaluation's CSV is damaged.
    """
    import pandas as pd  # slow to import

    groups = group_runs(read_results(folders))
    check_writable(out, "pass another --out")
    rows, notes = results_table(groups), table_notes(groups)
    differences = [list(map(escape_markdown, row)) for row in difference_table(groups)]

    markdown = markdown_table(COLUMNS, format_rows(rows, "**{}**", escape_markdown))
    markdown += f"\n{' '.join(map(escape_markdown, notes))}\n"
    if differences:
        markdown += f"\n{markdown_table(DIFFERENCE_COLUMNS, differences)}\n{DIFFERENCE_NOTE}\n"
    table = pd.DataFrame(format_rows(rows, r"\textbf{{{}}}", escape_latex), columns=COLUMNS)
    latex = table.to_latex(index=False, column_format="llrr" + "r" * len(METRICS))
    latex += "".join(f"% {escape_latex(sentence)}\n" for sentence in notes)
    for name, text in (("table.md", markdown), ("table.tex", latex)):
        write_text(out / name, text)
    write_csv(out / "table.csv", (dict(zip(COLUMNS, row, strict=True)) for row in format_rows(rows)), COLUMNS)
    return markdown


def add_results(parser: Parser) -> None:
    """Add the folders of results, by default those of all datasets."""
    folders = sorted(ROOT.glob("code_*/results"))
    parser.add_argument("results", nargs="*", type=Path, default=folders, help="folders (default code_*/results)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    add_results(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the first folder of results")
    args = parser.parse_args(arguments)
    out = args.out or next(iter(args.results), ROOT)
    print(write_report(args.results, out))
    print(f"{out / 'table.md'}, .csv and .tex written")
