"""The whole report as one HTML file that needs nothing else: no scripts, no requests, pictures inside.

    python common html RESULTS_DIR ... [--prepared DIR ...] [--checkpoints DIR ...] --out report.html

Table and differences are those of `python common report`. With the prepared folders the page also shows Dice against
the lesion's size, with the folders of checkpoints also learning curves, and with both the worst and best lesions of
each method with their outlines.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.data.dataset import LesionDataset
from common.evaluation.results import read_results
from common.report import tables
from common.report.runs import RunGroup, comparable_groups, full_name, group_runs
from common.utils.arguments import Parser
from common.utils.files import atomic_path

TEMPLATE = Path(__file__).with_name("report.html.j2")
LESIONS = 3  # how many of the worst lesions, and of the best, are shown of each method


def render_page(groups: Sequence[RunGroup], datasets: Sequence[LesionDataset], checkpoints: Sequence[Path]) -> str:
    """Render the report as HTML.

    Lesions, and folders of checkpoints with their histories, are those that were scored, as far as they are at hand.
    """
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader  # this and the pictures are slow to import

    from common.report.html_pictures import find_dataset, learning_curves, size_plot

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,  # names in files may hold anything
        undefined=ChainableUndefined,  # a baseline has no checkpoint, a released network no seed
        trim_blocks=True,
        lstrip_blocks=True,
    )
    blocks = comparable_groups(groups)
    scored = [(block, find_dataset(block[0].runs[0], datasets)) for block in blocks]
    return environment.get_template(TEMPLATE.name).render(
        title=f"Weakly supervised lesion segmentation: {', '.join(sorted({group.dataset for group in groups}))}",
        tables=tables,
        rows=tables.results_table(groups),
        settings=tables.shared_settings(groups),
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


def _strip_section(
    group: RunGroup, name: str, datasets: Sequence[LesionDataset], checkpoints: Sequence[Path]
) -> dict[str, Any]:
    """Strips of the worst and best lesions of a group's first seed, or what is missing to draw them."""
    from common.report.html_pictures import find_checkpoint, find_dataset, lesion_strips

    run = min(group.runs, key=lambda run: str(run["settings"].get("seed")))
    dataset, checkpoint = find_dataset(run, datasets), find_checkpoint(run, checkpoints)
    section = {"heading": f"{group.dataset}, {name}, seed {run['settings'].get('seed')}"}
    if dataset and checkpoint:
        return section | {"lesions": lesion_strips(run, checkpoint, dataset, LESIONS)}
    return section | {
        "missing": "its checkpoint, as it was scored," if dataset else "the prepared folder that was scored"
    }


def write_page(results: Sequence[Path], prepared: Sequence[Path], checkpoints: Sequence[Path], out: Path) -> None:
    """Write the report of folders of results, with their prepared folders and checkpoints, as an HTML file.

    Raises:
        UserError: there are no results, a prepared folder is unfinished, or a CSV or checkpoint is damaged.
    """
    datasets = list(map(LesionDataset.open, prepared))
    page = render_page(group_runs(read_results(results)), datasets, checkpoints)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


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
