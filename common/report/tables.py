"""The paper's table from evaluation results.

    python common/report.py [RESULTS_DIR ...] [--out DIR]

Reads every evaluation JSON in the folders (default: the results of all datasets), averages over seeds, and writes
table.md, table.csv and table.tex. Runs with different settings are never averaged together.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.evaluation.results import read_results
from common.metrics import FRACTIONS, METRICS
from common.report.runs import RunGroup, a1_reference, common_settings, comparable_groups, full_name, group_runs
from common.report.significance import comparisons
from common.utils.arguments import Parser
from common.utils.files import ROOT, atomic_path, write_csv

HEADINGS = dict(zip(METRICS, ("IoU", "Dice", "VS", "centre", "perimeter", "AVD"), strict=True))
HEADER = ["data", "model", "runs", "lesions", *HEADINGS.values()]
DIFFERENCES = ["data", "difference", "figure", "over", "lesions", "points", "95 % interval", "p"]
NOTES = (
    "IoU, Dice and VS in per cent; centre, perimeter and AVD in px; ± is the sample standard deviation over runs; in "
    "brackets the change against A1 in per cent; in bold the best of the methods compared, floors and full supervision "
    "apart; (paper) is the published row, of the full dataset.",
    "Differences are in percentage points. Over lesions, which are paired: bootstrap interval and Wilcoxon's p, which "
    "tell the chance of which lesions were drawn. Over seeds: Student's interval and p of the seeds' mean differences, "
    "which tell the chance of training. Methods differ where both leave little to chance.",
)


class Style(NamedTuple):
    """How cells are written."""

    bold: str
    """A format such as "**{}**"."""
    escape: Callable[[str], str]
    """Makes text from files harmless."""


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))


_LATEX = {character: rf"\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


MARKDOWN = Style("**{}**", _escape_markdown)
LATEX = Style(r"\textbf{{{}}}", _escape_latex)
CSV = Style("{}", str)  # `write_csv` sees to formulas
HTML = Style("<b>{}</b>", html.escape)


def table(rows: Sequence[RunGroup], style: Style) -> list[list[str]]:
    """The table's lines of cells, as `HEADER`; the published line under each row that has one."""
    lines = []
    for block in comparable_groups(rows):
        competing = [row for row in block if row.competes]
        best = {figure: best_row(competing, figure) for figure in HEADINGS} if len(competing) > 1 else {}
        for row in block:
            head = [style.escape(row.dataset), style.escape(full_name(row, rows)), str(len(row.runs)), str(row.lesions)]
            lines.append(head + cells(row, a1_reference(row, block), best, style))
            published = published_cells(row)
            if published:
                name, *figures = map(style.escape, [f"{row.label} (paper)", *published])
                lines.append([head[0], name, "", "", *figures])
    return lines


def cells(row: RunGroup, base: RunGroup | None, best: Mapping[str, RunGroup], style: Style) -> list[str]:
    """One text a figure: mean ± spread, the change against ``base`` in per cent, the ``best`` of a figure in bold.

    A figure that a run leaves undefined, because it found no lesion at all, is nan.
    """
    texts = []
    for figure in HEADINGS:
        mean, spread = row.mean(figure), row.spread(figure)
        text = style.escape(f"{mean:.2f}" if spread is None or np.isnan(mean) else f"{mean:.2f}±{spread:.2f}")
        text = style.bold.format(text) if best.get(figure) is row else text
        changed = np.nan if base is None else change(mean, base.mean(figure))
        texts.append(text if np.isnan(changed) else f"{text} ({changed:+.1f})")
    return texts


def change(value: float, base: float) -> float:
    """By how many per cent ``value`` differs from ``base``."""
    return 100 * (value - base) / base if base else float("nan")


def published_cells(row: RunGroup) -> list[str] | None:
    """The paper's row for the same dataset and method; None where it has none."""
    published = row.runs[0].get("published")
    if not published or row.target != "ellipse":
        return None
    return [f"{published[figure][0]:.2f}±{published[figure][1]:.2f}" for figure in HEADINGS]


def best_row(rows: Sequence[RunGroup], figure: str) -> RunGroup:
    """The row with the best mean of a figure; rows without a value lose."""
    sign = 1 if figure in FRACTIONS else -1
    return max(rows, key=lambda row: -np.inf if np.isnan(row.mean(figure)) else sign * row.mean(figure))


def difference_table(rows: Sequence[RunGroup], style: Style) -> list[list[str]]:
    """A1+L minus the other rows: lines of cells, as `DIFFERENCES`."""
    lines = []
    for ours, theirs, figure, over, found in comparisons(rows):
        both = f"{full_name(ours, rows)} minus {full_name(theirs, rows)}"
        texts = [ours.dataset, both, HEADINGS[figure], over, str(found.lesions)]
        interval = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
        lines.append([*map(style.escape, texts), f"{100 * found.mean:+.2f}", interval, f"{found.p:.2g}"])
    return lines


def shared_settings(rows: Sequence[RunGroup]) -> list[str]:
    """A sentence for each dataset: the settings that all its rows share."""
    by_dataset: dict[str, list[RunGroup]] = {}
    for row in rows:
        by_dataset.setdefault(row.dataset, []).append(row)
    return [f"{name}: {', '.join(common_settings(members).values())}." for name, members in sorted(by_dataset.items())]


def markdown(rows: Sequence[RunGroup]) -> str:
    """The table and the differences in Markdown."""
    notes = " ".join([*map(_escape_markdown, shared_settings(rows)), NOTES[0]])
    text = f"{pipes(HEADER, table(rows, MARKDOWN))}\n{notes}\n"
    compared = difference_table(rows, MARKDOWN)
    return text + (f"\n{pipes(DIFFERENCES, compared)}\n{NOTES[1]}\n" if compared else "")


def pipes(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells."""
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *lines])


def latex(rows: Sequence[RunGroup]) -> str:
    """The table in LaTeX, for booktabs."""
    head, *body = (" & ".join(line) + r" \\" for line in [HEADER, *table(rows, LATEX)])
    columns = "llrr" + "r" * len(HEADINGS)
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join([*lines, *(f"% {_escape_latex(text)}" for text in shared_settings(rows))]) + "\n"


def write_report(folders: Sequence[Path], out: Path) -> str:
    """Write table.md, table.csv and table.tex into a folder.

    Returns:
        The text of table.md.

    Raises:
        UserError: there are no results, or one's CSV is damaged.
    """
    rows = group_runs(read_results(folders))
    shown = markdown(rows)
    for name, text in (("table.md", shown), ("table.tex", latex(rows))):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_csv(out / "table.csv", (dict(zip(HEADER, line, strict=True)) for line in table(rows, CSV)), HEADER)
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, help="folders of results (default code_*/results)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the first folder of results")
    args = parser.parse_args(arguments)
    folders = args.results or [path for path in sorted(ROOT.glob("code_*/results")) if path.is_dir()]
    out = args.out or (folders[0] if folders else ROOT)
    print(write_report(folders, out))
    print(f"{out / 'table.md'}, .csv and .tex written")
