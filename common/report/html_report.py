"""The whole report as one HTML file that needs nothing else: no scripts, no requests, pictures inside.

    python common/html_report.py RESULTS_DIR ... [--prepared DIR ...] [--checkpoints DIR ...] --out report.html

Table and differences as in report.py; with the prepared folders also Dice against the lesion's size, with the folders
of checkpoints also learning curves, and with both the worst and best lesions of each method with their outlines.
"""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from common.data.dataset import LesionDataset
from common.evaluation.results import read_results
from common.report.html_pictures import Lesions, find_checkpoint, learning_curves, lesion_strips, size_plot
from common.report.runs import RunGroup, comparable_groups, full_name, group_runs
from common.report.tables import DIFFERENCES, HEADER, HTML, NOTES, difference_table, shared_settings, table
from common.utils.arguments import Parser
from common.utils.files import atomic_path

TEMPLATE = Path(__file__).with_name("report.html.in")
SHOWN = 3
"""Worst lesions, and as many best, of each method."""
PANELS = "from left to right: the image; truth (green); approximate target (orange); prediction (blue)"


def page(rows: Sequence[RunGroup], prepared: Mapping[str, LesionDataset], checkpoints: Sequence[Path]) -> str:
    """The HTML of a report.

    Args:
        rows: of the table.
        prepared: the lesions that were scored, by the dataset's name, as far as they are at hand.
        checkpoints: folders of the checkpoints that were scored, and their histories.
    """
    title = f"Weakly supervised lesion segmentation: {', '.join(sorted({row.dataset for row in rows}))}"
    sections = {
        "The table": _table_section(rows),
        "Is the difference real?": _difference_section(rows),
        "Dice against the lesion's size": _size_section(rows, prepared),
        "Learning curves": _curve_section(rows, checkpoints),
        "Worst and best lesions": _lesion_section(rows, prepared, checkpoints),
        "Settings and versions": _settings_section(rows),
    }
    content = "".join(
        f"<section>\n<h2>{heading}</h2>\n{''.join(parts)}</section>\n" for heading, parts in sections.items()
    )
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), content=content)


def _table_section(rows: Sequence[RunGroup]) -> Iterator[str]:
    lines = table(rows, HTML)
    yield _table(HEADER, lines, faint=[not line[HEADER.index("runs")] for line in lines])
    for sentence in (*shared_settings(rows), NOTES[0]):
        yield _paragraph(sentence)


def _difference_section(rows: Sequence[RunGroup]) -> Iterator[str]:
    lines = difference_table(rows, HTML)
    if not lines:
        yield _paragraph("There is no A1+L beside another method that scored the same lesions.")
        return
    yield _table(DIFFERENCES, lines)
    yield _paragraph(NOTES[1])


def _size_section(rows: Sequence[RunGroup], prepared: Mapping[str, LesionDataset]) -> Iterator[str]:
    for block in comparable_groups(rows):
        if block[0].dataset in prepared:
            lesions = Lesions(prepared[block[0].dataset], block[0].runs[0]["truth"])
            yield _plot(size_plot(block, lesions), f"{block[0].dataset}: Dice of each lesion against its size")
        else:
            yield _paragraph(f"{block[0].dataset}: pass --prepared DIR to see it.")
    yield _paragraph(
        "A point is a lesion: its Dice, averaged over seeds, against the diameter of a disc of the same area as its "
        "truth. Grey circles: the ellipse itself."
    )


def _curve_section(rows: Sequence[RunGroup], checkpoints: Sequence[Path]) -> Iterator[str]:
    picture = learning_curves(rows, checkpoints)
    if picture is None:
        yield _paragraph("No history of a training is at hand; pass --checkpoints DIR to see it.")
        return
    yield _plot(picture, "Training loss, validation loss and validation Dice by epoch")
    yield _paragraph(
        "Thin lines are seeds, thick ones their mean, rings the best epochs. Validation is against the mask that is "
        "trained on, not against the truth."
    )


