"""Baselines that the paper lacks: the weak masks themselves, scored against the truth.

    python common baselines PREPARED --results DIR [--truth grabcut]

Writes baseline_ellipse.json and .csv, and baseline_grabcut.json and .csv, in the form of an evaluation, so that
`python common report` sets them beside the networks. A network that scores worse than the ellipses it was trained on
has learnt nothing from the images.
"""

from collections.abc import Sequence
from pathlib import Path

from common.data.dataset import SPLITS, LesionDataset
from common.evaluation.results import print_metrics, write_results
from common.metrics import lesion_metrics
from common.utils.arguments import Parser, positive
from common.utils.errors import UserError
from common.utils.files import check_writable
from common.utils.progress import progress

BASELINES = {"ellipse": "ellipse itself", "grabcut": "GrabCut itself"}  # weak masks, and how tables call them


def score_baseline(dataset: LesionDataset, name: str, truth: str, split: str, limit: int | None, results: Path) -> None:
    """Score the first ``limit`` weak masks of a split; print the metrics, write `baseline_<name>.json` and `.csv`.

    Splits other than test write `baseline_<name>.<split>.json` and `.csv`.

    Raises:
        UserError: the dataset lacks the mask or the truth, or the split is empty.
    """
    rows = dataset.rows(split, limit)
    masks, reference = dataset.array(name), dataset.array(truth)
    scores = [lesion_metrics(reference[row], masks[row]) for row in progress(rows, BASELINES[name], len(rows))]
    protocol, window = dataset.metadata["protocol"], dataset.metadata["preprocessing"].get("window")
    about = {
        "dataset": dataset.metadata["dataset"],
        "method": name,
        "label": BASELINES[name],
        "split": split,
        "truth": truth,
        "prepared": dataset.identity,
        "settings": {"protocol": protocol, "limit": limit, "window": window},
    }
    stem = f"baseline_{name}" if split == "test" else f"baseline_{name}.{split}"
    lesions = [dataset.lesions[row] for row in rows]
    print_metrics(write_results(results, stem, lesions, scores, protocol, about), truth)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: see --help."""
    parser = Parser(description=__doc__)
    parser.add_argument("prepared", type=Path, help="a prepared folder")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="test")
    parser.add_argument("--truth", choices=("truth", *BASELINES), default="truth", help="masks to score against")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N lesions of the split")
    args = parser.parse_args(arguments)
    dataset = LesionDataset.open(args.prepared)
    arrays = dataset.metadata["arrays"]
    if args.truth not in arrays:
        masks = "human masks" if args.truth == "truth" else f"{args.truth} masks"
        raise UserError(f"{args.prepared} has no {masks} to score against")
    check_writable(args.results, "pass another --results")
    for name in BASELINES:
        if name in arrays and name != args.truth:
            score_baseline(dataset, name, args.truth, args.split, args.limit, args.results)
