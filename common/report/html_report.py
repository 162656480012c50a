"""The whole report as one HTML file that needs nothing else: no scripts, no requests, pictures inside.

    python common html [RESULTS_DIR ...] --out report.html

The table and differences are those of `python common report`. If the prepared lesions are found, the page adds Dice
against lesion size; if the checkpoints are found, learning curves; if both are, the outlines of each method's worst and
best lesions. They are looked for beside the results and in code_*/, and identified by the digests that an evaluation
records.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.data.dataset import LesionDataset, read_metadata
from common.evaluation.results import read_results
from common.report import tables
from common.report.runs import RunGroup, comparable_groups, full_name, group_runs
from common.utils.arguments import Parser
from common.utils.errors import UserError
from common.utils.files import ROOT, check_writable, write_text
from common.utils.pages import render

TEMPLATE = Path(__file__).with_name("report.html.j2")
LESIONS = 3  # how many of the worst lesions, and of the best, are shown of each method


Datasets = Mapping[str, LesionDataset]  # by identity


def render_page(groups: Sequence[RunGroup], datasets: Datasets, checkpoints: Sequence[Path]) -> str:
    """Render the report as HTML, with pictures of lesions where data and checkpoints are at hand."""
    from common.report.html_pictures import learning_curves, size_plot  # slow to import

    blocks = comparable_groups(groups)
    scored = [(block, datasets.get(block[0].runs[0].get("prepared", ""))) for block in blocks]
    return render(  # a baseline has no checkpoint, a released network no seed
        TEMPLATE,
        title=f"Weakly supervised lesion segmentation: {', '.join(sorted({group.dataset for group in groups}))}",
        tables=tables,
        rows=tables.results_table(groups),
        notes=tables.table_notes(groups),
        differences=tables.difference_table(groups),
        size_plots=[(block[0].dataset, size_plot(block, dataset) if dataset else None) for block, dataset in scored],
        curves=learning_curves(groups, checkpoints),
        strips=[
            _strip_section(group, full_name(group, groups), datasets, checkpoints)
            for block in blocks
            for group in block
            if group.target
        ],
        groups=[group for block in blocks for group in block],
    )


def _strip_section(group: RunGroup, name: str, datasets: Datasets, checkpoints: Sequence[Path]) -> dict[str, Any]:
    """Strips of the worst and best lesions of a group's first seed, or what is missing to draw them."""
    from common.report.html_pictures import find_checkpoint, lesion_strips

    run = min(group.runs, key=lambda run: str(run["settings"].get("seed")))
    dataset, checkpoint = datasets.get(run.get("prepared", "")), find_checkpoint(run, checkpoints)
    section = {"heading": f"{group.dataset}, {name}, seed {run['settings'].get('seed')}"}
    if dataset and checkpoint:
        try:
            return section | {"lesions": lesion_strips(run, checkpoint, dataset, LESIONS)}
        except UserError as error:  # it is being trained on, say
            return section | {"problem": str(error)}
    return section | {
        "missing": "its checkpoint, as it was scored," if dataset else "the prepared folder that was scored"
    }


def find_datasets(places: Iterable[Path], identities: set[Any]) -> dict[str, LesionDataset]:
    """The prepared lesions with one of the identities, from folders that may lie two deep in one of the places."""
    datasets: dict[str, LesionDataset] = {}
    for path in (path for place in places for depth in ("*", "*/*") for path in place.glob(f"{depth}/prepared.json")):
        with suppress(UserError, OSError):  # a damaged folder is not what was scored
            if (read_metadata(path.parent) or {}).get("identity") in identities:
                dataset = LesionDataset.open(path.parent)
                datasets[dataset.identity] = dataset
    return datasets


def write_page(results: Sequence[Path], prepared: Sequence[Path], checkpoints: Sequence[Path], out: Path) -> None:
    """Write the report of folders of results as an HTML file.

    Prepared lesions and checkpoints are those named and those found in code_*/ and beside the results.

    Raises:
        UserError: there are no results, a prepared folder is unfinished, or a CSV or checkpoint is damaged.
    """
    runs = read_results(results)
    places = sorted({run["path"].resolve().parent.parent for run in runs} | set(ROOT.glob("code_*")))
    named = {dataset.identity: dataset for dataset in map(LesionDataset.open, prepared)}
    datasets = find_datasets(places, {run.get("prepared") for run in runs}) | named
    folders = [*checkpoints, *places, *(place / "checkpoints" for place in places)]
    write_text(out, render_page(group_runs(runs), datasets, folders))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    tables.add_results(parser)
    parser.add_argument("--prepared", nargs="+", type=Path, default=[], metavar="DIR", help="that were scored")
    parser.add_argument("--checkpoints", nargs="+", type=Path, default=[], metavar="DIR", help="that were scored")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    args = parser.parse_args(arguments)
    check_writable(args.out.parent, "pass another --out")
    write_page(args.results, args.prepared, args.checkpoints, args.out)
    print(f"{args.out} written")
