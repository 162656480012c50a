"""Pictures of the method, the data, the predictions and the trainings.

    python common/figures.py overview PREPARED CHECKPOINT --out FILE.png
    python common/figures.py clusters PREPARED [PREPARED ...] --out FILE.png
    python common/figures.py results PREPARED CHECKPOINT ... [PREPARED CHECKPOINT ...] --out FILE.png
    python common/figures.py curves HISTORY.csv ... --out FILE.png
    python common/figures.py canvas EXPERIMENT ... --out FILE.png

Each has a --help of its own.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.data.dataset import SPLITS, LesionDataset
from common.report.figures.canvas_sizes import HEADER, canvas_table, draw_canvas_sizes, read_canvas_sizes
from common.report.figures.curves import draw_histories, read_history
from common.report.figures.galleries import Predicted, draw_clusters, draw_results, rows_by_size
from common.report.figures.overview import draw_overview, find_example
from common.report.tables import pipes
from common.utils.arguments import Parser
from common.utils.errors import UserError


def overview(args: argparse.Namespace) -> str:
    """The method on one page: RECIST diameters, ellipses, shape clusters, the network with its two heads, losses.

    Thumbnails are the folder's own lesions and what the checkpoint predicts; sizes and encoder are the published ones.
    """
    example = find_example(LesionDataset.open(args.prepared), args.checkpoint, args.lesion)
    draw_overview(args.out, example)
    return f"the lesion {example.prepared.lesions[example.row]['lesion']}"


def clusters(args: argparse.Namespace) -> str:
    """Shape clusters: in each row all ellipses of one, then some of its lesions; a block for every prepared folder."""
    draw_clusters(args.out, [LesionDataset.open(folder) for folder in args.prepared], args.rows, args.members)
    return f"{args.rows} clusters a dataset"


def results(args: argparse.Namespace) -> str:
    """Image, truth, approximate target, and the prediction of each checkpoint with its Dice.

    Lesions are spread over the split from small to large. Give each prepared folder with its checkpoints after it.
    """
    groups: list[tuple[LesionDataset, list[Path]]] = []
    for path in args.paths:
        if path.is_file() and not groups:
            raise UserError(f"{path} is no prepared folder; name the folder before its checkpoints")
        if path.is_dir() or not groups:
            groups.append((LesionDataset.open(path), []))
        else:
            groups[-1][1].append(path)
    blocks = [_predict(prepared, checkpoints, args.split, args.rows) for prepared, checkpoints in groups]
    draw_results(args.out, blocks)
    return f"{sum(len(block.rows) for block in blocks)} lesions"


def _predict(prepared: LesionDataset, checkpoints: Sequence[Path], split: str, count: int) -> Predicted:
    from common.inference.predictor import Predictor  # torch is imported only once the command line is understood

    rows = rows_by_size(prepared, split, count)
    masks: dict[str, np.ndarray] = {}
    for checkpoint in checkpoints:
        predictor = Predictor.load(checkpoint)
        heading, predicted = predictor.model.method.label, predictor.mask_rows(prepared, rows)
        target = predictor.model.settings.get("target", "ellipse")
        if target != "ellipse":
            heading += f"\ntrained on {target}"
        # Another network of the same kind, of another seed, say, is told by its file's name.
        masks[f"{heading}\n{checkpoint.parent.name}/{checkpoint.stem}" if heading in masks else heading] = predicted
    return Predicted(prepared, rows, masks)


def curves(args: argparse.Namespace) -> str:
    """Learning curves: training loss, validation loss and validation Dice by epoch, best epochs marked.

    Trainings that differ in the seed only, by the checkpoint beside the history, are thin lines about their mean.
    """
    draw_histories(args.out, [read_history(path) for path in args.histories])
    return f"{len(args.histories)} trainings"


def canvas(args: argparse.Namespace) -> str:
    """Dice, seconds and FLOPs of a training image against the canvas, and a table of them.

    Give the folders that experiment.py wrote (--out), one for each canvas, with the same single method in each.
    """
    measured = read_canvas_sizes(args.experiments)
    draw_canvas_sizes(args.out, measured)
    print(pipes(HEADER, canvas_table(measured)))
    return f"{len(measured)} canvases"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="PICTURE")

    def command(draw: Callable[[argparse.Namespace], str]) -> argparse.ArgumentParser:
        about = draw.__doc__ or ""
        sub = commands.add_parser(draw.__name__, help=about.partition("\n")[0], description=about)
        sub.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture")
        sub.set_defaults(draw=draw)
        return sub

    sub = command(overview)
    sub.add_argument("prepared", type=Path, metavar="PREPARED", help="a prepared folder")
    sub.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of A1+L, trained on it")
    sub.add_argument("--lesion", metavar="NAME", help="of lesions.csv (default: the test lesion of median size)")
    sub = command(clusters)
    sub.add_argument("prepared", type=Path, nargs="+", metavar="PREPARED", help="prepared folders")
    sub.add_argument("--rows", type=int, default=4, metavar="N", help="clusters, the most populous (4)")
    sub.add_argument("--members", type=int, default=3, metavar="N", help="lesions of each (3)")
    sub = command(results)
    sub.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a prepared folder, then its checkpoints; ...")
    sub.add_argument("--rows", type=int, default=3, metavar="N", help="lesions of each folder (3)")
    sub.add_argument("--split", choices=SPLITS, default="test", help="whose lesions (test)")
    sub = command(curves)
    sub.add_argument("histories", type=Path, nargs="+", metavar="HISTORY.csv", help="written beside checkpoints")
    sub = command(canvas)
    sub.add_argument("experiments", type=Path, nargs="+", metavar="EXPERIMENT", help="folders of experiment.py")

    args = parser.parse_args(arguments)
    for name in ("rows", "members"):
        if getattr(args, name, 1) < 1:
            raise UserError(f"--{name} {getattr(args, name)} must be at least 1")
    shown = args.draw(args)
    print(f"{args.out} written: {shown}")
