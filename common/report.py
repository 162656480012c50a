"""The paper's table from evaluation results.

    python common/report.py [RESULTS_DIR ...] [--out DIR]

Reads every evaluation JSON in the folders (default: the results of all datasets), averages over seeds, and writes
table.md, table.csv and table.tex. Runs with different settings are never averaged together.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from anywhere, from a bare clone

import numpy as np

from common.errors import UserError, run_script
from common.files import atomic_path, read_csv, read_json, write_csv
from common.metrics import FIGURES, FRACTIONS
from common.statistics import mean_by_lesion, paired_difference

ROOT = Path(__file__).resolve().parents[1]
HEADINGS = dict(zip(FIGURES, ("IoU", "Dice", "VS", "centre", "perimeter", "AVD"), strict=True))
METHOD_ORDER = ("A1", "ACoseg", "A1+L")
SETTINGS = ("encoder", "canvas", "protocol", "precision", "target", "limit")
"""Settings that part rows beside K, the split, the truth and the number of lesions; the seed does not."""


@dataclass
class Row:
    """Runs of one method that differ in the seed only."""

    dataset: str
    label: str
    settings: str
    lesions: str
    """How many were scored. ACoseg may have scored a few less than A1 and is compared all the same."""
    runs: list[dict[str, Any]] = field(default_factory=list)

    def values(self, figure: str) -> np.ndarray:
        """(runs,) the figure as the paper prints it: per cent or px."""
        scale = 100 if figure in FRACTIONS else 1
        return np.array([np.nan if run[figure] is None else run[figure] * scale for run in self.runs], float)

    def mean(self, figure: str) -> float:
        """Mean over runs, in per cent or px."""
        return float(self.values(figure).mean())

    def spread(self, figure: str) -> float | None:
        """Sample standard deviation over runs; None for a single one."""
        return float(self.values(figure).std(ddof=1)) if len(self.runs) > 1 else None


def read_results(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Every evaluation JSON in the folders and those below; a damaged one is named on stderr and left out.

    Raises:
        UserError: a folder is missing, or no evaluation is in any.
    """
    results = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of results; run an eval script first")
        for path in sorted(folder.rglob("*.json")):
            try:
                content = read_json(path)
                if {"dataset", "label", "settings", "lesions", *HEADINGS} <= content.keys():
                    results.append(content | {"path": path})
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
    if not results:
        raise UserError("no evaluation results found; run an eval script first, or name its results folder")
    return results


def group(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows of the table: A1, ACoseg, A1+L of a dataset and of one kind of settings stand together."""
    rows: dict[tuple[str, ...], Row] = {}
    for result in results:
        lesions = f"{result['lesions']} lesions"
        key = result["dataset"], result["label"], describe(result), lesions
        rows.setdefault(key, Row(*key)).runs.append(dict(result))
    order = {label: place for place, label in enumerate(METHOD_ORDER)}
    return sorted(
        rows.values(), key=lambda row: (row.dataset, row.settings, order.get(row.label, len(order)), row.lesions)
    )


def describe(result: Mapping[str, Any]) -> str:
    """What a run was made with and scored against, as one line."""
    settings = result["settings"]
    parts = []
    for name in SETTINGS:
        value = settings.get(name)
        if name == "canvas" and value:
            value = "x".join(map(str, value))
        if name == "limit" and value:
            value = f"limit {value}"
        if name == "target" and value:
            value = f"trained on {value}"
        parts += [str(value)] if value else []
    return ", ".join([*parts, f"against {result['truth']}", str(result["split"])])


def cells(row: Row, base: Row | None, best: Mapping[str, Row], bold: str) -> list[str]:
    """One text a figure: mean ± spread, the change against A1 in per cent, the best in bold.

    Args:
        row: whose figures.
        base: A1 with the same settings; None leaves the change out.
        best: which row is the best, by figure.
        bold: a format such as "**{}**".
    """
    texts = []
    for figure in HEADINGS:
        mean, spread = row.mean(figure), row.spread(figure)
        text = f"{mean:.2f}" if spread is None else f"{mean:.2f}±{spread:.2f}"
        text = bold.format(text) if best.get(figure) is row else text
        if base is not None and base is not row:
            text += f" ({change(mean, base.mean(figure)):+.1f})"
        texts.append(text)
    return texts


def change(value: float, base: float) -> float:
    """By how many per cent ``value`` differs from ``base``."""
    return 100 * (value - base) / base if base else float("nan")


def published_cells(row: Row) -> list[str] | None:
    """The paper's row for the same dataset and method; None where it has none."""
    published = row.runs[0].get("published")
    if not published:
        return None
    return [f"{published[figure][0]:.2f}±{published[figure][1]:.2f}" for figure in HEADINGS]


def table(rows: Sequence[Row], bold: str = "**{}**") -> list[list[str]]:
    """The table's lines of cells: dataset, model, runs, six figures, settings; a published line under each row."""
    lines = []
    kinds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.dataset, row.settings].append(row)
    for (dataset, settings), members in kinds.items():
        bases = [row for row in members if row.label == "A1"]
        best = {figure: best_row(members, figure) for figure in HEADINGS} if len(members) > 1 else {}
        for row in members:
            base = next((a1 for a1 in bases if a1.lesions == row.lesions), bases[0] if len(bases) == 1 else None)
            made = f"{settings}: {row.lesions}"
            lines.append([dataset, row.label, str(len(row.runs)), *cells(row, base, best, bold), made])
            published = published_cells(row)
            if published:
                lines.append([dataset, f"{row.label} (paper)", "", *published, "published"])
    return lines


