"""The floors that the paper lacks: the weak masks themselves, scored against the truth.

    python common/floors.py PREPARED --results DIR [--truth grabcut]

Writes floor_ellipse.json and .csv, and floor_grabcut.json and .csv, in the form of an evaluation, so that
common/report.py sets them beside the networks. A network that is worse than the ellipse it was trained on has learnt
nothing from the image.
"""

from collections.abc import Sequence
from pathlib import Path

from common.data.dataset import SPLITS, LesionDataset
from common.evaluation.results import print_metrics, write_results
from common.metrics import lesion_metrics
from common.utils.arguments import Parser
from common.utils.errors import UserError
from common.utils.progress import progress

BASELINES = {"ellipse": "ellipse itself", "grabcut": "GrabCut itself"}


def score_baseline(prepared: LesionDataset, name: str, truth: str, split: str, results: Path) -> None:
    """Score one weak mask of a prepared folder against its truth.

    Args:
        prepared: the folder.
        name: "ellipse" or "grabcut".
        truth: the array it is scored against.
        split: whose lesions.
        results: folder that `floor_<name>.json` and `.csv` are written to.

    Raises:
        UserError: the folder has no truth, or not this mask.
    """
    rows = prepared.rows(split)
    masks, reference = prepared.array(name), prepared.array(truth)
    scores = [lesion_metrics(reference[row], masks[row]) for row in progress(rows, BASELINES[name], len(rows))]
    content = prepared.metadata
    about = {
        "dataset": content["dataset"],
        "method": name,
        "label": BASELINES[name],
        "split": split,
        "truth": truth,
        "settings": {"protocol": content["protocol"]},
    }
    stem = f"floor_{name}" if split == "test" else f"floor_{name}.{split}"
    lesions = [prepared.lesions[row] for row in rows]
    print_metrics(write_results(results, stem, lesions, scores, content["protocol"], about), truth)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="test")
    parser.add_argument("--truth", choices=("truth", *BASELINES), default="truth", help="masks to score against")
    args = parser.parse_args(arguments)
    prepared = LesionDataset.open(args.prepared)
    arrays = prepared.metadata["arrays"]
    if args.truth not in arrays:
        masks = "human masks" if args.truth == "truth" else f"{args.truth} masks"
        raise UserError(f"{args.prepared} has no {masks} to score against")
    for name in BASELINES:
        if name in arrays and name != args.truth:
            score_baseline(prepared, name, args.truth, args.split, args.results)