def _lesion_section(
    rows: Sequence[RunGroup], prepared: Mapping[str, LesionDataset], folders: Sequence[Path]
) -> Iterator[str]:
    yield _paragraph(f"By Dice; on each picture, {PANELS}.")
    for row in (row for block in comparable_groups(rows) for row in block if row.target is not None):
        run = min(row.runs, key=lambda run: str(run["settings"].get("seed")))
        heading = f"{row.dataset}, {full_name(row, rows)}, seed {run['settings'].get('seed')}"
        yield f"<h3>{html.escape(heading)}</h3>\n"
        checkpoint = find_checkpoint(run, folders)
        if row.dataset not in prepared or checkpoint is None:
            missing = "its checkpoint, as it was scored," if row.dataset in prepared else "the prepared folder"
            yield _paragraph(f"To see them, {missing} is needed: --prepared DIR --checkpoints DIR.")
            continue
        lesions = Lesions(prepared[row.dataset], run["truth"])
        strips = lesion_strips(run, checkpoint, lesions, SHOWN)
        yield '<div class="lesions">\n'
        for caption, picture in strips:
            text = html.escape(caption)
            yield f'<figure><img src="{picture}" alt="{text}; {PANELS}"><figcaption>{text}</figcaption></figure>\n'
        yield "</div>\n"


def _settings_section(rows: Sequence[RunGroup]) -> Iterator[str]:
    header = ["data", "model", "seed", "settings", "checkpoint", "SHA-256", "versions"]
    lines = [_settings(row, run) for block in comparable_groups(rows) for row in block for run in row.runs]
    yield _table(header, lines, kind="words")


def _settings(row: RunGroup, run: Mapping[str, Any]) -> list[str]:
    checkpoint = {"file": "", "sha256": ""} | run.get("checkpoint", {})
    texts = [
        row.dataset,
        row.name,
        run["settings"].get("seed", ""),
        ", ".join([*row.block.values(), *row.own.values()]),
        checkpoint["file"],
        checkpoint["sha256"][:12],
        ", ".join(f"{name} {number}" for name, number in run.get("versions", {}).items()),
    ]
    return [html.escape(str(text)) for text in texts]


def _table(header: Sequence[str], lines: Sequence[Sequence[str]], faint: Sequence[bool] = (), kind: str = "") -> str:
    """A table of cells that are HTML already; ``faint`` lines are set apart, the ``kind`` is a class of the style."""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in header)
    kinds = [' class="paper"' if it else "" for it in faint] or [""] * len(lines)
    cells = ("".join(f"<td>{cell}</td>" for cell in line) for line in lines)
    body = "".join(f"<tr{kind}>{line}</tr>\n" for kind, line in zip(kinds, cells, strict=True))
    parts = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n"
    return f'<div class="scroll"><table class="{kind}">\n{parts}</table></div>\n'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>\n"


def _plot(source: str, text: str) -> str:
    heading = html.escape(text)
    return f'<figure><h3>{heading}</h3><img class="plot" src="{source}" alt="{heading}"></figure>\n'


def write_page(results: Sequence[Path], prepared: Sequence[Path], checkpoints: Sequence[Path], out: Path) -> None:
    """Write the report of some results to a file.

    Raises:
        UserError: there are no results, a prepared folder is not whole, or a CSV or checkpoint is damaged.
    """
    opened = [LesionDataset.open(folder) for folder in prepared]
    text = page(group_runs(read_results(results)), {str(it.metadata["dataset"]): it for it in opened}, checkpoints)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="folders of results")
    parser.add_argument("--prepared", nargs="+", type=Path, default=[], metavar="DIR", help="of the same lesions")
    parser.add_argument("--checkpoints", nargs="+", type=Path, default=[], metavar="DIR", help="that were scored")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    args = parser.parse_args(arguments)
    write_page(args.results, args.prepared, args.checkpoints, args.out)
    print(f"{args.out} written")