def best_row(rows: Sequence[Row], figure: str) -> Row:
    """The row with the best mean of a figure; rows without a value lose."""
    sign = 1 if figure in FRACTIONS else -1
    return max(rows, key=lambda row: -np.inf if np.isnan(row.mean(figure)) else sign * row.mean(figure))


def read_lesions(result: Mapping[str, Any], figure: str) -> dict[str, float]:
    """A figure by lesion, from the CSV beside an evaluation's JSON; empty where it is not there."""
    path = result["path"].with_suffix(".csv")
    if not path.is_file():
        return {}
    return {row["lesion"]: float(row[figure]) for row in read_csv(path) if row.get(figure)}


def differences(rows: Sequence[Row]) -> list[str]:
    """Lines on A1+L minus each other method with the same settings: for each seed, then over all seeds."""
    lines = []
    for ours in (row for row in rows if row.label == "A1+L"):
        for theirs in rows:
            if (theirs.dataset, theirs.settings) == (ours.dataset, ours.settings) and theirs is not ours:
                lines += _difference_lines(ours, theirs)
    return lines


def _difference_lines(ours: Row, theirs: Row) -> list[str]:
    by_seed = [{run["settings"].get("seed"): run for run in row.runs} for row in (ours, theirs)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys(), key=str)
    lines = []
    for figure in ("dice", "iou"):
        mine, others = ([read_lesions(runs[seed], figure) for seed in seeds] for runs in by_seed)
        pairs = {f"seed {seed}": pair for seed, *pair in zip(seeds, mine, others, strict=True)}
        if len(seeds) > 1:
            pairs[f"{len(seeds)} seeds"] = [mean_by_lesion(mine), mean_by_lesion(others)]
        for name, (first, second) in pairs.items():
            found = paired_difference(first, second)
            if found:
                what = f"{HEADINGS[figure]} of {ours.label} minus {theirs.label}, {name}, {found.lesions} lesions"
                lines.append(
                    f"{ours.dataset}, {ours.settings}: {what}: {100 * found.mean:+.2f} points "
                    f"(95 % of resamples {100 * found.low:+.2f} to {100 * found.high:+.2f}; Wilcoxon p {found.p:.3g})"
                )
    return lines


HEADER = ["data", "model", "runs", *HEADINGS.values(), "settings"]
NOTE = (
    "IoU, Dice, VS in per cent; centre, perimeter, AVD in px; ± is the sample standard deviation over runs; "
    "in brackets the change against A1 in per cent; the best of each group in bold."
)


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *table(rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{NOTE}\n"


def latex(rows: Sequence[Row]) -> str:
    """The table in LaTeX, for booktabs."""
    lines = [line[:-1] for line in table(rows, bold=r"\textbf{{{}}}")]
    body = "\n".join(" & ".join(line).replace("±", r"$\pm$").replace("%", r"\%") + r" \\" for line in lines)
    columns = "lll" + "r" * len(HEADINGS)
    head = " & ".join(HEADER[:-1])
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="folders of results (default code_*/results)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the first folder of results")
    args = parser.parse_args(arguments)
    folders = args.results or [path for path in sorted(ROOT.glob("code_*/results")) if path.is_dir()]
    rows = group(read_results(folders))
    out = args.out or folders[0]
    shown = markdown(rows) + "".join(f"\n- {line}" for line in differences(rows))
    for name, text in (("table.md", f"{shown}\n"), ("table.tex", latex(rows))):
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_csv(out / "table.csv", (dict(zip(HEADER, line, strict=True)) for line in table(rows, bold="{}")), HEADER)
    print(f"{shown}\n")
    print(f"{out / 'table.md'}, .csv and .tex written")


if __name__ == "__main__":
    run_script(main)
