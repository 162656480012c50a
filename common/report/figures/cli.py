"""Pictures of the method, the data, the predictions and the trainings.

    python common figures PICTURE ... --out FILE.png

Each picture has a --help of its own.
"""
# What draws is imported late: matplotlib would slow --help down.

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.data.dataset import SPLITS, LesionDataset
from common.utils.arguments import Parser, positive
from common.utils.errors import UserError
from common.utils.files import check_writable


def overview(out: Path, prepared: Path, checkpoint: Path, lesion: str | None) -> str:
    """The method on one page: RECIST diameters, ellipses, shape clusters, the network with its two heads, losses.

    Thumbnails are the folder's own lesions and what the checkpoint predicts; sizes and encoder are the published ones.
    """
    from common.report.figures.overview import draw_overview, predict_example

    example = predict_example(LesionDataset.open(prepared), checkpoint, lesion)
    draw_overview(out, example)
    return f"the lesion {example.dataset.lesions[example.row]['lesion']}"


def clusters(out: Path, prepared: Sequence[Path], rows: int, members: int) -> str:
    """Shape clusters of each prepared folder: in each row all ellipses of a cluster, then some of its lesions."""
    from common.report.figures.galleries import draw_clusters

    draw_clusters(out, [LesionDataset.open(folder) for folder in prepared], rows, members)
    return f"{rows} clusters a dataset"


def results(out: Path, paths: Sequence[Path], rows: int, split: str) -> str:
    """Image, truth, approximate target, and the prediction of each checkpoint with its Dice.

    Lesions are spread over the split from small to large. Name each prepared folder with its checkpoints after it.
    """
    from common.report.figures.galleries import draw_results, predict

    groups: list[tuple[LesionDataset, list[Path]]] = []
    for path in paths:
        if path.is_dir():
            groups.append((LesionDataset.open(path), []))
        elif groups:
            groups[-1][1].append(path)
        else:
            raise UserError(f"{path} is no prepared folder; name the folder before its checkpoints")
    blocks = [predict(dataset, checkpoints, split, rows) for dataset, checkpoints in groups]
    draw_results(out, blocks)
    return f"{sum(len(block.rows) for block in blocks)} lesions"


def curves(out: Path, histories: Sequence[Path]) -> str:
    """Learning curves: training loss, validation loss and validation Dice by epoch, best epochs marked.

    Trainings that differ in the seed only, by the checkpoint beside the history, are thin lines about their mean.
    """
    from common.report.figures.curves import draw_histories, read_history

    draw_histories(out, [read_history(path) for path in histories])
    return f"{len(histories)} trainings"


def canvas(out: Path, experiments: Sequence[Path]) -> str:
    """Dice, seconds and FLOPs of a training image against the canvas, and a table of them.

    Name the folders that `python common experiment` wrote (--out), one for each canvas, each with the same method.
    """
    from common.report.figures.canvas_sizes import HEADER, canvas_table, draw_canvas_sizes, read_canvas_sizes
    from common.report.tables import markdown_table

    measured = read_canvas_sizes(experiments)
    draw_canvas_sizes(out, measured)
    print(markdown_table(HEADER, canvas_table(measured)))
    return f"{len(measured)} canvases"


def outlines(out: Path, results: Sequence[Path]) -> str:
    """Dice of A1+R against the number of true outlines it was trained on, with the quarters', and a table of both.

    Name folders of results: of A1+R with different --outlines, seeds and --prompt-noise, and of the baselines.
    """
    from common.report.figures.outlines import HEADER, draw_outlines, outline_table, read_outlines
    from common.report.tables import markdown_table

    runs = read_outlines(results)
    draw_outlines(out, runs)
    print(markdown_table(HEADER, outline_table(runs)))
    return f"{sum(len(run.group.runs) for run in runs)} runs"


_FOLDERS = {"type": Path, "nargs": "+"}
# Functions that draw a picture, and the arguments of each beside --out.
PICTURES: dict[Callable[..., str], dict[str, dict[str, Any]]] = {
    overview: {
        "prepared": {"type": Path, "metavar": "PREPARED", "help": "a prepared folder"},
        "checkpoint": {"type": Path, "metavar": "CHECKPOINT", "help": "of A1+L, trained on that folder"},
        "--lesion": {"metavar": "NAME", "help": "in lesions.csv (default: the test lesion of median size)"},
    },
    clusters: {
        "prepared": {**_FOLDERS, "metavar": "PREPARED", "help": "prepared folders"},
        "--rows": {"type": positive, "default": 4, "metavar": "N", "help": "clusters, the most populous (4)"},
        "--members": {"type": positive, "default": 3, "metavar": "N", "help": "lesions of each (3)"},
    },
    results: {
        "paths": {**_FOLDERS, "metavar": "PATH", "help": "a prepared folder, then its checkpoints; ..."},
        "--rows": {"type": positive, "default": 3, "metavar": "N", "help": "lesions of each folder (3)"},
        "--split": {"choices": SPLITS, "default": "test", "help": "whose lesions (test)"},
    },
    curves: {"histories": {**_FOLDERS, "metavar": "HISTORY.csv", "help": "files beside the checkpoints"}},
    canvas: {"experiments": {**_FOLDERS, "metavar": "EXPERIMENT", "help": "folders of `python common experiment`"}},
    outlines: {"results": {**_FOLDERS, "metavar": "RESULTS", "help": "folders of results"}},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the picture that the command line names."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="PICTURE")
    for draw, options in PICTURES.items():
        about = inspect.getdoc(draw) or ""
        command = commands.add_parser(draw.__name__, help=about.partition("\n")[0], description=about)
        command.set_defaults(draw=draw)
        command.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")
        for name, settings in options.items():
            command.add_argument(name, **settings)
    values = vars(parser.parse_args(arguments))
    check_writable(values["out"].parent, "pass another --out")
    summary = values.pop("draw")(**values)
    print(f"{values['out']} written: {summary}")
